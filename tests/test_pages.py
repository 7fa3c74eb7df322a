"""What people look at: the report, the dashboard's notes, files and figures; both in a real browser."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.artifacts import get_all_artifact_meta
from optuna.trial import TrialState
from optuna_dashboard._note import get_note_from_system_attrs

from search.config import SearchConfig
from search.report import series
from search.report.charts import curve_chart, size_chart, spent_chart, svg
from search.report.figures import FIGURES, curve_figure, size_figure
from search.report.html_report import _curves_caption, _sizes_caption
from search.report.series import Size, Spent, curve_lines, epochs_spent, importance, sizes
from search.schema import attributes as attrs
from search.storage.artifacts import CURVE_PICTURE, STEP_FILE, WEIGHTS
from search.study.open import open_to_read
from search.study.ranking import keep_finalists, keep_rerun, ranked
from search.study.session_log import folded_command, full_command, shown_command, sittings
from search.study.study import SETTINGS, read_space, settings_of
from tests.command_line import Run
from tests.jobs import BUDGET, made_study, record
from tests.programs import running, wait_for_a_running_trial
from tests.spaces_for_tests import SPACE, random_points

NAME = "seen <b>&"
WORDS = ("--trials", "4", "--epochs", "2", "--budget", "9000", "--workers", "1", "--no-starts", "--study", NAME)
HAND = ("--baselines", "e-codes/4", "--baselines", "a-runs/1")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def searched(run: Run) -> Path:
    """The folder of a small search with two hand steps, one of them over the budget."""
    code, _, error = run(*WORDS, *HAND, "-q")
    assert code == 0, error
    return Path.cwd()


def _note(study: optuna.Study, trial: int | None) -> str:
    found = study._storage.get_study_system_attrs(study._study_id)
    number = None if trial is None else study.trials[trial]._trial_id
    return str(get_note_from_system_attrs(found, number)["body"])


@pytest.mark.slow
def test_notes_files_and_figures(searched: Path) -> None:
    with open_to_read(None, NAME) as study:
        note = _note(study, None)
        assert "at most 9,000 parameters" in note
        assert "    drill-search --budget 9000 --trials 4 --epochs 2 --baselines e-codes/4" in note
        assert f"--study '{NAME}'" in note
        assert "no verdict yet" in note
        for trial in study.trials:
            names = {meta.filename for meta in get_all_artifact_meta(trial, storage=study._storage)}
            text = _note(study, trial.number)
            if trial.user_attrs.get("baseline") == "a-runs 1":
                assert names == set()
                assert "Over the budget: recorded, not trained" in text
                assert "Reported: train 99.35%, test 99.02%" in text
                continue
            assert names >= {STEP_FILE, CURVE_PICTURE}
            assert (WEIGHTS in names) == (trial.state == optuna.trial.TrialState.COMPLETE)
            assert "| layer | kernel |" in text
            assert f"{trial.user_attrs['n_params']:,} parameters" in text
        attrs = study._storage.get_study_system_attrs(study._study_id)
        assert all(any(f"plot_data:{name}:" in key for key in attrs) for name in FIGURES)
        assert {size.number for size in sizes(study)} <= {line.number for line in curve_lines(study)}
        assert sum(one.trained + one.saved for one in epochs_spent(study)) == 4 * 2
        assert importance(study) == []


@pytest.mark.slow
def test_the_report_says_whether_the_target_holds(run: Run, searched: Path) -> None:
    code, text, error = run("report", "--study", NAME)
    assert code == 0, error
    (file,) = Path("studies").glob("*.html")
    assert str(file) in text
    page = file.read_text()
    assert len(page) < 3_000_000
    assert "target of 99.40% does not hold (validation images of mnist-5k)" in page
    assert "The best of 4 networks has" in page
    assert "It has no verdict on the test set yet" in page
    assert "Wrong after the last epoch: " in page
    assert "<b>&amp;" not in page
    assert "seen &lt;b&gt;&amp;" in page
    assert "drill-search --budget 9000 --trials 4" in page
    assert not re.search(r"<script|<link|@import|url\((?!#)|(src|href)=.https?:", page)

    # Weights that are damaged, or cannot be read, are no reason for no report.
    with open_to_read(None, NAME) as study:
        kept = get_all_artifact_meta(ranked(study)[0], storage=study._storage)
    (weights,) = (Path("studies/artifacts") / meta.artifact_id for meta in kept if meta.filename == WEIGHTS)
    weights.write_bytes(weights.read_bytes()[:500])
    assert run("report", "--study", NAME, "--out", "page.html")[0] == 0
    assert "Its errors are not known here: these are no weights of this" in Path("page.html").read_text()
    weights.unlink()
    weights.mkdir()
    assert run("report", "--study", NAME, "--out", "page.html")[0] == 0
    assert f"({WEIGHTS}): cannot be read: Is a directory" in Path("page.html").read_text()
    code, _, error = run("export", "--study", NAME, "--format", "weights")
    assert (code, error.count("\n")) == (2, 1)
    assert "cannot be read: Is a directory" in error

    shutil.rmtree("studies/artifacts")
    assert run("report", "--study", NAME, "--out", "page.html")[0] == 0
    assert "weights of the best network are not kept here" in Path("page.html").read_text()


def test_a_report_needs_a_complete_trial(run: Run) -> None:
    code, _, error = run("report")
    assert code == 2
    assert "there is no study database" in error


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of headless Chromium; what it complains of is collected in `page.complaints`."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1300, "height": 1000})
        opened.complaints = []
        opened.requests = []
        opened.on("console", lambda m: opened.complaints.append(m.text) if m.type == "error" else None)
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.on("request", lambda request: opened.requests.append(request.url))
        yield opened
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1300])
def test_the_report_in_a_browser(run: Run, searched: Path, page: Any, width: int) -> None:
    assert run("report", "--study", NAME, "--out", "page.html")[0] == 0
    page.set_viewport_size({"width": width, "height": 900})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto((searched / "page.html").as_uri())
        assert page.locator("svg").count() >= 3
        assert page.locator(".digit img").count() > 0
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink, paper = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert ink != paper
    assert page.complaints == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _dashboard(folder: Path, name: str) -> Iterator[str]:
    """The dashboard of a folder's study; gives the address of its first study."""
    port = _free_port()
    with running(folder, "dashboard", "--study", name, "--port", str(port)) as server:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/dashboard/studies/1"


