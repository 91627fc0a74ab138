"""Response of a search: held-out accuracy against the searched hyperparameters.

A Gaussian process is fitted to the trials of the search. Its kernel is a Matérn kernel (ν = 5/2)
with a length scale for each hyperparameter, plus a constant variance of the noise; all of them
maximise the marginal likelihood. The standard deviation of the noise is at least the binomial
standard error of one run's held-out accuracy, and the response varies at least as much: a few
trials can seem to have less noise, or no response, by chance. Logarithmic ranges enter by their
logarithm, and each range is scaled to [0, 1], in which length scales are between 0.1 and 2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.figures.source import NAL, MissingDataError
from reports.trial_values import trial_values
from reports.words import GREEK_LETTERS, format_count, format_values
from trainables.run.metrics import VAL_MEAN_LAST
from trainables.run.parameters import Space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from reports.figures.lines import CsvRow
    from reports.figures.source import FigureSource
    from reports.plan_record import PlanRecord, TuningRecord
    from reports.read import RecordedRun

    Floats = NDArray[np.float64]

GRID_SIZES = {1: 101, 2: 41}
"""Number of grid points along each hyperparameter, by the number of hyperparameters."""

TRIALS_PER_DIMENSION = 3
"""Smallest number of trials for each searched hyperparameter from which a response is fitted."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A searched hyperparameter.

    Attributes:
        name: name of the hyperparameter.
        low: smallest value.
        high: largest value.
        log: whether the range is logarithmic.
    """

    name: str
    low: float
    high: float
    log: bool

    @property
    def letter(self) -> str:
        """Greek letter of the hyperparameter, or its name."""
        return GREEK_LETTERS.get(self.name, self.name)

    def to_unit(self, values: Sequence[float] | Floats) -> Floats:
        """Scale values of the range to [0, 1]."""
        scaled = np.log if self.log else np.asarray
        low, high = scaled(self.low), scaled(self.high)
        unit: Floats = (scaled(np.asarray(values, dtype=float)) - low) / (high - low)
        return unit

    def from_unit(self, units: Floats) -> Floats:
        """Return the values of the range that `to_unit` scales to the given ones."""
        if self.log:
            logarithms: Floats = np.exp(np.log(self.low) + units * np.log(self.high / self.low))
            return logarithms
        return self.low + units * (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Response:
    """Held-out accuracy against one or two searched hyperparameters.

    Attributes:
        method_title: title of the tuned method.
        axes: searched hyperparameters, one or two.
        trials: values of the trials in the order of the axes, shape (n, d).
        accuracies: objective of each trial, in percent.
        grid: values of the grid points in the order of the axes, shape (g, d); the first axis
            varies fastest.
        mean: posterior mean of the accuracy at each grid point, in percent.
        std: posterior standard deviation of the accuracy without noise, in points.
        margin: at each grid point, the posterior standard deviation of its difference from the
            grid point of the highest mean, minus the difference of the two means, in points. A
            point with a margin of at least 0 is tied with the best.
        noise: standard deviation of the noise of one trial, in points.
        chosen: values that the select phase chose; None before it has ended.
        reference: published values; None if nothing is published.
        caption: what the figure shows.
    """

    method_title: str
    axes: tuple[Axis, ...]
    trials: tuple[tuple[float, ...], ...]
    accuracies: tuple[float, ...]
    grid: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    margin: tuple[float, ...]
    noise: float
    chosen: tuple[float, ...] | None
    reference: tuple[float, ...] | None
    caption: str

    @property
    def tied(self) -> tuple[bool, ...]:
        """Whether each grid point is tied with the grid point of the highest mean."""
        return tuple(margin >= 0 for margin in self.margin)

    @property
    def best(self) -> int:
        """Position of the trial with the highest accuracy."""
        return int(np.argmax(self.accuracies))

    def rows(self) -> Iterator[CsvRow]:
        """Yield the lines of the CSV file: trials, marked points, then the grid."""
        for number, (values, accuracy) in enumerate(zip(self.trials, self.accuracies, strict=True)):
            kind = "best trial" if number == self.best else "trial"
            yield self._row(kind, values, accuracy)
        for kind, point in (("chosen", self.chosen), ("reference", self.reference)):
            if point is not None:
                yield self._row(kind, point)
        for point, mean, std, tied in zip(self.grid, self.mean, self.std, self.tied, strict=True):
            yield self._row("grid", point) | {"mean": mean, "std": std, "tied": int(tied)}

    def _row(self, kind: str, values: Sequence[float], accuracy: float | str = "") -> CsvRow:
        names = [axis.name for axis in self.axes]
        return {
            "kind": kind,
            **dict(zip(names, values, strict=True)),
            "accuracy": accuracy,
            "mean": "",
            "std": "",
            "tied": "",
        }


@dataclass(frozen=True, slots=True)
class Fit:
    """Posterior of a Gaussian process on a grid.

    Attributes:
        mean: posterior mean at each grid point.
        std: posterior standard deviation of the function without noise.
        margin: margin by which a point is tied with the point of the highest mean; see
            `Response.margin`.
        noise: standard deviation of the noise of one observation.
    """

    mean: Floats
    std: Floats
    margin: Floats
    noise: float


def collect_response(source: FigureSource) -> Response:
    """Fit the response of NAL to the recorded trials of its search.

    The axes are the numeric hyperparameters that every trial has. A diverged trial counts as chance
    accuracy, as in the search.

    Raises:
        MissingDataError: if there is no search, or it has too few trials or other than one or two
            axes.
    """
    search = _find_search(source)
    axes = _axes(search)
    if len(axes) not in GRID_SIZES:
        numbers = "" if len(axes) == len(search.space) else " that are numbers in every trial"
        raise MissingDataError(
            f"the search of NAL has {format_count(len(axes), 'hyperparameter')}{numbers}: the "
            "response can be drawn for one or two"
        )
    trials, accuracies = _read_trials(source, search, axes)
    least = TRIALS_PER_DIMENSION * len(axes)
    if len(trials) < least:
        raise MissingDataError(
            f"the response of NAL needs at least {least} trials of its search, of which "
            f"{len(trials)} are recorded: sweep with more trials"
        )
    units = np.stack([axis.to_unit(column) for axis, column in _columns(axes, trials)], axis=1)
    ticks = np.linspace(0, 1, GRID_SIZES[len(axes)])
    mesh = np.meshgrid(*[ticks] * len(axes))
    grid_units = np.stack([part.ravel() for part in mesh], axis=1)
    fit = fit_response(
        units, np.array(accuracies), grid_units, min_noise=100 * source.plan.standard_error
    )
    grid = np.stack([axis.from_unit(grid_units[:, n]) for n, axis in enumerate(axes)], axis=1)
    reference = search.reference.values if search.reference else None
    return Response(
        method_title=search.method_title,
        axes=axes,
        trials=tuple(trials),
        accuracies=tuple(accuracies),
        grid=tuple(map(tuple, grid.tolist())),
        mean=tuple(fit.mean.tolist()),
        std=tuple(fit.std.tolist()),
        margin=tuple(fit.margin.tolist()),
        noise=fit.noise,
        chosen=_point(search.chosen, axes),
        reference=_point(reference, axes),
        caption=_caption(source, search, axes, len(trials), fit),
    )


def fit_response(points: Floats, values: Floats, grid: Floats, min_noise: float) -> Fit:
    """Fit a Gaussian process with noise to observations, and evaluate its posterior on a grid.

    Args:
        points: positions of the observations in [0, 1], shape (n, d).
        values: observed values, shape (n,).
        grid: positions at which the posterior is evaluated, shape (g, d).
        min_noise: least standard deviation of the noise of one observation.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    centre, scale = values.mean(), values.std() or 1.0
    scaled_values = (values - centre) / scale
    least_noise = max((min_noise / scale) ** 2, 1e-4)
    least_signal = max(least_noise, 0.05)
    amplitude = ConstantKernel(max(1.0, least_signal), (least_signal, 20 * max(1.0, least_signal)))
    signal = amplitude * Matern(np.full(points.shape[1], 0.5), (0.1, 2.0), nu=2.5)
    kernel = signal + WhiteKernel(2 * least_noise, (least_noise, 10 * max(least_noise, 0.1)))
    with warnings.catch_warnings():
        # With few trials, a length scale often lies at the end of its range.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessRegressor(
            kernel, alpha=1e-10, n_restarts_optimizer=4, random_state=0
        )
        model.fit(points, scaled_values)
    noise_variance = float(model.kernel_.k2.noise_level)
    # A second model with the noise as `alpha`: its posterior is that of the function without noise.
    latent = GaussianProcessRegressor(model.kernel_.k1, alpha=noise_variance, optimizer=None)
    latent.fit(points, scaled_values)
    mean, covariance = latent.predict(grid, return_cov=True)
    variance = np.diag(covariance).clip(0)
    best = int(np.argmax(mean))
    difference_variance = (variance + variance[best] - 2 * covariance[best]).clip(0)
    # Rounding leaves a tiny variance in place of 0 at the best point itself.
    margin = np.sqrt(difference_variance) - (mean[best] - mean) + 1e-9
    return Fit(
        mean=centre + scale * mean,
        std=scale * np.sqrt(variance),
        margin=scale * margin,
        noise=float(scale * np.sqrt(noise_variance)),
    )


