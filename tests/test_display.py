"""What a person sees while a search runs, in a terminal and in a pipe."""

import io
from dataclasses import replace

from optuna.trial import TrialState
from rich.console import Console
from sqlalchemy.engine import make_url

from drill_models.backend import Backend
from drill_models.data import ResidentData
from search.config import SearchConfig
from search.console.console import Screen
from search.console.progress import SearchDisplay
from search.engine.events import Opened
from search.engine.finalists import Rerun
from search.engine.job import Job
from search.engine.warm_start import Seeded
from search.schema import attributes as attrs
from search.study.study import settings_of
from search.study.trials import pack_curve
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


def _paper(*, terminal: bool = False, width: int = 200) -> tuple[Screen, io.StringIO]:
    """A screen, and what is written on it."""
    paper = io.StringIO()
    return Screen(out=Console(file=paper, force_terminal=terminal, width=width, color_system=None)), paper


def _shown(data: ResidentData, *, terminal: bool, stop_after: int | None = None) -> str:
    screen, paper = _paper(terminal=terminal, width=110)
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
                seeded=Seeded(queued=("e-codes 4",), over_budget=("a-runs 1",), alike=(("a-runs 4", "a-runs 5"),)),
                started=("separable-small",),
                requeued=[7],
                already=2,
                backend=Backend(),
                where="cpu",
                workers=1,
            )
        )
        run_here(job, data, display, stop)
    return paper.getvalue()


def test_plain_lines_in_a_pipe(few_digits: ResidentData) -> None:
    text = _shown(few_digits, terminal=False)
    assert "\x1b" not in text
    lines = [line for line in text.splitlines() if line.startswith("trial ")]
    assert len(lines) == 3
    assert "best so far" in lines[0]
    assert "[3/3, nothing left to train]" in lines[2]
    assert "parameters" in lines[1]
    assert "hand steps first: e-codes 4" in text
    assert "a-runs 4 and a-runs 5 are one recipe: both train, and what they differ by is the seed's" in text
    assert "then starting points: separable-small" in text
    assert "recorded and not trained: a-runs 1" in text
    assert "going on: 2 of 3 trials are there; run again: trial 7" in text


def test_a_search_that_draws_nothing_says_so() -> None:
    job = small_job(trials=3)
    names: list[dict[str, object]] = [{attrs.BASELINE: "e-codes 4"}, {attrs.START: "one-pool"}]
    names.append({attrs.BASELINE: "a-runs 1", attrs.OVER_BUDGET: True})
    for point, name in zip(random_points(3), names, strict=True):
        job.study.enqueue_trial(point, user_attrs=name)
    job.study.ask()  # others may have begun
    said = "draws networks of its own from --trials 3 on"
    for trials, expected in ((1, True), (2, True), (3, False)):
        assert (said in _said(job, trials=trials)) == expected
    job.study.enqueue_trial(random_points(1)[0], user_attrs={attrs.RETRY_OF: 0})  # a drawn one, interrupted
    assert "draws networks" not in _said(job, trials=1)


def test_a_search_that_is_over_says_nothing_of_what_comes_next() -> None:
    job = small_job(trials=1)
    epochs = [record(1).model_copy(update={"seconds": 10})]
    attributes = {attrs.START: "one-pool", attrs.N_PARAMS: 900, attrs.CURVE: pack_curve(epochs)}
    job.study.enqueue_trial(random_points(1)[0], user_attrs=attributes)
    job.study.tell(job.study.ask(), 0.9)
    screen, paper = _paper(terminal=True, width=120)
    with SearchDisplay(screen, trials=1, epochs=15, target=0.994) as display:
        display.opened(replace(_opened(job), already=1))
    text = paper.getvalue()
    assert "nothing left to train" in text
    for untrue in ("draws networks", "choosing the next trial", "time left unknown"):
        assert untrue not in text


def _said(job: Job, *, trials: int) -> str:
    screen, paper = _paper()
    with SearchDisplay(screen, trials=trials, epochs=1, target=0.994) as display:
        display.opened(_opened(job))
    return paper.getvalue()


def _epochs_of(
    display: SearchDisplay, job: Job, epochs: int, seconds: float, end: TrialState | None = None
) -> None:
    """A trial that trains so many of 15 epochs, and ends or goes on."""
    trial = job.study.ask(dict(SPACE.distributions))
    trial.set_user_attr(attrs.N_PARAMS, 1_000)
    display.started(job.study.trials[trial.number], 1_000, 15)
    for epoch in range(1, epochs + 1):
        display.epoch(trial.number, record(epoch, 0.9).model_copy(update={"seconds": seconds}))
    if end is not None:
        job.study.tell(trial, 0.9 if end == TrialState.COMPLETE else None, state=end)
        display.ended(job.study.trials[trial.number])


def test_the_time_left_is_that_of_what_runs_what_is_missing_and_what_follows() -> None:
    job = small_job(trials=8)
    screen, paper = _paper()
    follows = [0]
    with SearchDisplay(screen, trials=8, epochs=15, target=0.994, follow=lambda _: follows[0]) as display:
        display.opened(_opened(job, workers=2))
        for _ in range(4):
            _epochs_of(display, job, 3, 10, TrialState.PRUNED)
        _epochs_of(display, job, 5, 10)  # two that run have 100 s each to go
        _epochs_of(display, job, 5, 10)
        _epochs_of(display, job, 3, 10, TrialState.PRUNED)
        follows[0] = 3
        _epochs_of(display, job, 15, 10, TrialState.COMPLETE)
    last = [line.rpartition("[")[2] for line in paper.getvalue().splitlines() if line.startswith("trial ")]
    # Five ended after 30 s, two run and take 150: one of 64 s is missing beside them; all in two places.
    assert last[-2] == "5/8, about 2 min 12 s left]"
    # What is missing runs already; then three of 150 s in two places, which is twice 150 s.
    assert last[-1] == "6/8, about 6 min 40 s left]"