@pytest.mark.slow
def test_the_dashboard_in_a_browser(searched: Path, page: Any) -> None:
    with _dashboard(searched, NAME) as base:
        page.goto(base)
        for title in ("Accuracy against parameters", "Learning curves", "Epochs trained and saved"):
            page.get_by_text(title).first.wait_for(timeout=60_000)
        page.goto(f"{base}/note")
        page.get_by_text("drill-search export").first.wait_for(timeout=60_000)
        page.goto(f"{base}/trials?numbers=0")
        page.get_by_text(STEP_FILE).first.wait_for(timeout=60_000)
        page.get_by_text("global average pool").first.wait_for()
        picture = page.locator("img[src*='artifacts']").first
        picture.wait_for()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
        page.goto(f"{base}/trials?numbers=1")  # a hand step over the budget
        page.get_by_text("The page of the drill").first.wait_for(timeout=60_000)
        page.get_by_text("Reported: train 99.35%, test 99.02%").first.wait_for()
        assert page.complaints == []
        api = f"{base.partition('/dashboard')[0]}/api/studies"
        assert page.request.get(api).json()["study_summaries"][0]["study_name"] == NAME
        trials = page.request.get(f"{api}/1").json()["trials"]
    # What it takes for feasible: only the hand step over the budget is not.
    assert [max(trial["constraints"]) > 0 for trial in trials] == [False, True, False, False, False]