def _find_search(source: FigureSource) -> TuningRecord:
    """Return NAL's search that serves the scenario of the figure.

    Raises:
        MissingDataError: if there is none.
    """
    scenario = source.single_scenario
    searches = [
        search
        for search in source.plan.searches
        if search.method == NAL and scenario in search.serves
    ]
    if not searches:
        raise MissingDataError(
            f"study '{source.plan.study}' searches no values of NAL on {scenario}: sweep a study "
            "with `tune: [nal]`"
        )
    (search, *_) = searches
    return search


def _axes(search: TuningRecord) -> tuple[Axis, ...]:
    """Return the numeric hyperparameters that every trial has, λ before α, as in the paper."""
    names = [name for name in GREEK_LETTERS if name in search.space]
    spaces = {name: search.space[name] for name in dict.fromkeys([*names, *search.space])}
    return tuple(
        Axis(name, float(space.low), float(space.high), space.log)
        for name, space in spaces.items()
        if isinstance(space, Space) and space.when is None
    )


def _read_trials(
    source: FigureSource, search: TuningRecord, axes: Sequence[Axis]
) -> tuple[list[tuple[float, ...]], list[float]]:
    """Return the values and the objective in percent of each recorded trial of a search."""
    trials, accuracies = [], []
    for digests in search.runs_by_trial:
        runs = [source.runs[digest] for digest in digests if digest in source.runs]
        objectives = [trial_objective(run, source.plan) for run in runs]
        recorded = [objective for objective in objectives if objective is not None]
        if len(recorded) < len(digests):
            continue
        point = _point(trial_values(runs[0], search.space), axes)
        if point is not None:
            trials.append(point)
            accuracies.append(fmean(recorded))
    return trials, accuracies


