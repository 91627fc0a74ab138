"""The training loop of a run, whose result depends only on the run's spec."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trainables.errors import DataError
from trainables.methods import Batch, Context, check_state_size, method_of
from trainables.run.metrics import TRAIN_ACCURACY, TRAIN_ACCURACY_TRUE, TRAIN_LOSS
from trainables.run.seeds import derive_seed
from trainables.run_data.loaders import EpochDraws, Loader
from trainables.run_data.realisation import Realisation, draw_realisation
from trainables.run_data.splits import RunSplits
from trainables.training.devices import make_deterministic
from trainables.training.network import build_network
from trainables.training.optimizers import RAdam, Sgd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trainables.datasets.base import Dataset
    from trainables.run.recipe import Recipe
    from trainables.run.spec import RunSpec

MAX_EVALUATION_BATCH_SIZE = 500
"""Largest number of images in a batch of an evaluation."""
MAX_EVALUATION_BATCH_PIXELS = MAX_EVALUATION_BATCH_SIZE * 64 * 64
"""Largest total number of pixels of the images in a batch of an evaluation."""
MAX_LOSS = 1e6
"""Largest absolute loss of a training step; a run with a larger loss counts as diverged."""


class DivergedError(ArithmeticError):
    """The training loss is NaN or larger than `MAX_LOSS`, which is a valid result of a run."""


class Observer(Protocol):
    """Interface of an object, such as diagnostics, that records training steps of a run.

    Observing a run does not change its result.
    """

    def collects(self, epoch: int) -> bool:
        """Return whether the observer records gradients and attention weights of an epoch."""

    def record_predictions(self, positions: torch.Tensor, logits: torch.Tensor) -> None:
        """Record the predictions of one training step, in every epoch.

        Args:
            positions: positions of the samples among the training samples, shape (b,).
            logits: detached logits of the samples, shape (b, outputs).
        """

    def record_step(
        self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor
    ) -> None:
        """Record one training step of an epoch for which `collects` is true.

        Args:
            batch: batch of the step.
            attention: logit of the attention weight τ of each sample in the loss, shape (b,); None
                if the method has no attention weights.
            gradient: gradient of each sample's loss with respect to its class logits, shape
                (b, outputs).
        """

    def end_epoch(self, epoch: int, targets: Callable[[], torch.Tensor | None]) -> None:
        """Record the end of an epoch.

        Args:
            epoch: number of the epoch, counted from 1.
            targets: function that returns the current estimates of the true labels by the method;
                None if the method does not estimate true labels.
        """


class Trainer:
    """Training of one run, epoch by epoch, which can be continued from a saved `state_dict`.

    Attributes:
        epoch: number of epochs trained so far.
        trace: metrics of each epoch by name; equal specs give equal traces.
        epoch_seconds: wall time of each epoch in seconds.
        labels: noisy labels of the run.
        data: loaders of the training samples and of the evaluated samples.
        network: network that is trained.
        method: method that computes the loss of each step.
        optimizer: optimiser of the network's weights.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset: Dataset,
        device: torch.device,
        inputs: Mapping[str, torch.Tensor] | None = None,
        labels: Realisation | None = None,
    ) -> None:
        """Load the data and create the network, the method and the optimiser.

        Args:
            spec: specification of the run.
            dataset: dataset of the run.
            device: device of the training.
            inputs: arrays from the earlier training stages of the method (outcomes), by role.
            labels: noisy labels of the run; None to draw them according to the spec.

        Raises:
            DataError: if the dataset is not the one in the spec, or a picture cannot be decoded.
            FieldError: if the state that the method keeps for each sample would be too large.
        """
        if dataset.digest != spec.data:
            raise DataError(
                f"the data of '{dataset.name}' have SHA-256 {dataset.digest[:12]}, but the run was "
                f"planned with {spec.data[:12]}: restore the data, or repeat the command to plan "
                "new runs"
            )
        make_deterministic(spec.recipe, spec.threads)
        self.spec = spec
        self.device = device
        self.epoch = 0
        self.trace: list[dict[str, float]] = []
        self.epoch_seconds: list[float] = []
        self.labels = labels or draw_realisation(
            dataset, spec.scenario, spec.seeds, spec.subset, balanced=spec.balanced
        )
        self.data = RunSplits(spec, dataset, self.labels, device)
        self._restored_skipped_count = 0
        method = method_of(spec.method)
        check_state_size(
            method, spec.hyperparameters, len(self.data.train), self.labels.class_count
        )
        self.network = (
            build_network(
                spec.backbone,
                spec.backbone_parameters,
                self.data.input_shape,
                method.output_count(self.labels.class_count),
                spec.seeds.init,
            )
            .to(device)
            .to(memory_format=torch.channels_last)
        )
        self.method = method(
            Context(
                hyperparameters=spec.hyperparameters,
                labels=self.data.train.labels,
                class_count=self.labels.class_count,
                epochs=spec.recipe.epochs,
                seed=spec.seeds.method,
                inputs={name: value.to(device) for name, value in (inputs or {}).items()},
                transition=self._transition_matrix() if method.needs_truth else None,
            )
        )
        self.optimizer = _create_optimizer(self.network, spec.recipe)

    def _transition_matrix(self) -> torch.Tensor:
        """Return the fraction of each noisy label (column) among samples of each class (row)."""
        counts = torch.zeros(self.labels.class_count, self.labels.class_count, device=self.device)
        ones = torch.ones(len(self.data.train), device=self.device)
        counts.index_put_((self.data.true_labels, self.data.train.labels), ones, accumulate=True)
        return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)

    @property
    def skipped_count(self) -> int:
        """Number of training pictures left out because they could not be decoded."""
        return max(self._restored_skipped_count, self.data.unreadable_count)

    @property
    def done(self) -> bool:
        """Whether all epochs have been trained."""
        return self.epoch == self.spec.recipe.epochs

    @property
    def parameter_count(self) -> int:
        """Number of weights of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def train_epoch(self, observer: Observer | None = None) -> dict[str, float]:
        """Train the next epoch and return its metrics by name.

        After epochs for which `Recipe.evaluates` is true, the metrics include the accuracies on the
        evaluated splits.

        Args:
            observer: object that records the training steps; None to record nothing.

        Raises:
            DivergedError: if the loss of a step is NaN or larger than `MAX_LOSS`; the attribute
                `epoch` then does not change.
        """
        start = time.perf_counter()
        epoch = self.epoch + 1
        recipe = self.spec.recipe
        if recipe.reset_optimizer:
            self.optimizer.state.clear()
        learning_rate = recipe.schedule.rate(recipe.learning_rate, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        training_metrics = self._train_steps(epoch, observer)
        row = {"epoch": epoch, "learning_rate": learning_rate, **training_metrics}
        if recipe.evaluates(epoch):
            for metric, loader in self.data.evaluation_loaders.items():
                extra_metrics = self.data.extra_metrics.get(metric, {})
                row |= self.evaluate(loader, {metric: 1, **extra_metrics})
        self.epoch = epoch
        self.trace.append(row)
        self.epoch_seconds.append(time.perf_counter() - start)
        return row

    def _train_steps(self, epoch: int, observer: Observer | None) -> dict[str, float]:
        """Train on all batches of an epoch and return the training metrics."""
        self.network.train()
        step_observer = observer if observer is not None and observer.collects(epoch) else None
        recipe, train = self.spec.recipe, self.data.train
        draws = EpochDraws(train.index, recipe, self.spec.seeds, epoch)
        # Dropout uses torch's generator, which is seeded per epoch and so needs no checkpoint.
        torch.manual_seed(derive_seed("method", self.spec.seeds.method, "torch", epoch) % 2**63)
        losses, batch_sizes = [], []
        correct_counts = torch.zeros(2, dtype=torch.int64, device=self.device)
        for images, positions in train.epoch_batches(
            draws, recipe.batch_size, drop_last=recipe.drop_last
        ):
            loss, logits = self.step(images, positions, epoch, step_observer)
            if observer is not None:
                observer.record_predictions(positions, logits)
            losses.append(loss)
            batch_sizes.append(len(positions))
            predictions = logits[:, : self.labels.class_count].argmax(dim=1)
            targets = torch.stack(
                [self.data.train.labels[positions], self.data.true_labels[positions]]
            )
            correct_counts += (predictions == targets).sum(dim=1)
        # One transfer per epoch, since reading the loss of every step would stall the GPU.
        step_losses = torch.stack(losses).double().cpu()
        diverged_steps = (~(step_losses.abs() <= MAX_LOSS)).nonzero()
        if len(diverged_steps):
            step = int(diverged_steps[0])
            raise DivergedError(
                f"loss {step_losses[step].item():g} at step {step + 1} of epoch {epoch}; "
                f"last good epoch {epoch - 1}"
            )
        self.method.end_epoch(epoch, self.predict)
        if observer is not None:
            observer.end_epoch(epoch, self.method.estimated_targets)
        sample_count = sum(batch_sizes)
        mean_loss = float((step_losses * torch.tensor(batch_sizes)).sum()) / sample_count
        noisy_accuracy, true_accuracy = (int(count) / sample_count for count in correct_counts)
        metrics = {TRAIN_LOSS: mean_loss, TRAIN_ACCURACY: noisy_accuracy}
        if self.labels.true_labels_known:
            metrics[TRAIN_ACCURACY_TRUE] = true_accuracy
        return metrics

    def step(
        self,
        images: torch.Tensor,
        positions: torch.Tensor,
        epoch: int,
        observer: Observer | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Train one step and return the loss and the class logits, detached from the graph.

        Args:
            images: images of the batch, uint8, shape (b, C, H, W).
            positions: positions of the images among the training samples, shape (b,).
            epoch: number of the epoch, counted from 1.
            observer: object that records the step; None to record nothing.
        """
        logits, attention = self._forward(images)
        batch = Batch(logits.float(), attention.float(), positions, epoch)
        if observer is not None:
            batch.logits.retain_grad()
        loss = self.method.loss(batch)
        if loss.ndim:
            raise ValueError(
                f"the loss of {type(self.method).__name__} must be a scalar, but has shape "
                f"{tuple(loss.shape)}: return the mean over the batch"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        max_norm = self.spec.recipe.max_gradient_norm
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), max_norm)
        self.optimizer.step()
        if observer is not None and batch.logits.grad is not None:
            with torch.no_grad():
                attention_logit = self.method.attention_logit(batch)
                gradient = batch.logits.grad * len(positions)
                observer.record_step(batch, attention_logit, gradient)
        return loss.detach(), logits.detach()

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = self.data.normalise(images).contiguous(memory_format=torch.channels_last)
        bf16 = self.spec.recipe.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits, attention = self.network(inputs)
        return logits, attention

    @torch.no_grad()
    def evaluate(self, loader: Loader, top_k: Mapping[str, int]) -> dict[str, float]:
        """Return top-k accuracies of the network on the samples of a loader, by metric name.

        The top-k accuracy is the fraction of samples whose label is among the k most probable
        classes.

        Args:
            loader: loader of the samples to evaluate.
            top_k: k of each accuracy to compute, by metric name.
        """
        self.network.eval()
        correct_counts = torch.zeros(len(top_k), dtype=torch.int64, device=self.device)
        sample_count = 0
        for images, positions in loader.batches(evaluation_batch_size(self.data.input_shape)):
            labels = loader.labels[positions]
            logits = self._forward(images)[0][:, : self.labels.class_count]
            is_top1 = logits.argmax(dim=1) == labels
            label_ranks = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
            is_correct = [is_top1 if k == 1 else label_ranks < k for k in top_k.values()]
            correct_counts += torch.stack(is_correct).sum(dim=1)
            sample_count += len(labels)
        return {
            metric: int(count) / sample_count
            for metric, count in zip(top_k, correct_counts, strict=True)
        }

    @torch.no_grad()
    def predict(self) -> torch.Tensor:
        """Return the class probabilities of all training samples, float32, shape (n, outputs).

        Row i is the softmax output for training sample i, without augmentation. A picture that
        cannot be decoded gets equal probabilities. The network is in evaluation mode during the
        prediction, and in its previous mode afterwards.
        """
        was_training = self.network.training
        self.network.eval()
        predictions: torch.Tensor | None = None
        batch_size = evaluation_batch_size(self.data.input_shape)
        for images, positions in self.data.train.batches(batch_size):
            probabilities = self._forward(images)[0].float().softmax(dim=1)
            if predictions is None:
                logit_count = probabilities.shape[1]
                predictions = probabilities.new_full(
                    (len(self.data.train), logit_count), 1 / logit_count
                )
            predictions[positions] = probabilities
        self.network.train(was_training)
        assert predictions is not None  # noqa: S101 - a loader is never empty
        return predictions

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run to save in a checkpoint, with the metrics of past epochs."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "trace": self.trace,
            "seconds": self.epoch_seconds,
            "skipped": self.skipped_count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned for the same spec, to continue the training.

        Args:
            state: return value of `state_dict`.
        """
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.epoch = state["epoch"]
        self.trace = list(state["trace"])
        self.epoch_seconds = list(state["seconds"])
        self._restored_skipped_count = state["skipped"]


def evaluation_batch_size(input_shape: tuple[int, int, int]) -> int:
    """Return the number of images per batch of an evaluation, which is smaller for large images.

    Args:
        input_shape: shape (C, H, W) of the images.
    """
    image_pixels = input_shape[1] * input_shape[2]
    return max(1, min(MAX_EVALUATION_BATCH_SIZE, MAX_EVALUATION_BATCH_PIXELS // image_pixels))


def _create_optimizer(network: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "radam":
        return RAdam(
            network.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            decoupled_weight_decay=True,
        )
    return Sgd(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
