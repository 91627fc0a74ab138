"""Ray Tune searcher and stopper that delegate to a `TuneAdapter`.

Tune pickles both for a restore that never happens, so the adapter is excluded from their state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ray.tune import Stopper
from ray.tune.search import Searcher

if TYPE_CHECKING:
    from orchestrator.engine.tune_adapter import TuneAdapter


class RunSearcher(Searcher):
    """Searcher whose suggestions are a work's runs; Tune's metric and saved state are not used."""

    def __init__(self, adapter: TuneAdapter) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._adapter = adapter

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the adapter."""
        return {**self.__dict__, "_adapter": None}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next configuration, None to wait, or `Searcher.FINISHED` at the end."""
        config = self._adapter.next_config(trial_id)
        finished = cast("dict[str, Any]", Searcher.FINISHED)
        return finished if self._adapter.finished else config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Forward a report to the adapter."""
        self._adapter.report(trial_id, result)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's signature
    ) -> None:
        """Forward the end of a trial to the adapter."""
        self._adapter.end_trial(trial_id, result, lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the searches' database and the runs' records hold the whole state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class TrialStopper(Stopper):
    """Stopper of idle trials whose slot is required, and of all trials after an error."""

    def __init__(self, adapter: TuneAdapter) -> None:
        self._adapter = adapter

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state, without the adapter."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 - Ray's
        """Return whether a trial that has just reported must stop."""
        return self._adapter.should_stop(trial_id)

    def stop_all(self) -> bool:
        """Return False: the searcher ends the experiment."""
        return False