def trial_objective(run: RecordedRun, plan: PlanRecord) -> float | None:
    """Return the number that a search maximises, in percent; None if the run has not recorded it.

    A diverged trial counts as chance accuracy.

    Args:
        run: run of a trial.
        plan: plan of the sweep.
    """
    accuracy = run.metrics.get(VAL_MEAN_LAST)
    if run.status == "diverged":
        accuracy = 1 / plan.dataset.classes
    return None if accuracy is None else 100 * accuracy


def _columns(
    axes: Sequence[Axis], trials: Sequence[tuple[float, ...]]
) -> Iterator[tuple[Axis, list[float]]]:
    """Yield each axis with the values of all trials."""
    for number, axis in enumerate(axes):
        yield axis, [trial[number] for trial in trials]


def _point(values: Mapping[str, Any] | None, axes: Sequence[Axis]) -> tuple[float, ...] | None:
    """Return values in the order of the axes; None if there are none for every axis."""
    if values is None or any(axis.name not in values for axis in axes):
        return None
    return tuple(float(values[axis.name]) for axis in axes)


def _caption(
    source: FigureSource, search: TuningRecord, axes: Sequence[Axis], count: int, fit: Fit
) -> str:
    """Return the caption of a response."""
    titles = [source.scenario_title(name) for name in search.serves if name in source.all_scenarios]
    chosen = f" Chosen: {format_values(search.chosen)}." if search.chosen else ""
    reference = f" Reference: {format_values(search.reference.values)}." if search.reference else ""
    axis_names = [axis.name for axis in axes]
    others = [GREEK_LETTERS.get(name, name) for name in search.space if name not in axis_names]
    left_out = f" Searched too, and not shown: {', '.join(others)}." if others else ""
    tied_share = f"{100 * (fit.margin >= 0).mean():.0f} % of the searched range"
    return (
        f"Response of {search.method_title} on {source.plan.dataset.title}, "
        f"{', '.join(dict.fromkeys(titles))}: {source.plan.protocol}, Gaussian process on the "
        f"{format_count(count, 'trial')} of the search; noise of one trial {fit.noise:.1f} points. "
        "Tied: the mean differs from the highest one by at most one posterior standard deviation "
        f"of the difference; {tied_share}.{left_out}{chosen}{reference}"
    )
