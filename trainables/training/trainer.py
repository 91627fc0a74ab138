"""One training, epoch by epoch: a pure function of its spec and its data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import torch

from trainables.errors import DataError
from trainables.methods import Batch, Context, check_state, method_of
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
"""Most images and pixels that are evaluated at once."""
LOSS_BOUND = 1e6
"""A mean loss above this is a divergence, though still a number."""


class DivergedError(ArithmeticError):
    """The loss is no number, or out of bounds: an outcome of the run, not a fault of the sweep."""


class Observer(Protocol):
    """Looks on while a run trains; what it does must not change a bit of it."""

    def watches(self, epoch: int) -> bool:
        """Tell whether it wants to see this epoch."""

    def note(self, batch: Batch, attention: torch.Tensor | None, gradient: torch.Tensor) -> None:
        """Take note of a step.

        Args:
            batch: of the step.
            attention: logit of the weight τ that the loss gives each sample, shape (b,), if it
                gives one.
            gradient: of each sample's loss with respect to its logits, shape (b, outputs).
        """

    def end_epoch(self, epoch: int, targets: torch.Tensor | None) -> None:
        """Take note of an epoch's end, and of what the method takes for the labels then."""


class Trainer:
    """Trains a spec; between epochs, `state_dict` holds all that is needed to go on elsewhere.

    Attributes:
        epoch: epochs done.
        trace: one row of metrics per epoch done; equal specs give equal rows.
        seconds: wall time of each.
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
            spec: what is trained.
            dataset: on what.
            device: where.
            inputs: outcomes of the runs that the spec needs, by role.
            labels: what the run sees; None: drawn as the spec says.

        Raises:
            DataError: the data are not those of the spec, or a picture cannot be decoded.
            FieldError: the method would keep more state than is reasonable.
        """
        if dataset.digest != spec.data:
            raise DataError(
                f"the data of '{dataset.name}' have SHA-256 {dataset.digest[:12]}, the run was "
                f"planned with {spec.data[:12]}: restore them, or plan it anew"
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
        check_state(method, spec.hyperparameters, len(self.data.train), self.labels.classes)
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
        """How many training pictures were left out, since they could not be decoded."""
        return max(self._skipped, self.data.unreadable)

    @property
    def done(self) -> bool:
        """Whether the last epoch has been trained."""
        return self.epoch == self.spec.recipe.epochs

    @property
    def parameters(self) -> int:
        """Number of trained parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def train_epoch(self, observer: Observer | None = None) -> dict[str, float]:
        """Train the next epoch, evaluate where the recipe says so, and return its row.

        Raises:
            DivergedError: a step's loss was no number or out of bounds; the epoch is not counted
                as done.
        """
        begun = time.perf_counter()
        epoch = self.epoch + 1
        recipe = self.spec.recipe
        rate = recipe.schedule.rate(recipe.learning_rate, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        row = {"epoch": epoch, "learning_rate": rate, **self._pass(epoch, observer)}
        if recipe.evaluates(epoch):
            for metric, part in self.data.evaluated.items():
                further = self.data.top.get(metric, {})
                row |= self.accuracies(part, {metric: 1, **further})
        self.epoch = epoch
        self.trace.append(row)
        self.seconds.append(time.perf_counter() - begun)
        return row

    def _pass(self, epoch: int, observer: Observer | None) -> dict[str, float]:
        self.network.train()
        if observer is not None and not observer.watches(epoch):
            observer = None
        recipe, train = self.spec.recipe, self.data.train
        draws = EpochDraws(train.index, recipe, self.spec.seeds, epoch)
        # Dropout draws from torch's own generator: begun anew, so that it needs no checkpoint.
        torch.manual_seed(derive("method", self.spec.seeds.method, "torch", epoch) % 2**63)
        losses, sizes = [], []
        correct = torch.zeros(2, dtype=torch.int64, device=self.device)
        for images, positions in train.epoch(draws, recipe.batch_size, drop_last=recipe.drop_last):
            loss, logits = self.step(images, positions, epoch, observer)
            losses.append(loss)
            sizes.append(len(positions))
            predicted = logits[:, : self.labels.classes].argmax(dim=1)
            wanted = torch.stack([self.data.train.labels[positions], self.data.true[positions]])
            correct += (predicted == wanted).sum(dim=1)
        # One transfer per epoch: asking for each step's loss would make the GPU wait.
        per_step = torch.stack(losses).double().cpu()
        bad = (~(per_step.abs() <= LOSS_BOUND)).nonzero()
        if len(bad):
            step = int(bad[0])
            raise DivergedError(
                f"loss {per_step[step].item():g} at step {step + 1} of epoch {epoch}; "
                f"last good epoch {epoch - 1}"
            )
        self.method.end_epoch(epoch, self.predict)
        if observer is not None:
            observer.end_epoch(epoch, self.method.estimated_targets())
        seen = sum(sizes)
        mean = float((per_step * torch.tensor(sizes)).sum()) / seen
        given, true = (int(count) / seen for count in correct)
        row = {TRAIN_LOSS: mean, TRAIN_ACCURACY: given}
        return row | {TRAIN_ACCURACY_TRUE: true} if self.labels.truth_known else row

    def step(
        self,
        images: torch.Tensor,
        positions: torch.Tensor,
        epoch: int,
        observer: Observer | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step of the optimiser; return the loss and the logits, both detached."""
        logits, attention = self._forward(images)
        batch = Batch(logits.float(), attention.float(), positions, epoch)
        if observer is not None:
            batch.logits.retain_grad()
        loss = self.method.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        if observer is not None and batch.logits.grad is not None:
            with torch.no_grad():
                weight = self.method.attention_logit(batch)
                observer.note(batch, weight, batch.logits.grad * len(positions))
        return loss.detach(), logits.detach()

    def _forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = self.data.normalise(images).contiguous(memory_format=torch.channels_last)
        bf16 = self.spec.recipe.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits, attention = self.network(inputs)
        return logits, attention

    @torch.no_grad()
    def accuracies(self, part: Loader, metrics: Mapping[str, int]) -> dict[str, float]:
        """Return top-k accuracies: how often a sample's label is among the k likeliest.

        Args:
            part: what is predicted.
            metrics: k by the metric's name.
        """
        self.network.eval()
        correct = torch.zeros(len(metrics), dtype=torch.int64, device=self.device)
        seen = 0
        for images, positions in part.batches(self._evaluation_batch):
            labels = part.labels[positions]
            logits = self._forward(images)[0][:, : self.labels.classes]
            first = logits.argmax(dim=1) == labels
            above = (logits > logits.gather(1, labels[:, None])).sum(dim=1)
            hits = [first if k == 1 else above < k for k in metrics.values()]
            correct += torch.stack(hits).sum(dim=1)
            seen += len(labels)
        return {name: int(count) / seen for name, count in zip(metrics, correct, strict=True)}

    @property
    def _evaluation_batch(self) -> int:
        """Images at once, fewer of large ones."""
        pixels = self.data.image[1] * self.data.image[2]
        return max(1, min(EVALUATION_BATCH, EVALUATION_PIXELS // pixels))

    @torch.no_grad()
    def predict(self) -> torch.Tensor:
        """Return the softmax of all training samples in order, float32, shape (n, outputs).

        Taken in evaluation mode, without augmentation; the mode is left as it was. A picture that
        cannot be decoded has the same probability for all.
        """
        training = self.network.training
        self.network.eval()
        found: torch.Tensor | None = None
        for images, positions in self.data.train.batches(self._evaluation_batch):
            probabilities = self._forward(images)[0].float().softmax(dim=1)
            if found is None:
                outputs = probabilities.shape[1]
                found = probabilities.new_full((len(self.data.train), outputs), 1 / outputs)
            found[positions] = probabilities
        self.network.train(training)
        assert found is not None  # noqa: S101 - a part has samples
        return found

    def state_dict(self) -> dict[str, Any]:
        """Return all that decides the epochs to come, and what was seen in those done."""
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
        """Go on from a state of the same spec."""
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
