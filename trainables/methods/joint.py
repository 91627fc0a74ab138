"""Joint optimization (Tanaka et al., CVPR 2018): one run learns labels, a second trains on them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from trainables.lazy import functional, torch
from trainables.methods.base import (
    Batch,
    Context,
    FrozenMap,
    Method,
    MultiStep,
    Parameter,
    PredictFunction,
    PublishedRecipe,
    Setting,
    Space,
    Stage,
)
from trainables.methods.per_sample_state import RecentPredictions, one_hot, soft_cross_entropy
from trainables.methods.published import CIFAR10_STATISTICS, cifar_recipe

WINDOW_EPOCHS = 10
"""Number of latest epochs whose mean prediction is a sample's learned label."""

_REPOSITORY = "YU1ut/JointOptimization"
_CHAINER_REPOSITORY = "DaikiTanaka-UT/JointOptimization"
_NO_CIFAR100_CODE = "there is no public code for CIFAR-100"
_LABEL_RECIPE = PublishedRecipe(
    "cifar10*",
    "*",
    cifar_recipe(200, 0.1),
    f"{_CHAINER_REPOSITORY}; it enlarges images to 40 × 40 before they are cropped and subtracts "
    "the mean image, here they are padded and normalised as in the study",
    hold_out=0.1,
)
_RETRAINING_RECIPE = replace(_LABEL_RECIPE, recipe=cifar_recipe(120, 0.2, MultiStep((40, 80))))


def _as_cifar100_recipe(entry: PublishedRecipe) -> PublishedRecipe:
    """Return a recipe of the code for CIFAR-10 as one for CIFAR-100, with a source that says so."""
    return replace(
        entry,
        dataset="cifar100*",
        source=f"{entry.source}; values of the script for CIFAR-10, {_NO_CIFAR100_CODE}",
    )


def _port_recipe(noise: str, learning_rate: float) -> PublishedRecipe:
    """Return the recipe of the PyTorch port for the first run on CIFAR-10."""
    return PublishedRecipe(
        "cifar10",
        noise,
        cifar_recipe(200, learning_rate, crop_padding=8, **CIFAR10_STATISTICS),
        f"{_REPOSITORY}, a port",
        hold_out=0.1,
    )


PARAMETERS = (
    Parameter(
        "alpha",
        default=1.2,
        low=0,
        help="weight of the prior term L_p (authors' code: 1.2; 0.8 on asymmetric noise)",
        space=Space(0.1, 10, log=True),
    ),
    Parameter(
        "beta",
        default=0.8,
        low=0,
        help="weight of the entropy term L_e (authors' code: 0.8; 0.4 on asymmetric noise)",
        space=Space(0.05, 5, log=True),
    ),
    Parameter(
        "first_label_epoch",
        default=71,
        low=1,
        in_epochs=True,
        must_be_reached=True,
        help="first epoch with learned labels (authors' code: 70, counted from 0)",
    ),
    Parameter(
        "labels",
        default="soft",
        choices=("soft", "hard"),
        help="learned labels: class probabilities (soft) or the likeliest class (hard)",
    ),
)
_SETTINGS = (
    Setting("cifar10", "symmetric-*", {"alpha": 1.2, "beta": 0.8}, _REPOSITORY),
    Setting("cifar10", "asymmetric-*", {"alpha": 0.8, "beta": 0.4}, _REPOSITORY),
    Setting(
        "cifar100",
        "*",
        {"alpha": 1.0, "beta": 0.5},
        f"defaults of the script in {_CHAINER_REPOSITORY}, for CIFAR-10; {_NO_CIFAR100_CODE}",
    ),
)


