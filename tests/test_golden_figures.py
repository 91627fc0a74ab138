"""Numbers of the golden figures, computed again by other libraries.

The files `figure-*.csv` are compared with what scikit-learn, pandas and the standard library make
of the raw records: values of single samples in `diagnostics.npz`, and rows of MLflow's tables.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from golden import regenerate
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score

if TYPE_CHECKING:
    from collections.abc import Sequence

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]
"""The arrays of one run's `diagnostics.npz`."""


def read_figure(study: str, key: str) -> pd.DataFrame:
    return pd.read_csv(regenerate.ROOT / study / f"figure-{key}.csv")


def read_samples(study: str, method: str) -> list[Arrays]:
    """Return the values of single samples in each run of the cell that figures show."""
    folder = regenerate.ROOT / study
    plan = json.loads((folder / "plan.json").read_text())
    (cell,) = (
        cell
        for cell in plan["cells"]
        if cell["method"] == method and cell["origin"] in {"tuned", "fixed"}
    )
    return [
        dict(np.load(folder / regenerate.DIAGNOSTICS / f"{digest}.npz"))
        for digest in cell["digests"]
    ]


def is_wrong(run: Arrays) -> list[bool]:
    return [given != true for given, true in zip(run["given"], run["true"], strict=True)]


def attention_weights(run: Arrays) -> list[float]:
    """Return the attention weight τ of each sample in the last epoch."""
    return [1 / (1 + math.exp(-logit)) for logit in run["last_attention"].tolist()]


def find_line(figure: pd.DataFrame, panel: str, line: str) -> pd.DataFrame:
    return figure[(figure["panel"] == panel) & (figure["line"] == line)]


def assert_line(lines: pd.DataFrame, values: Sequence[Sequence[float]]) -> None:
    """Compare a line with its values, one sequence over the epochs for each seed."""
    by_epoch = list(zip(*values, strict=True))
    assert lines["mean"].tolist() == pytest.approx([fmean(each) for each in by_epoch])
    if len(values) > 1:
        assert lines["std"].tolist() == pytest.approx([stdev(each) for each in by_epoch])
    assert set(lines["n"]) == {len(values)}


@pytest.mark.parametrize(("method", "title"), [("ce", "Cross Entropy"), ("nal", "NAL")])
def test_shares_of_predicted_labels(method: str, title: str) -> None:
    figure = read_figure("digits", "1")
    lines: defaultdict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for run in read_samples("digits", method):
        clean_samples = np.flatnonzero(run["given"] == run["true"])
        wrong_samples = np.flatnonzero(run["given"] != run["true"])
        shares: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        for predicted in run["predicted"]:
            clean, correct, memorised = (
                100 * accuracy_score(labels[samples], predicted[samples])
                for labels, samples in (
                    (run["true"], clean_samples),
                    (run["true"], wrong_samples),
                    (run["given"], wrong_samples),
                )
            )
            shares["clean samples", "true class"].append(clean)
            shares["clean samples", "another class"].append(100 - clean)
            shares["mislabelled samples", "true class"].append(correct)
            shares["mislabelled samples", "memorised"].append(memorised)
            shares["mislabelled samples", "another class"].append(100 - correct - memorised)
        for name, values in shares.items():
            lines[name].append(values)
    assert len(lines) == 5
    for (panel, line), seeds in lines.items():
        assert_line(find_line(figure, f"{title}, {panel}", line), seeds)


def test_histogram_and_auroc_of_attention_weights() -> None:
    figure = read_figure("digits", "2")
    runs = read_samples("digits", "nal")
    aurocs = [
        roc_auc_score(is_wrong(run), [-logit for logit in run["last_attention"].tolist()])
        for run in runs
    ]
    assert figure["auroc_mean"].to_numpy() == pytest.approx(fmean(aurocs))
    assert figure["auroc_std"].to_numpy() == pytest.approx(stdev(aurocs))
    assert set(figure["axis"]) == {"log10(1 − τ)"}
    for group, bins in figure.groupby("samples"):
        assert bins["bin_low"].tolist() == pytest.approx([-8 + 0.2 * i for i in range(40)])
        seeds = []
        for run in runs:
            # log10(1 - τ) = -ln(1 + exp(logit)) / ln(10), where 1 - τ itself would be rounded to 0.
            positions = [
                -math.log1p(math.exp(logit)) / math.log(10)
                for logit, wrong in zip(run["last_attention"].tolist(), is_wrong(run), strict=True)
                if wrong == (group == "mislabelled")
            ]
            counts = Counter(min(max(math.floor((x + 8) / 0.2), 0), 39) for x in positions)
            seeds.append([100 * counts[i] / len(run["given"]) for i in range(40)])
        shares = [fmean(each) for each in zip(*seeds, strict=True)]
        assert bins["share_percent"].tolist() == pytest.approx(shares)