@pytest.mark.slow
def test_the_dashboard_follows_a_search_that_runs(tmp_path: Path, page: Any) -> None:
    words = ("--budget", "600", "--epochs", "1", "--pruner", "none", "--baselines", "none", "--no-starts")
    with running(tmp_path, *words, "--trials", "1000", "--dataset", "mnist-5k", "--study", "live") as search:
        wait_for_a_running_trial(tmp_path, search, after=series.MIN_FOR_IMPORTANCE)
        with _dashboard(tmp_path, "live") as base:
            page.goto(base)
            page.get_by_text("Importance (PED-ANOVA)").first.wait_for(timeout=60_000)
            page.goto(f"{base}/trials")
            page.get_by_text("Trial 0").first.wait_for(timeout=60_000)
            count = "() => Number(/(\\d+) Trials/.exec(document.body.innerText)[1])"
            before = page.evaluate(count)
            assert before >= series.MIN_FOR_IMPORTANCE
            page.wait_for_function(f"({count})() > {before + 3}", timeout=60_000)  # without a reload
        assert search.poll() is None
        assert page.complaints == []
        search.send_signal(signal.SIGINT)
        _, error = search.communicate(timeout=60)
    assert search.returncode == 130
    assert "Traceback" not in error


@pytest.mark.parametrize("drawn", [0, 1, 20])
def test_a_search_goes_on_after_one_that_died_while_it_proposed(run: Run, drawn: int) -> None:
    few = ("--epochs", "1", "--workers", "1", "--baselines", "none", "--no-starts", "--finalists", "0")
    words = ("--budget", "1000", *few, "--study", "half", "-q")
    assert run("--trials", "1", *words)[0] == 0
    with open_to_read(None, "half") as study:
        half = study.ask()
        for name, distribution in list(read_space(study).distributions.items())[:drawn]:
            half._suggest(name, distribution)
    code, _, error = run("--trials", "2", *words)
    assert code == 0, error
    with open_to_read(None, "half") as study:
        assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE"]
        assert "Interrupted" in _note(study, 1)
    assert run("report", "--study", "half")[0] == 0


def test_a_trial_that_failed_is_not_called_stopped_early() -> None:
    study = optuna.create_study()
    for state in (TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE):
        trial = study.ask()
        trial.set_user_attr(attrs.CURVE, [[1, 0.01, 0.5, 0.8, 0.4, 0.85, 2.0]])
        trial.report(0.85, 1)
        study.tell(trial, 0.85 if state == TrialState.COMPLETE else None, state=state)
    study.ask().set_user_attr(attrs.CURVE, [[1, 0.01, 0.5, 0.8, 0.4, 0.85, 2.0]])  # has no state yet
    assert [line.state for line in curve_lines(study)] == ["failed", "stopped early", "complete"]
    assert [line.name for line in curve_figure(study).data] == ["failed", "stopped early", "complete"]


def test_no_curve_is_drawn_twice_of_a_trial_that_was_interrupted_after_its_last_epoch() -> None:
    study = optuna.create_study()
    row = [1, 0.01, 0.5, 0.8, 0.4, 0.85, 2.0]
    for interrupted in (True, False):
        trial = study.ask()
        trial.set_user_attr(attrs.CURVE, [row])
        if interrupted:
            trial.set_user_attr(attrs.INTERRUPTED, True)
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, 0.85)
    assert [line.number for line in curve_lines(study)] == [1]


@pytest.mark.parametrize("accuracies", [(0.7, 0.8, 0.85), (0.1,), (0.2, 0.97, 0.995), (0.993, 1.0)])
def test_the_best_epoch_is_in_a_trials_picture(accuracies: tuple[float, ...]) -> None:
    records = [record(epoch, accuracy) for epoch, accuracy in enumerate(accuracies, start=1)]
    (axes,) = curve_chart(records, 0.994).axes
    low, high = axes.get_ylim()
    assert low < max(accuracies) <= high
    assert low < 0.994 < high


