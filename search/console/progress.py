"""What a person sees while a search runs: a live panel in a terminal, plain lines elsewhere."""

from collections.abc import Callable, Sequence
from typing import Self

import optuna
from optuna.trial import FrozenTrial, TrialState

from drill_models.resolve import Resolved
from drill_models.result import EpochRecord
from search.console.console import Screen
from search.console.eta import TimeLeft
from search.console.live_panel import Now, Panel, Running, duration
from search.console.tables import epoch_line, percent, small_data_box
from search.console.trial_tables import trial_name
from search.engine.events import Opened
from search.engine.finalists import Rerun
from search.engine.observers import NullObserver
from search.engine.smallest import Candidate
from search.schema import attributes as attrs
from search.storage.url import shown
from search.study.ranking import ranked
from search.study.trials import Tally, accuracy_of, name_of, tally
from search.text import counted, mean_of_last

GP_COSTS = (
    "--sampler gp: a proposal may take from some seconds to two minutes on a CPU, and no other begins meanwhile; "
    "tpe takes milliseconds"
)


class SearchDisplay(NullObserver):
    """Shows one sitting of a search.

    Everything in it is read from the study; it only remembers what it is told of running trials, and how long
    trials took.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        trials: int,
        epochs: int,
        target: float,
        follow: Callable[[optuna.Study], int] = lambda _: 0,
    ) -> None:
        """
        Args:
            screen: Where to; plain lines if it is not a terminal.
            trials: Total that the search stops at.
            epochs: Epochs of a trial.
            target: Accuracy (fraction) to judge by.
            follow: How many trainings would follow if a study's trials were over now.
        """
        self._screen = screen
        self._trials = trials
        self._epochs = epochs
        self._target = target
        self._follow = follow
        self._afterwards = 0
        self._again: int | None = None
        self._starts_wait = False
        self._opened: Opened | None = None
        self._counts = Tally()
        self._best: FrozenTrial | None = None
        self._running: dict[int, Running] = {}
        self._time = TimeLeft()
        self._name_width = 0
        self._panel = Panel(screen, trials=trials, target=target)

    def __enter__(self) -> Self:
        self._panel.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._panel.stop()

    def notice(self, line: str) -> None:
        """One line above the panel."""
        self._screen.progress(line)

    def data_found(self, resolved: Resolved) -> None:
        """Says in a box where the embedded digits stand in for MNIST."""
        if resolved.instead_of_mnist is not None:
            self._screen.box(small_data_box(resolved.instead_of_mnist), resolved.instead_of_mnist)

    def opened(self, opened: Opened) -> None:
        """Says what is searched, and what an earlier sitting left."""
        self._opened = opened
        trials = opened.study.get_trials(deepcopy=False)
        self._time = TimeLeft(trials)
        names = [name_of(trial) for trial in trials if attrs.OVER_BUDGET not in trial.user_attrs]
        digits = len(str(len(trials) + self._trials))
        self._name_width = digits + max((len(f" ({name})") for name in names if name), default=0)
        settings, seeded = opened.settings, opened.seeded
        self.notice(
            f"study {opened.study.study_name} in {shown(opened.url)}: {settings.dataset}, at most "
            f"{settings.budget}, {counted(self._epochs, 'epoch')}, on {opened.where}"
            + (f", {opened.workers} trials at a time" if opened.workers > 1 else "")
        )
        if opened.already or opened.requeued:
            again = f"; run again: trial {', '.join(map(str, opened.requeued))}" if opened.requeued else ""
            if opened.already < self._trials:
                self.notice(f"going on: {opened.already} of {self._trials} trials are there{again}")
            else:
                there = f"{counted(opened.already, 'trial')} {'is' if opened.already == 1 else 'are'} there"
                self.notice(f"{there}, and --trials {self._trials} asks for no more{again}")
        if seeded.queued:
            self.notice(f"hand steps first: {', '.join(seeded.queued)}")
        for alike in seeded.alike:
            self.notice(f"{' and '.join(alike)} are one recipe: both train, and what they differ by is the seed's")
        if seeded.over_budget:
            self.notice(f"over the budget, recorded and not trained: {', '.join(seeded.over_budget)}")
        if opened.started:
            when = "then" if seeded.queued else "first"
            self.notice(f"{when} starting points: {', '.join(opened.started)}")
        if opened.sampler == "gp" and opened.already < self._trials:
            self.notice(GP_COSTS)
        if opened.already < self._trials:
            self._say_whether_any_is_drawn(opened)
        self._read()
        self._refresh()

    def _say_whether_any_is_drawn(self, opened: Opened) -> None:
        """A search of a few trials may end with those that were there before it."""
        trials = [t for t in opened.study.get_trials(deepcopy=False) if attrs.OVER_BUDGET not in t.user_attrs]
        given = {name_of(trial) for trial in trials}
        if "" not in given and self._trials <= len(given):
            self.notice(
                f"so all {self._trials} trials go to hand steps and starting points: the search draws networks of "
                f"its own from --trials {len(given) + 1} on"
            )

    def finals(self, trials: Sequence[FrozenTrial], trainings: int) -> None:
        """Trials are now trained again, with other seeds: so many trainings of all of them together."""
        self._again = trainings
        self._read()
        which = f"trial {trial_name(trials[0])}" if len(trials) == 1 else f"the best {len(trials)}"
        names = f": {', '.join(map(trial_name, trials))}" if len(trials) > 1 else ""
        self.notice(f"{which} again, {counted(trainings, 'training')} with other seeds{names}")
        self._refresh()

    def proposed(self, seconds: float) -> None:
        """A proposal took so long."""
        self._time.proposed(seconds)

    def rerun(self, rerun: Rerun) -> None:
        """One of them has been."""
        first = percent(accuracy_of(rerun.trial))
        self._again = max(0, (self._again or 0) - 1)
        self._read()
        self.notice(f"trial {trial_name(rerun.trial)} again: {percent(rerun.value)} (at first {first})")
        self._refresh()

    def candidate(self, candidate: Candidate) -> None:
        """It is known whether a network holds the target with every seed."""
        n_params = candidate.trial.user_attrs[attrs.N_PARAMS]
        verdict = "holds" if candidate.holds else "does not hold"
        self.notice(
            f"trial {trial_name(candidate.trial)}, {n_params:,} parameters: {verdict} {percent(self._target)} "
            f"({', '.join(map(percent, candidate.values))})"
        )

    def started(self, trial: FrozenTrial, n_params: int, epochs: int) -> None:
        """A trial begins to train."""
        self._running[trial.number] = Running(trial, n_params, epochs)
        self._time.started(trial.number, epochs)
        self._refresh()

    def epoch(self, number: int, record: EpochRecord) -> None:
        """A running trial finished an epoch."""
        running = self._running[number]
        running.records.append(record)
        self._time.epoch(number, record.seconds)
        if self._screen.verbose:
            self.notice(f"trial {trial_name(running.trial)}  {epoch_line(record, running.epochs, 'val')}")
        self._refresh()

    def lost(self, trial: FrozenTrial | None, reason: str) -> None:
        """A worker died: one line that stays."""
        again = ""
        if trial is not None:
            del self._running[trial.number]
            self._time.lost(trial.number)
            again = f"; trial {trial_name(trial)} is queued again"
        self.notice(f"{reason}{again}")
        self._refresh()

    def ended(self, trial: FrozenTrial) -> None:
        """The trial ended: one line that stays."""
        n_params = trial.user_attrs.get(attrs.N_PARAMS, 0)
        head = f"trial {trial_name(trial):<{self._name_width}} {n_params:>7,} parameters  "
        running = self._running.pop(trial.number, None)
        self._time.ended(trial.number, complete=trial.state == TrialState.COMPLETE)
        self._read()
        records = running.records if running is not None else []
        epochs = len(records)
        match trial.state:
            case TrialState.COMPLETE:
                text = f"{percent(accuracy_of(trial))}, {mean_of_last(epochs)}"
                if self._best is not None and self._best.number == trial.number:
                    text += "  best so far"
            case TrialState.PRUNED:
                text = f"stopped at {percent(records[-1].val_accuracy if records else None)}"
                text += f" after {counted(epochs, 'epoch')}"
            case _:
                text = "failed"
        reason = trial.user_attrs.get(attrs.REASON)
        self.notice(head + text + (f": {reason}" if reason else "") + self._progress_words())
        self._refresh()

    def _progress_words(self) -> str:
        """Where there is no panel, each line carries what the panel would show."""
        if self._panel.there or self._opened is None:
            return ""
        return f"  [{self._counts.trained}/{self._trials}, {self._left()}]"

    def _read(self) -> None:
        """Reads the study: when a trial ended, because between epochs nothing of this changes."""
        assert self._opened is not None
        study = self._opened.study
        self._counts = tally(study)
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        self._starts_wait = any(attrs.START in trial.user_attrs for trial in waiting)
        self._best = next(iter(ranked(study)), None)
        self._afterwards = self._follow(study)

    def _left(self) -> str:
        missing = max(0, self._trials - self._counts.trained)
        trainings = max(self._afterwards, self._again or 0)
        places = max(1, self._counts.running, self._opened.workers if self._opened is not None else 1)
        if not missing and not trainings:
            return "nothing left to train"
        seconds = self._time.seconds(missing, trainings, places)
        if seconds is None:
            return "time left unknown"
        # Starting points mostly take longer than the hand steps before them.
        longer = self._starts_wait and missing > len(self._running)
        return f"{'at least' if longer else 'about'} {duration(seconds)} left"

    def _refresh(self) -> None:
        if self._opened is not None and self._panel.there:
            self._panel.show(
                Now(
                    counts=self._counts,
                    best=self._best,
                    running=list(self._running.values()),
                    again=self._again,
                    left=self._left(),
                )
            )
