"""The training loop: trains a network epoch by epoch, as a pure function of spec and data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trainables.errors import DataError
from trainables.methods import Batch, Context, check_state_size, method_of
from trainables.run.metrics import TRAIN_ACCURACY, TRAIN_ACCURACY_TRUE, TRAIN_LOSS
from trainables.run.seeds import derive
from trainables.run_data.loaders import EpochDraws, Loader
from trainables.run_data.realisation import Realisation, realise
from trainables.run_data.splits import RunSplits
from trainables.training.devices import make_deterministic
from trainables.training.network import build_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.datasets.base import Dataset
    from trainables.run.recipe import Recipe
    from trainables.run.spec import RunSpec

EVALUATION_BATCH = 500
EVALUATION_PIXELS = EVALUATION_BATCH * 64 * 64
"""Largest numbers of images and of pixels per batch of an evaluation."""
LOSS_BOUND = 1e6
"""Largest mean loss of a step; a training with a larger one counts as diverged."""


class DivergedError(ArithmeticError):
    """The loss is not a number or out of bounds, which is a result of the run, not a bug."""


class Observer(Protocol):
    """Observer of a training, which must not influence it."""

    def collects(self, epoch: int) -> bool:
        """Return whether the steps of an epoch are to be recorded."""

    def record_step(
        self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor
    ) -> None:
        """Record a step of a collected epoch.

        Args:
            batch: batch of the step.
            attention: logits of the weights τ of the samples in the loss, shape (b,); None if the
                method has no such weights.
            gradient: gradient of each sample's loss with respect to its logits, shape
                (b, outputs).
        """

    def end_epoch(self, epoch: int, targets: torch.Tensor | None) -> None:
        """Record the end of a collected epoch.

        Args:
            epoch: number of the epoch, counted from 1.
            targets: the method's present estimate of the labels; None if it has none.
        """


class Trainer:
    """Training of one spec, which can be continued elsewhere from `state_dict` after any epoch.

    Attributes:
        epoch: number of epochs trained so far.
        trace: one row of metrics per epoch; equal specs give equal rows.
        seconds: wall time of each epoch in seconds.
        labels: noisy labels of the run.
        data: loaders of the training and evaluated samples.
        network: network that is trained.
        method: method that computes the loss.
        optimizer: optimiser of the network's parameters.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset: Dataset,
        device: torch.device,
        inputs: Mapping[str, torch.Tensor] | None = None,
        labels: Realisation | None = None,
    ) -> None:
        """Prepare the first epoch.

        Args:
            spec: specification of the run.
            dataset: dataset of the run.
            device: device of the training.
            inputs: outcomes of the runs that the spec needs, by role.
            labels: noisy labels of the run; None to draw them according to the spec.

        Raises:
            DataError: if the data differ from those of the spec, or a picture is unreadable.
            FieldError: if the method's per-sample state would be too large.
        """
        if dataset.digest != spec.data:
            raise DataError(
                f"the data of '{dataset.name}' have SHA-256 {dataset.digest[:12]}, the run was "
                f"planned with {spec.data[:12]}: restore them, or plan it again"
            )
        make_deterministic(spec.recipe, spec.threads)
        self.spec = spec
        self.device = device
        self.epoch = 0
        self.trace: list[dict[str, float]] = []
        self.seconds: list[float] = []
        self.labels = labels or realise(
            dataset, spec.scenario, spec.seeds, spec.subset, balanced=spec.balanced
        )
        self.data = RunSplits(spec, dataset, self.labels, device)
        self._skipped = 0
        method = method_of(spec.method)
        check_state_size(method, spec.hyperparameters, len(self.data.train), self.labels.classes)
        self.network = (
            build_network(
                spec.backbone,
                spec.backbone_parameters,
                self.data.image,
                method.outputs(self.labels.classes),
                spec.seeds.init,
            )
            .to(device)
            .to(memory_format=torch.channels_last)
        )
        self.method = method(
            Context(
                hyperparameters=spec.hyperparameters,
                labels=self.data.train.labels,
                classes=self.labels.classes,
                epochs=spec.recipe.epochs,
                seed=spec.seeds.method,
                inputs={name: value.to(device) for name, value in (inputs or {}).items()},
                transition=self._transition() if method.needs_truth else None,
            )
        )
        self.optimizer = _optimizer(self.network, spec.recipe)

    def _transition(self) -> torch.Tensor:
        counts = torch.zeros(self.labels.classes, self.labels.classes, device=self.device)
        ones = torch.ones(len(self.data.train), device=self.device)
        counts.index_put_((self.data.true, self.data.train.labels), ones, accumulate=True)
        return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)

    @property
    def skipped(self) -> int:
        """Number of training pictures left out because they could not be decoded."""
        return max(self._skipped, self.data.unreadable)

    @property
    def done(self) -> bool:
        """Whether all epochs are trained."""
        return self.epoch == self.spec.recipe.epochs

    @property
    def parameters(self) -> int:
        """Number of trained parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def train_epoch(self, observer: Observer | None = None) -> dict[str, float]:
        """Train the next epoch, evaluate if the recipe requires it, and return the epoch's row.

        Args:
            observer: observer of the training, if any.

        Raises:
            DivergedError: if the loss of a step is not a number or out of bounds; `epoch` does not
                change then.
        """
        start = time.perf_counter()
        epoch = self.epoch + 1
        recipe = self.spec.recipe
        rate = recipe.schedule.rate(recipe.learning_rate, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        row = {"epoch": epoch, "learning_rate": rate, **self._train_steps(epoch, observer)}
        if recipe.evaluates(epoch):
            for metric, loader in self.data.evaluated.items():
                further = self.data.top.get(metric, {})
                row |= self.accuracies(loader, {metric: 1, **further})
        self.epoch = epoch
        self.trace.append(row)
        self.seconds.append(time.perf_counter() - start)
        return row

    def _train_steps(self, epoch: int, observer: Observer | None) -> dict[str, float]:
        """Train on all batches of an epoch and return the training metrics."""
        self.network.train()
        if observer is not None and not observer.collects(epoch):
            observer = None
        recipe, train = self.spec.recipe, self.data.train
        draws = EpochDraws(train.index, recipe, self.spec.seeds, epoch)
        # Dropout uses torch's generator, which is seeded per epoch and so needs no checkpoint.
        torch.manual_seed(derive("method", self.spec.seeds.method, "torch", epoch) % 2**63)
        losses, sizes = [], []
        correct = torch.zeros(2, dtype=torch.int64, device=self.device)
        for images, positions in train.epoch(draws, recipe.batch_size, drop_last=recipe.drop_last):
            loss, logits = self.step(images, positions, epoch, observer)
            losses.append(loss)
            sizes.append(len(positions))
            predicted = logits[:, : self.labels.classes].argmax(dim=1)
            targets = torch.stack([self.data.train.labels[positions], self.data.true[positions]])
            correct += (predicted == targets).sum(dim=1)
        # One transfer per epoch, since reading the loss of every step would stall the GPU.
        step_losses = torch.stack(losses).double().cpu()
        invalid = (~(step_losses.abs() <= LOSS_BOUND)).nonzero()
        if len(invalid):
            step = int(invalid[0])
            raise DivergedError(
                f"loss {step_losses[step].item():g} at step {step + 1} of epoch {epoch}; "
                f"last good epoch {epoch - 1}"
            )
        self.method.end_epoch(epoch, self.predict)
        if observer is not None:
            observer.end_epoch(epoch, self.method.estimated_targets())
        samples = sum(sizes)
        mean_loss = float((step_losses * torch.tensor(sizes)).sum()) / samples
        noisy_accuracy, true_accuracy = (int(count) / samples for count in correct)
        row = {TRAIN_LOSS: mean_loss, TRAIN_ACCURACY: noisy_accuracy}
        return row | {TRAIN_ACCURACY_TRUE: true_accuracy} if self.labels.truth_known else row

    def step(
        self,
        images: torch.Tensor,
        positions: torch.Tensor,
        epoch: int,
        observer: Observer | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Train one step and return its loss and logits, both detached.

        Args:
            images: images, uint8, shape (b, C, H, W).
            positions: positions of the samples among the training samples, shape (b,).
            epoch: number of the epoch, counted from 1.
            observer: observer of the training, if any.
        """
        logits, attention = self._forward(images)
        batch = Batch(logits.float(), attention.float(), positions, epoch)
        if observer is not None:
            batch.logits.retain_grad()
        loss = self.method.loss(batch)
        if loss.ndim:
            raise ValueError(
                f"the loss of {type(self.method).__name__} must be a scalar, the mean over the "
                f"batch, but has shape {tuple(loss.shape)}"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        if observer is not None and batch.logits.grad is not None:
            with torch.no_grad():
                weight = self.method.attention_logit(batch)
                observer.record_step(batch, weight, batch.logits.grad * len(positions))
        return loss.detach(), logits.detach()

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = self.data.normalise(images).contiguous(memory_format=torch.channels_last)
        bf16 = self.spec.recipe.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits, attention = self.network(inputs)
        return logits, attention

    @torch.no_grad()
    def accuracies(self, loader: Loader, metrics: Mapping[str, int]) -> dict[str, float]:
        """Return top-k accuracies: the fractions of labels among the k most probable classes.

        Args:
            loader: loader of the samples to evaluate.
            metrics: k by metric name.
        """
        self.network.eval()
        correct = torch.zeros(len(metrics), dtype=torch.int64, device=self.device)
        samples = 0
        for images, positions in loader.batches(self._evaluation_batch):
            labels = loader.labels[positions]
            logits = self._forward(images)[0][:, : self.labels.classes]
            top1 = logits.argmax(dim=1) == labels
            rank = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
            hits = [top1 if k == 1 else rank < k for k in metrics.values()]
            correct += torch.stack(hits).sum(dim=1)
            samples += len(labels)
        return {name: int(count) / samples for name, count in zip(metrics, correct, strict=True)}

    @property
    def _evaluation_batch(self) -> int:
        """Number of images per batch of an evaluation, which is smaller for large images."""
        pixels = self.data.image[1] * self.data.image[2]
        return max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // pixels))

    @torch.no_grad()
    def predict(self) -> torch.Tensor:
        """Return the softmax of all training samples in order, float32, shape (n, outputs).

        It is computed in evaluation mode without augmentation; the mode is restored afterwards. A
        picture that cannot be decoded gets equal probabilities.
        """
        training = self.network.training
        self.network.eval()
        predictions: torch.Tensor | None = None
        for images, positions in self.data.train.batches(self._evaluation_batch):
            probabilities = self._forward(images)[0].float().softmax(dim=1)
            if predictions is None:
                outputs = probabilities.shape[1]
                predictions = probabilities.new_full((len(self.data.train), outputs), 1 / outputs)
            predictions[positions] = probabilities
        self.network.train(training)
        assert predictions is not None  # noqa: S101 - a loader is never empty
        return predictions

    def state_dict(self) -> dict[str, Any]:
        """Return the state that determines the remaining epochs, and the trace so far."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "trace": self.trace,
            "seconds": self.seconds,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a trainer of the same spec."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.epoch = state["epoch"]
        self.trace = list(state["trace"])
        self.seconds = list(state["seconds"])
        self._skipped = state["skipped"]


def _optimizer(network: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "radam":
        return torch.optim.RAdam(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
