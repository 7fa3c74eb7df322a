"""What a person sees while a search runs, in a terminal and in a pipe."""

import io

from rich.console import Console
from sqlalchemy.engine import make_url

from drill_models.backend import Backend
from drill_models.data import ResidentData
from search.baselines import Seeded
from search.config import SearchConfig
from search.display import SearchDisplay
from search.opened import Opened
from search.screen import Screen
from search.study import settings_of
from spaces.skeletons import load_skeletons
from tests.jobs import BUDGET, run_here, small_job
from tests.spaces_for_tests import SPACE


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
    config = SearchConfig(budget=BUDGET, skeletons=load_skeletons(), epochs=2)
    with SearchDisplay(screen, trials=12, epochs=2, target=0.994) as display:
        display.opened(
            Opened(
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
                workers=10,
            )
        )
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
