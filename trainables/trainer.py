"""One training, epoch by epoch: a pure function of its spec and its data."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from trainables.devices import make_deterministic
from trainables.errors import DataError
from trainables.images import EpochDraws, ImagePart, Normalise, channel_statistics
from trainables.methods import Batch, Context, method_of
from trainables.network import build_network
from trainables.realisation import realise

if TYPE_CHECKING:
    from trainables.datasets.base import Dataset
    from trainables.spec import RunSpec

EVALUATION_BATCH = 500


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number: an outcome of the run, not a fault of the sweep."""


class Trainer:
    """Trains a spec; between epochs, `state_dict` holds all that is needed to go on elsewhere.

    Attributes:
        epoch: epochs done.
        trace: one row of metrics per epoch done; equal specs give equal rows.
        seconds: wall time of each.
    """

    def __init__(self, spec: RunSpec, dataset: Dataset, device: torch.device) -> None:
        """Prepare the first epoch.

        Raises:
            DataError: the data or the noisy labels are not those of the spec.
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
            )
        )
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=spec.recipe.learning_rate,
            momentum=spec.recipe.momentum,
            weight_decay=spec.recipe.weight_decay,
            nesterov=spec.recipe.nesterov,
        )

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
        mean, std = spec.recipe.mean, spec.recipe.std
        if mean is None or std is None:
            mean, std = channel_statistics(dataset.train.images, self._train.index)
        self._normalise = Normalise(mean, std, self.device)
        self._evaluated: dict[str, ImagePart] = {}
        if "val" in spec.evaluate:
            self._evaluated["val"] = part(held_out)
        if "test" in spec.evaluate:
            test = dataset.test
            everything = torch.arange(len(test)).numpy()
            self._evaluated["test"] = ImagePart(test.images, everything, test.labels, self.device)

    @property
    def done(self) -> bool:
        """Whether the last epoch has been trained."""
        return self.epoch == self.spec.recipe.epochs

    @property
    def parameters(self) -> int:
        """Number of trained parameters of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def train_epoch(self) -> dict[str, float]:
        """Train the next epoch, evaluate where the recipe says so, and return its row.

        Raises:
            DivergedError: a step's loss was not finite; the epoch is not counted as done.
        """
        begun = time.perf_counter()
        epoch = self.epoch + 1
        recipe = self.spec.recipe
        rate = recipe.schedule.rate(recipe.learning_rate, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        row = {"epoch": epoch, "learning_rate": rate, **self._pass(epoch)}
        if recipe.evaluates(epoch):
            for name, part in self._evaluated.items():
                row[f"{name}/accuracy"] = self.accuracy(part)
        self.epoch = epoch
        self.trace.append(row)
        self.seconds.append(time.perf_counter() - begun)
        return row

    def _pass(self, epoch: int) -> dict[str, float]:
        self.network.train()
        draws = EpochDraws(self._train, self.spec.recipe, self.spec.seeds, epoch)
        losses, sizes = [], []
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        for images, positions in draws.batches():
            loss, logits = self.step(images, positions, epoch)
            losses.append(loss)
            sizes.append(len(positions))
            predicted = logits[:, : self.labels.classes].argmax(dim=1)
            correct += (predicted == self._train.labels[positions]).sum()
        # One transfer per epoch: asking for each step's loss would make the GPU wait.
        per_step = torch.stack(losses).double().cpu()
        bad = (~per_step.isfinite()).nonzero()
        if len(bad):
            step = int(bad[0])
            raise DivergedError(
                f"loss {per_step[step].item()} at step {step + 1} of epoch {epoch}; "
                f"last good epoch {epoch - 1}"
            )
        self.method.end_epoch(epoch)
        mean = float((per_step * torch.tensor(sizes)).sum()) / len(self._train)
        return {"train/loss": mean, "train/accuracy": int(correct) / len(self._train)}

    def step(
        self, images: torch.Tensor, positions: torch.Tensor, epoch: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step of SGD; return the loss and the logits, both detached."""
        logits, attention = self._forward(images)
        batch = Batch(logits.float(), attention.float(), positions, epoch)
        loss = self.method.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
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