class JointOptimizationLabelLearning(Method):
    """First training run of Joint Optimization, which learns the labels.

    L = CE(y, p) + α L_p + β L_e, at a high, constant learning rate. CE(y, p) is the cross entropy
    of the prediction p to the label y. The prior term is L_p = -Σ_k (1/K) log p̄_k, where p̄ is the
    mean prediction of the batch. The entropy term L_e is the mean entropy of the predictions.
    Before epoch `first_label_epoch`, y is the noisy label. From this epoch on, y is the mean of the
    sample's predictions over the last 10 epochs (soft), or the argmax of this mean (hard).
    """

    name: ClassVar[str] = "joint-labels"
    title: ClassVar[str] = "Joint Opt (labels)"
    source: ClassVar[str] = "Tanaka et al., CVPR 2018, eq. 4 to 6"
    parameters: ClassVar[tuple[Parameter, ...]] = PARAMETERS
    settings: ClassVar[tuple[Setting, ...]] = _SETTINGS
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        _port_recipe("symmetric-*", 0.08),
        _port_recipe("asymmetric-*", 0.03),
        _as_cifar100_recipe(_LABEL_RECIPE),
        _LABEL_RECIPE,
    )
    outcomes: ClassVar[tuple[str, ...]] = ("predictions", "labels")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        hyperparameters = context.hyperparameters
        self.alpha = hyperparameters.number("alpha")
        self.beta = hyperparameters.number("beta")
        self.first_label_epoch = int(hyperparameters.number("first_label_epoch"))
        self.uses_hard_labels = hyperparameters["labels"] == "hard"
        self.current_labels = one_hot(context.labels, context.class_count)
        self.recent_predictions = RecentPredictions(
            context.labels, WINDOW_EPOCHS, context.class_count
        )

    @classmethod
    def state_bytes(cls, hyperparameters: FrozenMap, sample_count: int, class_count: int) -> int:  # noqa: ARG003
        """Return the size of the stored predictions and the learned labels in bytes."""
        label_bytes = 4 * sample_count * class_count
        return RecentPredictions.size_bytes(sample_count, WINDOW_EPOCHS, class_count) + label_bytes

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, and store the predictions for the learned labels."""
        self.recent_predictions.record(batch.logits, batch.index, batch.epoch)
        log_p = functional.log_softmax(batch.logits, dim=1)
        cross_entropy = soft_cross_entropy(batch.logits, self.current_labels[batch.index]).mean()
        prior_term = -(torch.logsumexp(log_p, dim=0) - math.log(len(log_p))).mean()
        entropy_term = -(log_p.exp() * log_p).sum(dim=1).mean()
        return cross_entropy + self.alpha * prior_term + self.beta * entropy_term

    def end_epoch(self, epoch: int, predict: PredictFunction) -> None:  # noqa: ARG002
        """Update the learned labels if the next epoch is trained on them."""
        if epoch + 1 < self.first_label_epoch:
            return
        labels = self.recent_predictions.mean(epoch)
        if self.uses_hard_labels:
            labels = one_hot(labels.argmax(dim=1), self.context.class_count)
        self.current_labels.copy_(labels)

    def estimated_targets(self) -> torch.Tensor:
        """Return the current training labels, noisy or learned, shape (n, K)."""
        return self.current_labels

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the current labels and the stored predictions, for a checkpoint."""
        return {"labels": self.current_labels, "recent": self.recent_predictions.buffer}

    def outcome(self, name: str, predict: PredictFunction) -> torch.Tensor:
        """Return "labels", the learned labels, or "predictions", both float32, shape (n, K)."""
        return self.current_labels if name == "labels" else super().outcome(name, predict)


class JointOptimization(Method):
    """Second training run of Joint Optimization: cross entropy to the labels of the first run.

    The first run has the method `joint-labels`. The network of the second run is newly initialised.
    """

    name: ClassVar[str] = "joint"
    title: ClassVar[str] = "Joint Opt"
    source: ClassVar[str] = "Tanaka et al., CVPR 2018, section 3.2"
    parameters: ClassVar[tuple[Parameter, ...]] = PARAMETERS
    settings: ClassVar[tuple[Setting, ...]] = _SETTINGS
    published_recipes: ClassVar[tuple[PublishedRecipe, ...]] = (
        _as_cifar100_recipe(_RETRAINING_RECIPE),
        _RETRAINING_RECIPE,
    )
    stages: ClassVar[tuple[Stage, ...]] = (
        Stage("labels", "joint-labels", "labels", tuple(p.name for p in PARAMETERS)),
    )

    @classmethod
    def check(cls, hyperparameters: FrozenMap, epochs: int) -> None:
        """Accept all values, since only the first run uses `first_label_epoch`."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean cross entropy of a batch to the labels that the first run learned."""
        labels = self.context.inputs["labels"][batch.index]
        return soft_cross_entropy(batch.logits, labels).mean()

    def estimated_targets(self) -> torch.Tensor:
        """Return the labels that the first run learned, shape (n, K)."""
        return self.context.inputs["labels"]
