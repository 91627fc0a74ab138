"""One training, epoch by epoch: a pure function of its spec and its data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from trainables.devices import make_deterministic
from trainables.errors import DataError
from trainables.images import EpochDraws, ImagePart, Normalise, channel_statistics
from trainables.methods import Batch, Context, check_state, method_of
from trainables.network import build_network
from trainables.realisation import realise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.datasets.base import Dataset
    from trainables.diagnostics.observer import Observer
    from trainables.spec import Recipe, RunSpec

EVALUATION_BATCH = 500
LOSS_BOUND = 1e6
"""A mean loss above this is a divergence, though still a number."""


class DivergedError(ArithmeticError):
    """The loss is no number, or out of bounds: an outcome of the run, not a fault of the sweep."""


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
    ) -> None:
        """Prepare the first epoch.

        Args:
            spec: what is trained.
            dataset: on what.
            device: where.
            inputs: outcomes of the runs that the spec needs, by role.

        Raises:
            DataError: the data or the noisy labels are not those of the spec.
            FieldError: the method would keep more state than is reasonable.
        """
        make_deterministic(spec.recipe, spec.threads)
        self.spec = spec
        self.device = device
        self.epoch = 0
        self.trace: list[dict[str, float]] = []
        self.seconds: list[float] = []
        self.labels = realise(
            dataset.train.labels, len(dataset.classes), spec.scenario, spec.subset, spec.seeds
        )
        self._check(dataset)
        self._prepare_data(dataset)
        method = method_of(spec.method)
        check_state(method, spec.hyperparameters, len(self._train), self.labels.classes)
        self.network = (
            build_network(
                spec.backbone,
                spec.backbone_parameters,
                dataset.image,
                method.outputs(self.labels.classes),
                spec.seeds.init,
            )
            .to(device)
            .to(memory_format=torch.channels_last)
        )
        self.method = method(
            Context(
                hyperparameters=spec.hyperparameters,
                labels=self._train.labels,
                classes=self.labels.classes,
                epochs=spec.recipe.epochs,
                seed=spec.seeds.method,
                inputs={name: value.to(device) for name, value in (inputs or {}).items()},
                transition=self._transition() if method.needs_truth else None,
            )
        )
        self.optimizer = _optimizer(self.network, spec.recipe)

    def _check(self, dataset: Dataset) -> None:
        for what, found, wanted in (
            ("data", dataset.digest, self.spec.data),
            ("noisy labels", self.labels.digest, self.spec.labels),
        ):
            if found != wanted:
                raise DataError(
                    f"the {what} of '{dataset.name}' have SHA-256 {found[:12]}, the run was "
                    f"planned with {wanted[:12]}: restore them, or plan it anew"
                )

    def _prepare_data(self, dataset: Dataset) -> None:
        spec, labels = self.spec, self.labels
        training, held_out = labels.parts(spec.hold_out, spec.seeds.split)

        def part(positions: Any) -> ImagePart:  # noqa: ANN401 - an index array
            index = labels.index[positions]
            return ImagePart(dataset.train.images, index, labels.noisy[positions], self.device)

        self._train = part(training)
        self._true = torch.from_numpy(labels.true[training]).to(self.device)
        mean, std = spec.recipe.mean, spec.recipe.std
        if mean is None or std is None:
            mean, std = channel_statistics(dataset.train.images, self._train.index)
        self._normalise = Normalise(mean, std, self.device)
        self._evaluated: dict[str, ImagePart] = {}
        if "val" in spec.evaluate:
            self._evaluated["val"] = part(held_out)
        if "clean_val" in spec.evaluate:
            index = labels.index[held_out]
            clean = labels.true[held_out]
            self._evaluated["clean_val"] = ImagePart(
                dataset.train.images, index, clean, self.device
            )
        if "test" in spec.evaluate:
            test = dataset.test
            everything = torch.arange(len(test)).numpy()
            self._evaluated["test"] = ImagePart(test.images, everything, test.labels, self.device)

    def _transition(self) -> torch.Tensor:
        counts = torch.zeros(self.labels.classes, self.labels.classes, device=self.device)
        ones = torch.ones(len(self._train), device=self.device)
        counts.index_put_((self._true, self._train.labels), ones, accumulate=True)
        return counts / counts.sum(dim=1, keepdim=True).clamp(min=1)

    @property
    def part(self) -> ImagePart:
        """The samples that are trained on, with their noisy labels."""
        return self._train

    @property
    def true_labels(self) -> torch.Tensor:
        """Labels of those samples as the dataset has them, int64, shape (n,)."""
        return self._true

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
            for name, part in self._evaluated.items():
                row[f"{name}/accuracy"] = self.accuracy(part)
        self.epoch = epoch
        self.trace.append(row)
        self.seconds.append(time.perf_counter() - begun)
        return row

    def _pass(self, epoch: int, observer: Observer | None) -> dict[str, float]:
        self.network.train()
        if observer is not None and not observer.watches(epoch):
            observer = None
        draws = EpochDraws(self._train, self.spec.recipe, self.spec.seeds, epoch)
        losses, sizes = [], []
        correct = torch.zeros(2, dtype=torch.int64, device=self.device)
        for images, positions in draws.batches():
            loss, logits = self.step(images, positions, epoch, observer)
            losses.append(loss)
            sizes.append(len(positions))
            predicted = logits[:, : self.labels.classes].argmax(dim=1)
            wanted = torch.stack([self._train.labels[positions], self._true[positions]])
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
        mean = float((per_step * torch.tensor(sizes)).sum()) / len(self._train)
        given, true = (int(count) / len(self._train) for count in correct)
        return {"train/loss": mean, "train/accuracy": given, "train/accuracy_true": true}

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
        inputs = self._normalise(images).contiguous(memory_format=torch.channels_last)
        bf16 = self.spec.recipe.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits, attention = self.network(inputs)
        return logits, attention

    @torch.no_grad()
    def accuracy(self, part: ImagePart) -> float:
        """Return the fraction of a part's labels that the network predicts."""
        self.network.eval()
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        for images, labels in part.batches(EVALUATION_BATCH):
            logits, _ = self._forward(images)
            correct += (logits[:, : self.labels.classes].argmax(dim=1) == labels).sum()
        return int(correct) / len(part)

    @torch.no_grad()
    def predict(self) -> torch.Tensor:
        """Return the softmax of all training samples in order, float32, shape (n, outputs).

        Taken in evaluation mode, without augmentation; the mode is left as it was.
        """
        training = self.network.training
        self.network.eval()
        found = [
            self._forward(images)[0].float().softmax(dim=1)
            for images, _ in self._train.batches(EVALUATION_BATCH)
        ]
        self.network.train(training)
        return torch.cat(found)

    def state_dict(self) -> dict[str, Any]:
        """Return all that decides the epochs to come, and what was seen in those done."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "trace": self.trace,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same spec."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.method.load_state_dict(state["method"])
        self.epoch = state["epoch"]
        self.trace = list(state["trace"])
        self.seconds = list(state["seconds"])


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