def test_the_time_left_is_a_lower_bound_while_starting_points_wait() -> None:
    job = small_job(trials=3)
    for _ in range(2):
        job.study.enqueue_trial({}, user_attrs={attrs.START: "one-pool-deep/1000"})
    screen, paper = _paper()
    with SearchDisplay(screen, trials=3, epochs=15, target=0.994) as display:
        display.opened(_opened(job))
        for _ in range(2):
            _epochs_of(display, job, 15, 10, TrialState.COMPLETE)
    said = [line.rpartition(", ")[2] for line in paper.getvalue().splitlines() if line.startswith("trial ")]
    assert said == ["at least 5 min 0 s left]", "about 2 min 30 s left]"]


def test_a_starting_point_that_is_not_trained_any_more_makes_no_lower_bound() -> None:
    job = small_job(trials=1)
    job.study.enqueue_trial(random_points(1)[0])
    job.study.enqueue_trial({}, user_attrs={attrs.START: "one-pool-deep/1000"})
    screen, paper = _paper(terminal=True, width=120)
    with SearchDisplay(screen, trials=1, epochs=15, target=0.994) as display:
        display.opened(_opened(job))
        _epochs_of(display, job, 5, 10)
    left = paper.getvalue().splitlines()
    assert any("about 1 min 40 s left" in line for line in left)


def test_a_sitting_that_only_trains_again_knows_its_time_from_earlier_ones() -> None:
    job = small_job(trials=1)
    trial = job.study.ask(dict(SPACE.distributions))
    trial.set_user_attr(attrs.N_PARAMS, 1_000)
    epochs = [record(epoch, 0.9).model_copy(update={"seconds": 10}) for epoch in range(1, 16)]
    trial.set_user_attr(attrs.CURVE, pack_curve(epochs))
    job.study.tell(trial, 0.9)
    screen, paper = _paper(terminal=True, width=120)
    with SearchDisplay(screen, trials=1, epochs=15, target=0.994, follow=lambda _: 2) as display:
        display.opened(replace(_opened(job), already=1))
    assert "about 5 min 0 s left" in paper.getvalue()


def test_the_panel_says_how_many_trainings_of_the_best_are_to_go() -> None:
    job = small_job(trials=1)
    screen, paper = _paper(terminal=True, width=120)
    follows = [2]
    with SearchDisplay(screen, trials=1, epochs=15, target=0.994, follow=lambda _: follows[0]) as display:
        display.opened(_opened(job))
        _epochs_of(display, job, 15, 10, TrialState.COMPLETE)
        (trial,) = job.study.trials
        display.finals([trial], 2)
        follows[0] = 0  # of this trial; but it is trained to the end
        display.rerun(Rerun(trial=trial, seed=5, value=0.9))
    text = paper.getvalue()
    first, second = (text.index(f"again with other seeds: {n} to go") for n in ("2 trainings", "1 training"))
    assert "about 5 min 0 s left" in text[:first]
    assert "about 2 min 30 s left" in text[first:second]


def test_the_lines_of_trials_are_aligned() -> None:
    job = small_job(trials=12)
    names: list[dict[str, object]] = [{} for _ in range(12)]
    names[1], names[11] = {attrs.BASELINE: "a-runs 1"}, {attrs.START: "separable-medium"}  # queued again, say
    for point, name in zip(random_points(12), names, strict=True):
        job.study.enqueue_trial(point, user_attrs=name)
    screen, paper = _paper()
    with SearchDisplay(screen, trials=12, epochs=15, target=0.994) as display:
        display.opened(_opened(job))
        for _ in range(12):
            _epochs_of(display, job, 1, 1, TrialState.PRUNED)
    lines = [line for line in paper.getvalue().splitlines() if line.startswith("trial ")]
    assert len(lines) == 12
    assert len({line.index("1,000 parameters") for line in lines}) == 1


def test_passwords_are_not_shown(few_digits: ResidentData) -> None:
    assert "secret" not in _shown(few_digits, terminal=False)


def test_the_panel_says_what_is_going_on(few_digits: ResidentData) -> None:
    text = _shown(few_digits, terminal=True)
    for part in ("complete, 0 stopped early", "1 running", "epoch 1/2", "below the target of 99.40%", "left"):
        assert part in text


def test_many_running_trials_have_a_line_each_up_to_eight(few_digits: ResidentData) -> None:
    screen, paper = _paper(terminal=True, width=110)
    job = small_job(trials=12)
    with SearchDisplay(screen, trials=12, epochs=2, target=0.994) as display:
        display.opened(_opened(job, workers=10))
        for _ in range(10):
            trial = job.study.ask(dict(SPACE.distributions))
            display.started(job.study.trials[trial.number], 1_000, 2)
        display.lost(job.study.trials[3], "worker 4 was ended by SIGKILL")
        display.lost(None, "worker 5 was ended by SIGKILL")
    text = paper.getvalue()
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