OPTIONS = """
[tool.drill-search]
budget = 9000
trials = 3
epochs = 2
max-macs = 900000
target = 0.99
dataset = "mnist-5k"
data = "my data"
sampler = "random"
starts = false
baselines = ["none"]
finalists = 0
timeout = 5000.5
precision = "fp32"
workers = 1
study = "of a file"
out = "a/b.yaml"

[tool.drill-search.frontier]
seeds = 5
target = 0.98
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[SearchConfig]:
    """What searches are asked to do, which they do not."""
    found: list[SearchConfig] = []

    def keep(config: SearchConfig, screen: object, command: object) -> bool:
        found.append(config)
        return True

    monkeypatch.setattr("search.commands.search.run_main_job", keep)
    return found


@pytest.mark.parametrize(
    "words",
    [
        ("--trials", "100"),
        ("--trials", "9", "--objective", "pareto", "--finalists", "2", "--engine", "native", "--seed", "7"),
        ("frontier", "--trials", "7", "--offline"),
        ("frontier", "--seeds", "3"),
    ],
)
@pytest.mark.parametrize("options", ["", OPTIONS])
def test_the_command_that_is_kept_asks_for_the_same(
    run: Run, asked: list[SearchConfig], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], options: str
) -> None:
    monkeypatch.delenv("DRILL_OFFLINE")
    Path("my data").mkdir()
    Path("pyproject.toml").write_text(options)
    assert run(*words)[0] == 0
    Path("pyproject.toml").unlink()
    program, *kept = full_command(asked[0])
    assert program == "drill-search"
    assert run(*kept)[0] == 0
    assert asked[1] == asked[0]


def test_the_command_that_is_kept_has_no_password() -> None:
    storage = "postgresql+psycopg://me:secret@host/db?password=secret&sslmode=require"
    command = full_command(SearchConfig(budget=BUDGET, skeletons=(), storage=storage))
    assert "secret" not in str(command)
    assert command[-1] == "postgresql+psycopg://me:***@host/db?sslmode=require"


def test_the_command_that_is_kept_names_the_skeleton_files() -> None:
    config = SearchConfig(
        budget=BUDGET, skeletons=(), own_skeletons=("a", "b"), skeleton_files=("own/a.yaml", "b.yaml")
    )
    assert full_command(config)[-4:] == ["--skeleton", "own/a.yaml", "--skeleton", "b.yaml"]


def test_each_command_of_a_study_is_shown(run: Run) -> None:
    few = ("--epochs", "1", "--workers", "1", "--baselines", "none", "--no-starts", "--finalists", "0", "-q")
    Path("pyproject.toml").write_text("[tool.drill-search]\nbudget = 1000\ndataset = 'mnist-5k'\ntrials = 1\n")
    assert run("--study", "s 1", *few)[0] == 0
    assert run("--study", "s 1", *few)[0] == 0
    assert run("--study", "s 1", "--trials", "2", *few)[0] == 0
    with open_to_read(None, "s 1") as study:
        note, kept = _note(study, None), sittings(study)
    commands = [
        f"drill-search --budget 1000 --trials {n} --epochs 1 --dataset mnist-5k --baselines none" for n in (1, 2)
    ]
    assert run("report", "--study", "s 1")[0] == 0
    page = Path("studies/s 1.html").read_text()
    for command in commands:
        assert note.count(f"    {command}") == 1
        assert page.count(f"<pre>{command}") == 1
    first, second = (f"{one['began'][:16].replace('T', ' ')} UTC" for one in kept[:2])
    assert f"{first}, and 1 more time until {second}" in page
    assert kept[0]["asked"]["data"] is None
    older = {"asked": {"command": ["drill-search", "--study", "s 1"]}}
    assert shown_command(older) == "drill-search --study 's 1'"


def test_a_long_command_is_folded_so_that_a_shell_reads_the_same() -> None:
    words = ["drill-search", "--budget", "9000", "--study", "a b", *(f"--option-{i}" for i in range(30)), "x 'y'"]
    lines = folded_command({"command": words})
    assert len(lines) > 3
    assert all(len(line) < 120 for line in lines)
    shell = ["sh", "-c", "printf '%s\\n' " + "\n    ".join(lines)]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout.splitlines() == words
    assert folded_command({"command": words[:5]}) == ["drill-search --budget 9000 --study 'a b'"]


def _made(values: Sequence[tuple[int, float]]) -> optuna.Study:
    """A study with settings."""
    study = made_study(values)
    config = SearchConfig(budget=BUDGET, skeletons=(), objective="pareto")
    study.set_user_attr(SETTINGS, asdict(settings_of(config, "mnist-5k")))
    return study


def test_the_budgets_line_has_its_name() -> None:
    figure = json.loads(size_figure(_made([(700, 0.8), (1400, 0.9)])).to_json())
    assert figure["layout"]["xaxis"]["type"] == "log"
    line, _ = figure["layout"]["shapes"]
    (budget,) = [one for one in figure["layout"]["annotations"] if one["text"] == "budget"]
    assert line["x0"] == BUDGET.max_params == pytest.approx(10 ** budget["x"])
    assert (budget["yref"], budget["y"], budget["yanchor"]) == ("paper", 1, "bottom")


def test_importance_is_told_from_trials_of_the_whole_study(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study(direction="maximize")
    for i, params in enumerate(random_points(90)):
        study.add_trial(optuna.create_trial(value=i / 100, params=params, distributions=dict(SPACE.distributions)))
    seen: list[float] = []

    def keep(only: optuna.Study, evaluator: object) -> dict[str, float]:
        seen.extend(trial.value or 0.0 for trial in only.trials)
        return {}

    whole = importance(study)
    assert sum(share for _, share in importance(study, top=100)) == pytest.approx(1)
    monkeypatch.setattr(series, "MAX_FOR_IMPORTANCE", 30)
    assert len(importance(study)) == len(whole)
    monkeypatch.setattr("optuna.importance.get_param_importances", keep)
    importance(study)
    assert seen == [i / 100 for i in range(0, 90, 3)]


def test_charts_of_many_trials_are_small() -> None:
    spent = [Spent(number, number % 14 + 1, 14 - number % 14) for number in range(10_000)]
    found = [Size(n, "", "trial", 500 + n, 0.99 + n % 7 / 1000, on_front=n < 5) for n in range(10_000)]
    for text in (svg(spent_chart(spent)), svg(size_chart(found, 20_000, 0.994))):
        assert len(text) < 300_000
        assert "<image" in text
        assert "</text>" in text
    few = svg(spent_chart(spent[:20])) + svg(size_chart(found[:20], 20_000, 0.994))
    assert "<image" not in few
    trained, _ = spent_chart([one for one in spent if one.number % 2]).axes[0].patches
    heights = trained.get_data().values  # type: ignore[attr-defined]
    assert list(heights[:3]) == [2, 0, 4]  # a trial that failed leaves a gap


def test_captions_say_what_is_below_and_how_the_best_was_chosen() -> None:
    found = [
        Size(n, "", "trial", 500, accuracy, on_front=False) for n, accuracy in enumerate((0.99, 0.97, 0.9, 0.1))
    ]
    assert _sizes_caption(found[:2], 0.99, 15).endswith(
        "mean of the last three of 15 epochs; mean over its seeds."
    )
    assert _sizes_caption(found, 0.994, 15).endswith("Below the picture, under 96.00%: 2 more.")

    # Where most are far below the best, half are in the picture even so.
    few = [Size(n, "", "trial", 500, accuracy, on_front=False) for n, accuracy in enumerate((0.98, 0.8, 0.7, 0.6))]
    assert _sizes_caption(few, 0.994, 15).endswith("Below the picture, under 79.85%: 2 more.")

    study = made_study([(700, 0.9), (1400, 0.91)])
    trial = study.trials[1]
    curves = [("trial 1", [0.9, 0.91])]
    assert _curves_caption(study, trial, curves, 0.92).endswith("luckiest of many.")
    cut = _curves_caption(study, trial, [("trial 1", [0.7, 0.91])], 0.92)
    assert cut.endswith("The picture begins at 88.00%; some epochs are below it.")
    keep_rerun(study, 1, 5, [record(1, 0.8)])
    keep_finalists(study, [trial], top=2, seeds=1)
    assert "the best by the mean of 2 seeds" in _curves_caption(study, trial, curves, 0.92)