@pytest.mark.parametrize(("method", "title"), [("ce", "Cross Entropy"), ("nal", "NAL")])
def test_parts_of_the_gradient(method: str, title: str) -> None:
    figure = read_figure("digits", "3")
    clean_parts, wrong_parts, shares = [], [], []
    for run in read_samples("digits", method):
        rate = fmean(is_wrong(run))
        clean = [(1 - rate) * mean for mean in run["series/gradient/clean"].tolist()]
        wrong = [rate * mean for mean in run["series/gradient/mislabelled"].tolist()]
        clean_parts.append(clean)
        wrong_parts.append(wrong)
        shares.append([100 * b / (a + b) for a, b in zip(clean, wrong, strict=True)])
    assert_line(find_line(figure, title, "clean samples"), clean_parts)
    assert_line(find_line(figure, title, "mislabelled samples"), wrong_parts)
    assert_line(find_line(figure, "mislabelled samples", title), shares)


def test_the_gradient_of_cross_entropy_follows_from_its_loss() -> None:
    """With respect to the logits it is p - y, whose L1 norm is 2 (1 - p_y) = 2 (1 - exp(-loss))."""
    figure = read_figure("digits", "3")
    runs = read_samples("digits", "ce")
    for group in ("clean", "mislabelled"):
        parts = [
            sum(
                2 * (1 - math.exp(-loss))
                for loss, wrong in zip(run["loss"].tolist(), is_wrong(run), strict=True)
                if wrong == (group == "mislabelled")
            )
            / len(run["loss"])
            for run in runs
        ]
        line = find_line(figure, "Cross Entropy", f"{group} samples")
        # The recorded losses and gradients have single precision.
        assert line["mean"].tolist()[-1] == pytest.approx(fmean(parts), rel=1e-5)
        assert line["std"].tolist()[-1] == pytest.approx(stdev(parts), rel=1e-3)


@pytest.mark.parametrize("study", ["digits", "response"])
def test_matrices_of_attention_and_corrected_labels(study: str) -> None:
    figure = read_figure(study, "4")
    runs = read_samples(study, "nal")
    samples = pd.concat(
        pd.DataFrame(
            {
                "true": run["true"],
                "given": run["given"],
                "target": run["target"],
                "tau": attention_weights(run),
            }
        )
        for run in runs
    )
    for panel, column in (("noisy labels", "given"), ("corrected labels", "target")):
        expected = confusion_matrix(samples["true"], samples[column], normalize="true")
        assert matrix(figure, panel) == pytest.approx(expected)
    expected = samples.pivot_table("tau", "true", "given", aggfunc="mean").to_numpy()
    assert matrix(figure, "mean attention weight τ") == pytest.approx(
        expected, rel=1e-6, nan_ok=True
    )
    line = figure[figure["panel"] == "accuracy of corrected labels"]
    last = [100 * accuracy_score(run["true"], run["target"]) for run in runs]
    assert_line(line[line["epoch"] == line["epoch"].max()], [[each] for each in last])


def matrix(figure: pd.DataFrame, panel: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    entries = figure[figure["panel"] == panel]
    return entries.pivot_table("value", "true_class", "class", dropna=False).to_numpy()


@pytest.fixture(scope="module")
def accuracies(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Test accuracy in the last epoch, in percent, and parameters of the runs of `methods`."""
    folder = tmp_path_factory.mktemp("methods")
    regenerate.load_records(folder, "methods")
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        params = pd.read_sql_query("SELECT * FROM params", database)
        metrics = pd.read_sql_query("SELECT * FROM latest_metrics", database)
    settings = params.pivot_table(values="value", index="run_uuid", columns="key", aggfunc="first")
    accuracy = metrics[metrics["key"] == "test/accuracy_last"].set_index("run_uuid")["value"]
    return settings.assign(accuracy=100 * accuracy)


def test_average_ranks(accuracies: pd.DataFrame) -> None:
    fixed = accuracies[accuracies["method"] != "nal"]  # NAL's values are varied
    means = fixed.pivot_table("accuracy", "method", "scenario", aggfunc="mean")
    ranks = means.rank(ascending=False)
    assert (means["symmetric-0.6"] == 90).sum() == 2  # GCE and SCE tie
    average = ranks.mean(axis=1)
    figure = read_figure("methods", "ranks").set_index("method")
    assert figure["average rank"].to_dict() == pytest.approx(
        {"Cross Entropy": average["ce"], "GCE": average["gce"], "SCE": average["sce"]}
    )
    # Demšar (2006), Table 5: q = 2.343 for three methods.
    assert figure["critical difference"].to_numpy() == pytest.approx(
        2.343 * math.sqrt(3 * 4 / (6 * 3)), abs=1e-3
    )


def test_sensitivity(accuracies: pd.DataFrame) -> None:
    of_scenario = accuracies[accuracies["scenario"] == "symmetric-0.4"]
    nal = of_scenario[of_scenario["method"] == "nal"].astype({"lambda": float, "alpha": float})
    figure = read_figure("methods", "sensitivity").set_index("hyperparameter")
    for name, other, centre in (("lambda", "alpha", 0.9), ("alpha", "lambda", 0.5)):
        values = nal[nal[other] == centre].groupby(name)["accuracy"]
        for column, expected in (("mean", values.mean()), ("std", values.std())):
            measured = figure.loc[name].set_index("value")[column]
            assert measured.to_dict() == pytest.approx(expected.to_dict())
    cross_entropy = of_scenario[of_scenario["method"] == "ce"]["accuracy"]
    (baseline,) = figure[figure["method"] == "Cross Entropy"].itertuples()
    assert (baseline.mean, baseline.std) == pytest.approx(
        (cross_entropy.mean(), cross_entropy.std())
    )
