"""The sweep's feed as Ray Tune's kinds of searcher and stopper.

Tune pickles both for a restore that is never made: the feed is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ray.tune import Stopper
from ray.tune.search import Searcher

if TYPE_CHECKING:
    from orchestrator.engine.feed import Feed


class FeedSearcher(Searcher):
    """Passes on; Tune's own idea of metrics and of saving a searcher is not used."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._feed = feed

    def __getstate__(self) -> dict[str, Any]:
        """Leave the feed out."""
        return {**self.__dict__, "_feed": None}

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the next configuration; None to wait; Ray's own word for the end."""
        config = self._feed.suggest(trial_id)
        finished = cast("dict[str, Any]", Searcher.FINISHED)
        return finished if self._feed.over else config

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on a report."""
        self._feed.report(trial_id, result)

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Ray's signature
    ) -> None:
        """Pass on an end."""
        self._feed.complete(trial_id, result, lost=error)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the searches' database and the runs' records hold all there is."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""


class FeedStopper(Stopper):
    """Stops idle trials whose slot is wanted, and all of them on a fault."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __getstate__(self) -> dict[str, Any]:
        """Leave the feed out."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002 - Ray's
        """Tell whether a trial that has just reported is to be stopped."""
        return self._feed.stops(trial_id)

    def stop_all(self) -> bool:
        """Leave the end of all to the searcher."""
        return False
