"""The lines at the foot of a terminal while a search runs: how far it is, the best, and what trains."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from drill_models.result import EpochRecord
from search.console.console import Screen
from search.console.tables import percent
from search.console.trial_tables import trial_name
from search.schema import attributes as attrs
from search.study.trials import Tally, accuracy_of
from search.text import counted

MAX_LINES = 8
"""Running trials that the panel shows a line each for; of the others it says how many they are."""


@dataclass
class Running:
    """A trial that trains, as far as it has come."""

    trial: FrozenTrial
    n_params: int
    epochs: int
    records: list[EpochRecord] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Now:
    """What there is to show.

    Attributes:
        counts: Trials by how they ended.
        best: The best trial, if one is complete.
        running: What trains.
        again: Trainings of finalists to go; None before it is their turn.
        left: The time left, in words.
    """

    counts: Tally
    best: FrozenTrial | None
    running: Sequence[Running]
    again: int | None
    left: str


class Panel:
    """Redrawn in place; nothing where the screen is no terminal, or is to be quiet.

    Args:
        screen: Where to.
        trials: Total that the search stops at.
        target: Accuracy (fraction) to judge by.

    Attributes:
        there: Whether anybody sees it.
    """

    def __init__(self, screen: Screen, *, trials: int, target: float) -> None:
        console = screen.lines
        self.there = console.is_terminal and not screen.quiet
        self._trials = trials
        self._target = target
        self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("trials "), MofNCompleteColumn(), BarColumn(), console=console, auto_refresh=False
        )
        self._task = self._bar.add_task("", total=trials)
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def start(self) -> None:
        """Takes the foot of the terminal."""
        if self.there:
            self._live.start()

    def stop(self) -> None:
        """Leaves nothing behind."""
        if self.there:
            self._live.stop()

    def show(self, now: Now) -> None:
        """Draws it anew."""
        if not self.there:
            return
        counts = now.counts
        self._bar.update(self._task, completed=min(counts.trained, self._trials))
        state = Text(
            f"        {counts.complete} complete, {counts.pruned} stopped early, {len(now.running)} running; "
            f"{duration(time.monotonic() - self._began)} so far, {now.left}"
        )
        self._live.update(
            Group(self._bar, state, self._best_line(now.best), *self._running_lines(now)), refresh=True
        )

    def _best_line(self, best: FrozenTrial | None) -> Text:
        if best is None:
            return Text("best    none complete yet")
        verdict = "at" if accuracy_of(best) >= self._target else "below"
        return Text(
            f"best    trial {trial_name(best)}: {percent(accuracy_of(best))} with "
            f"{best.user_attrs[attrs.N_PARAMS]:,} parameters, {verdict} the target of {percent(self._target)}"
        )

    def _running_lines(self, now: Now) -> list[Text]:
        if now.again is not None:
            return [Text(f"now     again with other seeds: {counted(now.again, 'training')} to go")]
        if not now.running:
            over = now.counts.trained >= self._trials
            return [] if over else [Text("now     choosing the next trial")]
        shown = now.running[:MAX_LINES]
        lines = [
            Text(
                f"{'' if i else 'now':<7} trial {trial_name(one.trial)}: {one.n_params:,} parameters, epoch "
                f"{len(one.records)}/{one.epochs}  "
                + " ".join(f"{record.val_accuracy:.2%}" for record in one.records[-3:]),
                no_wrap=True,
                overflow="ellipsis",
            )
            for i, one in enumerate(shown)
        ]
        more = len(now.running) - len(shown)
        return [*lines, Text(f"{'':<7} and {more} more")] if more else lines


def duration(seconds: float) -> str:
    """Such as "1 h 5 min", "2 min 30 s" or "12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
