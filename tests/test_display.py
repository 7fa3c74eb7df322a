"""What a person sees while a search runs, in a terminal and in a pipe."""

import io

from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy.engine import make_url

from drill_models.backend import Backend
from drill_models.data import ResidentData
from search import attrs
from search.baselines import Seeded
from search.config import SearchConfig
from search.display import SearchDisplay
from search.opened import Opened
from search.runner import Job
from search.screen import Screen
from search.study import settings_of
from spaces.skeletons import load_skeletons
from tests.jobs import BUDGET, record, run_here, small_job
from tests.spaces_for_tests import SPACE, random_points


def _opened(job: Job, *, workers: int = 1) -> Opened:
    """A study that was just opened."""
    config = SearchConfig(budget=BUDGET, skeletons=load_skeletons(), epochs=2)
    return Opened(
        study=job.study,
        url=make_url("sqlite:///x.db"),
        settings=settings_of(config, "mnist-5k"),
        space=SPACE,
        seeded=Seeded(queued=(), over_budget=()),
        started=(),
        requeued=[],
        already=0,
        backend=Backend(),
        where="cpu",
        workers=workers,
    )


def _shown(data: ResidentData, *, terminal: bool, stop_after: int | None = None) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=110, color_system=None)
    screen = Screen(out=console)
    job = small_job(trials=3, epochs=2)
    config = SearchConfig(budget=BUDGET, skeletons=load_skeletons(), epochs=2)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return stop_after is not None and asked > stop_after

    with SearchDisplay(screen, trials=3, epochs=2, target=0.994) as display:
        display.opened(
            Opened(
                study=job.study,
                url=make_url("postgresql://me:secret@host/x"),
                settings=settings_of(config, "mnist-5k"),
                space=SPACE,
                seeded=Seeded(queued=("e-codes 4",), over_budget=("a-runs 1",)),
                started=("separable-small",),
                requeued=[7],
                already=2,
                backend=Backend(),
                where="cpu",
                workers=1,
            )
        )
        run_here(job, data, display, stop)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_plain_lines_in_a_pipe(few_digits: ResidentData) -> None:
    text = _shown(few_digits, terminal=False)
    assert "\x1b" not in text
    lines = [line for line in text.splitlines() if line.startswith("trial ")]
    assert len(lines) == 3
    assert "best so far" in lines[0]
    assert "[3/3, about 0 s left]" in lines[2]
    assert "parameters" in lines[1]
    assert "hand steps first: e-codes 4" in text
    assert "then starting points: separable-small" in text
    assert "recorded and not trained: a-runs 1" in text
    assert "going on: 2 of 3 trials are there; run again: trial 7" in text


def test_a_search_that_draws_nothing_says_so() -> None:
    job = small_job(trials=3)
    for point in random_points(2):
        job.study.enqueue_trial(point)
    for trials, said in ((1, True), (2, True), (3, False)):
        console = Console(file=io.StringIO(), width=200, color_system=None)
        with SearchDisplay(Screen(out=console), trials=trials, epochs=1, target=0.994) as display:
            display.opened(_opened(job))
        assert isinstance(console.file, io.StringIO)
        assert ("draws networks of its own from --trials 3 on" in console.file.getvalue()) == said


def test_the_time_left_counts_what_runs_and_what_follows() -> None:
    job = small_job(trials=4, epochs=2)
    console = Console(file=io.StringIO(), width=200, color_system=None)
    with SearchDisplay(Screen(out=console), trials=4, epochs=2, target=0.994, afterwards=3) as display:
        display.opened(_opened(job))
        first, second = (job.study.ask(dict(SPACE.distributions)) for _ in range(2))
        for trial in (first, second):
            trial.set_user_attr(attrs.N_PARAMS, 1_000)
            display.started(job.study.trials[trial.number], 1_000, 2)
        slow = record(1, 0.9).model_copy(update={"seconds": 60})
        display.epoch(first.number, slow)
        display.epoch(second.number, slow.model_copy(update={"seconds": 20}))
        job.study.tell(second, state=TrialState.PRUNED)
        display.ended(job.study.trials[second.number])
    assert isinstance(console.file, io.StringIO)
    # One ended after 20 s, one runs and will take 120: 70 each for the three that are missing, of which 60 are
    # over; then three that run to their end.
    assert "about 8 min 30 s left" in console.file.getvalue()


def test_passwords_are_not_shown(few_digits: ResidentData) -> None:
    assert "secret" not in _shown(few_digits, terminal=False)


def test_the_panel_says_what_is_going_on(few_digits: ResidentData) -> None:
    text = _shown(few_digits, terminal=True)
    for part in ("complete, 0 stopped early", "1 running", "epoch 1/2", "below the target of 99.40%", "left"):
        assert part in text


def test_many_running_trials_have_a_line_each_up_to_eight(few_digits: ResidentData) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)
    screen = Screen(out=console)
    job = small_job(trials=12)
    with SearchDisplay(screen, trials=12, epochs=2, target=0.994) as display:
        display.opened(_opened(job, workers=10))
        for _ in range(10):
            trial = job.study.ask(dict(SPACE.distributions))
            display.started(job.study.trials[trial.number], 1_000, 2)
        display.lost(job.study.trials[3], "worker 4 was ended by SIGKILL")
        display.lost(None, "worker 5 was ended by SIGKILL")
    file = console.file
    assert isinstance(file, io.StringIO)
    text = file.getvalue()
    for part in (
        "on cpu, 10 trials at a time",
        "10 running",
        "trial 7: 1,000",
        "and 2 more",
        "9 running",
        "and 1 more",
    ):
        assert part in text
    assert "worker 4 was ended by SIGKILL; trial 3 is queued again" in text
    assert "worker 5 was ended by SIGKILL\n" in text.replace("\r", "")
