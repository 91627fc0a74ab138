"""Views of an experiment in MLflow's web pages: filter, order, columns and groups of its runs.

MLflow keeps the state of its page for runs in the browser. A state that someone shares is kept in a
tag of the experiment instead, and an address names it. The views here are such tags, so that a
fresh browser shows them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from trainables.run.metrics import CELL_MEAN, CELL_STD, TEST_LAST, VAL_MEAN_LAST

VIEW_TAG_PREFIX = "mlflow.sharedViewState."
"""Start of the names of the experiment tags in which MLflow keeps shared states of its pages."""

SEEDS = "tags.`nal.phase` = 'confirm' and tags.`nal.cell` != ''"
"""Condition on the runs of tables: confirm also has stages of methods, which belong to no cell."""

SETTING_COLUMNS = ("metrics.hp/lambda", "metrics.hp/alpha", "metrics.hp/learning_rate")
"""Columns of searched values, as "kind.name"."""


@dataclass(frozen=True, slots=True)
class View:
    """A view of the runs of an experiment.

    Attributes:
        name: name of the view in addresses.
        title: what the view shows.
        filter: condition on the runs, in MLflow's search syntax.
        order: metric by which the runs are sorted, in descending order.
        columns: columns of the table as "kind.name", such as "params.method".
        group_tag: tag by whose values the runs are grouped; "" for no groups.
        shows_charts: whether charts are shown instead of a table.
    """

    name: str
    title: str
    filter: str
    order: str
    columns: tuple[str, ...]
    group_tag: str = ""
    shows_charts: bool = False

    @property
    def tag(self) -> str:
        """Name of the experiment tag that holds the view."""
        return f"{VIEW_TAG_PREFIX}{self.name}"

    def to_json(self) -> str:
        """Return the state of MLflow's page, the value of the tag."""
        keys = [{"mode": "tag", "groupByData": self.group_tag}]
        return json.dumps(
            {
                "searchFilter": self.filter,
                "orderByKey": f"metrics.`{self.order}`",
                "orderByAsc": False,
                "selectedColumns": [_column_id(column) for column in self.columns],
                "groupBy": {"aggregateFunction": "average", "groupByKeys": keys}
                if self.group_tag
                else None,
                "runsHiddenMode": "FIRST_20_RUNS",
            },
            sort_keys=True,
        )

    def address(self, server: str, experiment_id: str) -> str:
        """Return the address of the view.

        Args:
            server: address of MLflow's server, such as "http://127.0.0.1:5000".
            experiment_id: ID of the MLflow experiment.
        """
        mode = "&compareRunsMode=CHART" if self.shows_charts else ""
        return f"{server}/#/experiments/{experiment_id}/runs?viewStateShareKey={self.name}{mode}"


VIEWS = (
    View(
        name="cells",
        title="cells side by side",
        filter="tags.`nal.kind` = 'cell'",
        order=CELL_MEAN,
        columns=(
            f"metrics.{CELL_MEAN}",
            f"metrics.{CELL_STD}",
            "metrics.n",
            "params.method",
            "params.scenario",
            *SETTING_COLUMNS,
        ),
    ),
    View(
        name="trials",
        title="trials by objective",
        filter="tags.`nal.phase` = 'search'",
        order=VAL_MEAN_LAST,
        columns=(f"metrics.{VAL_MEAN_LAST}", "params.method", *SETTING_COLUMNS, "tags.nal.status"),
    ),
    View(
        name="seeds",
        title="seeds, grouped by cell",
        filter=SEEDS,
        order=TEST_LAST,
        columns=(f"metrics.{TEST_LAST}", "metrics.seed", "params.method", *SETTING_COLUMNS),
        group_tag="nal.cell",
    ),
    View(
        name="curves",
        title="curves of the seeds",
        filter=SEEDS,
        order=TEST_LAST,
        columns=(f"metrics.{TEST_LAST}", "metrics.seed"),
        shows_charts=True,
    ),
)
"""The views of every experiment."""


def _column_id(column: str) -> str:
    """Return MLflow's ID of a column that is written as "kind.name"."""
    kind, _, name = column.partition(".")
    return f"{kind}.`{name}`"
