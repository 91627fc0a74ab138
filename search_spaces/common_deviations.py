"""Deviations that depend on a study's values only, not on which study has them.

They are those of NAL, of its ablations and of label noise, and hold for the user's own studies too.
"""

from __future__ import annotations

from search_spaces.fields import Deviation
from trainables.methods import method_of

_FIRST_TARGET_EPOCH = "hyperparameters.*.first_target_epoch"
_TARGET_INTERVAL = "hyperparameters.*.target_interval"
_CLAMPS = "hyperparameters.*.clamps"
_BETA = "hyperparameters.*.beta"


def _public_target_epochs() -> tuple[Deviation, ...]:
    """Return a deviation for each dataset on which NAL's public code has epochs of its own."""
    deviations = []
    for setting in method_of("nal").presets["official"]:
        first = setting.values["first_target_epoch"]
        interval = setting.values["target_interval"]
        every = "in every epoch" if interval == 1 else f"every {interval} epochs"
        deviations.append(
            Deviation(
                f"NAL's public code updates the targets from epoch {first} on, {every}",
                when={"dataset": setting.dataset, "method": "nal"},
                unless={_FIRST_TARGET_EPOCH: first, _TARGET_INTERVAL: interval},
            )
        )
    return tuple(deviations)


_NAL_DEVIATIONS = (
    Deviation(
        "NAL's targets are updated from first_target_epoch on, every target_interval epochs, not "
        "in every epoch as in Algorithm 1",
        when={"method": "nal*", _FIRST_TARGET_EPOCH: "*"},
        unless={_FIRST_TARGET_EPOCH: 1, _TARGET_INTERVAL: 1},
    ),
    *_public_target_epochs(),
    Deviation(
        "NAL's loss has no clamps, unlike the public code", when={"method": "nal*", _CLAMPS: False}
    ),
    Deviation(
        "NAL's loss has the clamps of the public code, which eq. 3 lacks",
        when={"method": "nal*", _CLAMPS: True},
    ),
    *(
        Deviation(
            "NAL's loss has a reverse term, which eq. 3 lacks",
            when={"method": method, _BETA: "*"},
            unless={_BETA: 0},
        )
        for method in ("nal", "nal-no-*")
    ),
    Deviation(
        "the attention branch is one linear layer on the shared representation, as the paper "
        "writes; the public code gives it an MLP of its own (backbone.attention=mlp)",
        when={"dataset": "animal10n", "method": "nal*", "backbone.attention": "linear"},
        unless={"method": "nal-no-attention"},
    ),
)
_CIFAR_NOISE_DEVIATIONS = (
    Deviation(
        "symmetric-RATE flips to other classes only, as the paper writes; the public code may draw "
        "the true class again, which is symmetric-incl-RATE",
        when={"dataset": "cifar10*", "scenario": "symmetric-[0-9]*"},
    ),
    Deviation(
        "symmetric-each-RATE flips each label by chance, to other classes only; the public code "
        "flips a fixed number and may draw the true class again, which is symmetric-incl-RATE",
        when={"dataset": "cifar10*", "scenario": "symmetric-each-*"},
    ),
    Deviation(
        "symmetric-incl-each-RATE flips each label by chance; the public code flips a fixed "
        "number, which is symmetric-incl-RATE",
        when={"dataset": "cifar10*", "scenario": "symmetric-incl-each-*"},
    ),
    Deviation(
        "the rate of asymmetric-RATE holds exactly in each class that has a target class; the "
        "public code draws from all samples, so that it varies between classes "
        "(asymmetric-official-RATE)",
        when={"dataset": "cifar10*", "scenario": "asymmetric-[0-9]*"},
    ),
    Deviation(
        "asymmetric-each-RATE flips each label of a class that has a target class by chance; the "
        "public code draws a fixed number of all samples (asymmetric-official-RATE)",
        when={"dataset": "cifar10*", "scenario": "asymmetric-each-*"},
    ),
    Deviation(
        "asymmetric-superclass-RATE flips to the next class of the same superclass; the public "
        "code flips to the next class in blocks of five class ids (asymmetric-official-RATE)",
        when={"dataset": "cifar10*", "scenario": "asymmetric-superclass-*"},
    ),
    Deviation(
        "the rate of asymmetric-superclass-RATE holds exactly in each class; the public code draws "
        "from all samples, so that it varies between classes",
        when={"dataset": "cifar10*", "scenario": "asymmetric-superclass-[0-9]*"},
    ),
    Deviation(
        "asymmetric-superclass-each-RATE flips each label by chance; the public code draws a fixed "
        "number of all samples",
        when={"dataset": "cifar10*", "scenario": "asymmetric-superclass-each-*"},
    ),
    *(
        Deviation(
            "every seed draws noisy labels of its own; the public code keeps one draw in a file",
            when={"dataset": "cifar10*", "scenario": scenario, "fixed_seeds.noise": None},
            unless={"scenario": "*symmetric-official-*"},
        )
        for scenario in ("symmetric-*", "asymmetric-*")
    ),
)
"""Differences from the symmetric and asymmetric noise of NAL's public code."""
_PMD_DEVIATIONS = (
    Deviation(
        "neither the paper nor its public code has a recipe for NAL on PMD noise",
        when={"dataset": "cifar10*", "method": "nal*", "scenario": "pmd-*"},
    ),
    Deviation(
        "the paper's rows for CE, SCE, LRT and PLC under PMD noise are of PLC, trained on 45,000 "
        "images with its label files; here labels are drawn from one network",
        when={"dataset": "cifar10*", "scenario": "pmd-*"},
    ),
    Deviation(
        "the level of pmd-TYPE-RATE is reached by multiplying the probability of a flip, as PLC's "
        "paper writes; its code divides that of keeping the label (pmd-keep-TYPE-RATE)",
        when={"dataset": "cifar10*", "scenario": "pmd-[1-3]-*"},
    ),
    Deviation(
        "the network behind PMD noise is trained on all 50,000 images, in PLC's code on 45,000",
        when={"dataset": "cifar10*", "scenario": "pmd-*", "subset": None},
    ),
    Deviation(
        "the probabilities behind PMD noise are taken after the network's last epoch, in PLC's "
        "code while it trains",
        when={"dataset": "cifar10*", "scenario": "pmd-*"},
    ),
    *(
        Deviation(
            "the network behind PMD noise is trained for 35 epochs, in PLC's code for 25 (type 1 "
            "at 0.35), 10 (types 1 and 3 at 0.70) or 35",
            when={"dataset": "cifar100*", "scenario": scenario, "posterior.recipe.epochs": 35},
        )
        for scenario in ("pmd*-1-*", "pmd*-3-0.7*")
    ),
    Deviation(
        "the network behind PMD noise sees images normalised by the statistics of CIFAR-100, in "
        "PLC's code by those of CIFAR-10",
        when={"dataset": "cifar100*", "scenario": "pmd-*"},
        unless={"posterior.recipe.mean": 0.4914},
    ),
)
"""Differences from PMD noise of PLC's public code."""
COMMON_DEVIATIONS: tuple[Deviation, ...] = (
    *_NAL_DEVIATIONS,
    *_CIFAR_NOISE_DEVIATIONS,
    *_PMD_DEVIATIONS,
)
