"""How long a search still takes, from what its trials took."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from optuna.trial import FrozenTrial, TrialState

from search.study.trials import figures

LATEST = 5
"""So many proposals say how long the next ones take."""


@dataclass
class _Running:
    """A trial that trains: the seconds of each epoch so far, and how many it may have."""

    epochs: int
    seconds: list[float] = field(default_factory=list)

    @property
    def projected(self) -> float:
        """Seconds that it takes if it comes to its end."""
        return fmean(self.seconds) * self.epochs


class TimeLeft:
    """Is told of trials, and says how long the rest takes.

    What a network costs is not foreseen from its size: multiply-adds say little of the seconds of an epoch.

    Args:
        earlier: Trials of earlier sittings, on another machine perhaps. They stand in until one of this sitting
            has run for an epoch, and for a whole training until one runs or has come to its end.
    """

    def __init__(self, earlier: Iterable[FrozenTrial] = ()) -> None:
        self._running: dict[int, _Running] = {}
        self._spent: list[float] = []
        self._proposals: deque[float] = deque(maxlen=LATEST)
        self._whole: list[float] = []
        self._earlier: list[float] = []
        self._earlier_whole: list[float] = []
        for trial in earlier:
            seconds = sum(figures(trial, "seconds"))
            if seconds and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                self._earlier.append(seconds)
                if trial.state == TrialState.COMPLETE:
                    self._earlier_whole.append(seconds)

    def started(self, number: int, epochs: int) -> None:
        """A trial begins to train, for so many epochs at most."""
        self._running[number] = _Running(epochs)

    def epoch(self, number: int, seconds: float) -> None:
        """A running trial finished an epoch."""
        self._running[number].seconds.append(seconds)

    def proposed(self, seconds: float) -> None:
        """A proposal took so long. Later ones take longer, where a sampler models what it is shown."""
        self._proposals.append(seconds)

    def lost(self, number: int) -> None:
        """A running trial was given back."""
        self._running.pop(number, None)

    def ended(self, number: int, *, complete: bool) -> None:
        """A trial ended, after its last epoch or earlier; or it never ran."""
        running = self._running.pop(number, None)
        if running is None or not running.seconds:
            return
        self._spent.append(sum(running.seconds))
        if complete:
            self._whole.append(sum(running.seconds))

    def seconds(self, missing: int, trainings: int, places: int) -> float | None:
        """Seconds until all is trained, or None where nothing has run yet that would tell.

        Args:
            missing: Trials that are still to end; those that run are among them.
            trainings: Whole trainings after those.
            places: Trials that train at a time.
        """
        running = [one for one in self._running.values() if one.seconds]
        projected = [one.projected for one in running]
        # What ends first was stopped, or is small; so what runs counts with what it takes to its end.
        known = self._spent + projected or self._earlier
        if not known:
            return None
        trials = sum(projected) - sum(sum(one.seconds) for one in running)
        trials += fmean(known) * max(0, missing - len(running))
        whole = self._whole or projected or self._earlier_whole or known
        # The main process proposes one after the other, while places wait.
        proposals = fmean(self._proposals or [0.0]) * max(0, missing - len(self._running))
        return proposals + trials / max(1, min(places, missing)) + math.ceil(trainings / places) * fmean(whole)
