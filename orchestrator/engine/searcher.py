"""Searcher and stopper for Ray Tune, which delegate to a `TuneAdapter`, and a watcher of Ray.

Tune pickles the searcher and the stopper, but their saved state is never used. The state therefore
does not contain the adapter.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ray.exceptions import OutOfMemoryError, RayError
from ray.tune import Callback, Stopper
from ray.tune.search import Searcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from ray.tune.experiment import Trial

    from orchestrator.engine.nodes import Nodes
    from orchestrator.engine.tune_adapter import TuneAdapter

LOW_MEMORY_TEXT = "running low on memory"
"""Text in Ray's message about a worker that its memory monitor has killed."""


NODE_CHECK_SECONDS = 5.0
"""Time between two looks at the nodes, in seconds."""

MAX_SECONDS_WITHOUT_NODE = 30.0
"""Time without a live node after which Ray is taken for lost, in seconds."""


class RunSearcher(Searcher):
    """Ray Tune searcher that suggests the runs of a sweep, or of another task source, as trials."""

    def __init__(self, adapter: TuneAdapter) -> None:
        # Tune requires a metric, which is not used.
        super().__init__(metric="training_iteration", mode="max")
        self._adapter = adapter

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle, without the adapter."""
        return {**self.__dict__, "_adapter": None}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the configuration of the next trial.

        The result is None if no trial can start at present, and `Searcher.FINISHED` if no more
        trials will follow.
        """
        config = self._adapter.next_config(trial_id)
        finished = cast("dict[str, Any]", Searcher.FINISHED)
        return finished if self._adapter.finished else config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Forward the report of a trial to the adapter."""
        self._adapter.report(trial_id, result)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's signature
    ) -> None:
        """Forward the end of a trial to the adapter.

        Raises:
            RayError: if the worker of the trial was lost, and Ray cannot start another.
        """
        self._adapter.end_trial(trial_id, result, lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: Optuna's database and the records of the runs contain the whole state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, since `save` has saved nothing."""


class TrialStopper(Stopper):
    """Ray Tune stopper that ends idle trials when runs need their slots, and all after an error."""

    def __init__(self, adapter: TuneAdapter) -> None:
        self._adapter = adapter

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state to pickle, without the adapter."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 - Ray's
        """Return whether a trial that has just reported must stop."""
        return self._adapter.should_stop(trial_id)

    def stop_all(self) -> bool:
        """Return False, since the searcher, and not the stopper, ends the experiment."""
        return False


class RayWatcher(Callback):
    """Ray Tune callback that ends the experiment when Ray has killed a worker to free memory.

    Tune itself ends the experiment only if the worker was killed in a step of a trial. While a
    worker starts, Tune takes the kill for a lost worker.

    The callback also signals regularly that Tune works, and ends the experiment when no node is
    left, for which Tune would wait forever.

    Args:
        signal_life: function that is called after every step of Tune.
        nodes: nodes of the cluster, which are updated regularly.
    """

    def __init__(self, signal_life: Callable[[], None], nodes: Nodes) -> None:
        self._signal_life = signal_life
        self._nodes = nodes
        self._next_check = 0.0
        self._last_node_time = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state to pickle, without the function and the nodes."""
        return {}

    def on_step_end(
        self,
        iteration: int,  # noqa: ARG002 - Ray's signature
        trials: list[Trial],  # noqa: ARG002
        **_info: Any,  # noqa: ANN401
    ) -> None:
        """Signal life, and look from time to time which nodes are alive.

        Raises:
            RayError: if no node that may take runs has been alive for some time.
        """
        self._signal_life()
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + NODE_CHECK_SECONDS
        self._nodes.update()
        if self._nodes.has_live_node:
            self._last_node_time = now
        elif now - self._last_node_time > MAX_SECONDS_WITHOUT_NODE:
            raise RayError("no node of the cluster is alive")

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002 - Ray's signature
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **_info: Any,  # noqa: ANN401
    ) -> None:
        """Look for a lack of memory in the error of a trial whose worker was lost.

        Raises:
            OutOfMemoryError: if Ray has killed the worker of the trial to free memory.
        """
        # Tune stores errors of this kind as text only.
        text = "" if trial.error_file is None else Path(trial.error_file).read_text()
        if LOW_MEMORY_TEXT in text:
            raise OutOfMemoryError(text)  # type: ignore[no-untyped-call]
