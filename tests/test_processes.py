"""Whole processes: kill -9, Ctrl-C, start-up time, what is imported, and the built wheel."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from optuna.trial import FrozenTrial, TrialState

from drill_models.step_io import load_step
from search.cli import main  # noqa: F401  (registers the commands)
from search.cli.app import app
from search.study.trials import point_of
from tests.programs import (
    ROOT,
    command,
    environment,
    ran,
    running,
    states_of,
    trials_of,
    wait_for_a_running_trial,
    workers_of,
)

SEARCH = [
    "--trials",
    "5",
    "--epochs",
    "3",
    "--budget",
    "1000",
    "--baselines",
    "none",
    "--no-starts",
    "--pruner",
    "none",
]
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for workers in /proc")
NAME = "mnist-5k-1000-drill2-3epochs"


def _wait_until_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "a worker outlives its search"
        time.sleep(0.02)


def _check_total(folder: Path, interrupted: Sequence[int], total: int = 5, name: str = NAME) -> None:
    trials = trials_of(folder, name)
    trained = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    broken = [t for t in trials if t.user_attrs.get("interrupted")]
    assert len(trained) == total
    assert len(broken) in interrupted
    assert all(t.state == TrialState.FAIL for t in broken)
    assert len(trials) == total + len(broken)
    for lost in broken:
        again = [t for t in trials if t.user_attrs.get("retry_of") == lost.number]
        if "n_params" not in lost.user_attrs:  # it died while the point was being drawn
            assert not again
            assert not lost.intermediate_values
            continue
        assert [t.params for t in again] == [point_of(lost)]
        assert again[0].user_attrs["seed"] == lost.user_attrs.get("seed", again[0].user_attrs["seed"])
    assert load_step(folder / "studies" / f"{name}.yaml").result is not None


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=LINUX)])
def test_kill_9_loses_nothing(tmp_path: Path, workers: int) -> None:
    words = [*SEARCH, "--workers", str(workers)]
    for finished in (1, 3):
        with running(tmp_path, *words) as process:
            wait_for_a_running_trial(tmp_path, process, finished)
            started = workers_of(process.pid) if workers > 1 else []
            assert len(started) == (workers if workers > 1 else 0)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            _wait_until_gone(started)
    ended = ran(tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert "run again: trial" in ended.stdout
    _check_total(tmp_path, interrupted=range(2, 2 * workers + 1))


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("words", [["studies"], ["studies", "--json"], [*SEARCH, "--workers", "1"]], ids=str)
def test_output_that_cannot_be_written_is_one_sentence(tmp_path: Path, words: list[str]) -> None:
    ended = ran(tmp_path, "--trials", "1", *SEARCH[2:], "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    with open("/dev/full", "w", encoding="utf-8") as full:
        ended = _printing_to(full.fileno(), tmp_path, words)
    assert (ended.returncode, ended.stderr) == (
        2,
        "what was to be printed cannot be written: No space left on device\n",
    )
    # Who reads no further, as `head`, is content.
    end, begin = os.pipe()
    os.close(end)
    try:
        ended = _printing_to(begin, tmp_path, words)
    finally:
        os.close(begin)
    assert (ended.returncode, ended.stderr) == (0, "")


def _printing_to(file: int, folder: Path, words: list[str]) -> "subprocess.CompletedProcess[str]":
    where = environment(folder)
    return subprocess.run(
        command(words), cwd=folder, env=where, stdout=file, stderr=subprocess.PIPE, text=True, check=False
    )


@LINUX
@pytest.mark.slow
def test_killed_workers_are_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    """One search of 20 trials, whose workers are killed 20 times: idle, starting, training."""
    kills, total, name = 20, 20, "mnist-5k-1000-drill2-2epochs"
    words = [
        "--dataset",
        "mnist-5k",
        "--trials",
        str(total),
        "--epochs",
        "2",
        "--budget",
        "1000",
        "--baselines",
        "none",
    ]
    chance = random.Random(0)
    with running(tmp_path, *words, "--no-starts", "--pruner", "none", "--workers", "2") as process:
        for killed in range(kills):
            until = time.monotonic() + chance.uniform(0, 4)
            while time.monotonic() < until or not (alive := workers_of(process.pid)):
                assert process.poll() is None, process.communicate()
                # Whatever the machine's speed, the kills come before the search ends.
                if killed and sum(state == "COMPLETE" for state, _ in states_of(tmp_path)) >= 0.7 * killed:
                    until = 0
                time.sleep(0.02)
            with suppress(ProcessLookupError):
                os.kill(chance.choice(alive), signal.SIGKILL)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert f"{total} trials: {total} complete" in out
    # A worker may be killed while it has no trial, or be dead already when it is killed.
    assert kills / 2 <= out.count("was ended by SIGKILL") <= kills
    _check_total(tmp_path, range(kills + 1), total, name)


@pytest.mark.slow
def test_one_worker_gives_the_same_bits_again(tmp_path: Path) -> None:
    words = [
        "--trials",
        "6",
        "--epochs",
        "2",
        "--budget",
        "1500",
        "--baselines",
        "none",
        "--no-starts",
        "--workers",
        "1",
    ]
    studies = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        ended = ran(folder, *words, "--dataset", "mnist-5k")
        assert ended.returncode == 0, ended.stderr
        studies.append(trials_of(folder, "mnist-5k-1500-drill2-2epochs"))

    def bits(trial: FrozenTrial) -> object:
        curve = [row[:-1] for row in trial.user_attrs["curve"]]  # without the seconds
        return trial.params, trial.values, trial.state, trial.user_attrs["seed"], curve

    one, two = ([bits(trial) for trial in study] for study in studies)
    assert len(one) == 6
    assert one == two


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=LINUX)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    with running(tmp_path, *SEARCH, "--workers", str(workers)) as process:
        wait_for_a_running_trial(tmp_path, process, 1)
        started = workers_of(process.pid) if workers > 1 else []
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: workers get it, too
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
        _wait_until_gone(started)
    assert process.returncode == 130
    assert "Traceback" not in err
    kept = "the one that was running is" if workers == 1 else "the ones that were running are"
    assert re.search(rf"interrupted; \d of 5 trials are kept, and {kept} queued again", err)
    assert re.search(r"Best \d on mnist-5k", out)
    resume = err.strip().splitlines()[-1].strip()
    assert resume.startswith("drill-search --trials 5")
    assert not [t for t in trials_of(tmp_path, NAME) if t.state == TrialState.RUNNING]
    ended = ran(tmp_path, *resume.split()[1:])
    assert ended.returncode == 0, ended.stderr
    _check_total(tmp_path, interrupted=range(1, workers + 1))


@pytest.mark.slow
def test_a_second_process_is_told_to_wait(tmp_path: Path) -> None:
    words = [*SEARCH, "--trials", "1000", "--workers", "1"]  # of two, the later one counts
    with running(tmp_path, *words) as process:
        wait_for_a_running_trial(tmp_path, process, 0)
        second = ran(tmp_path, *words)
        assert second.returncode == 2
        assert "another process is searching study" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_dashboard_serves_the_study(tmp_path: Path) -> None:
    made = ran(
        tmp_path, "--trials", "1", "--epochs", "1", "--baselines", "none", "--no-starts", "--budget", "1000"
    )
    assert made.returncode == 0, made.stderr
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running(tmp_path, "dashboard", "--port", str(port)) as process:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                    studies = json.load(answer)["study_summaries"]
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    assert [study["study_name"] for study in studies] == ["mnist-5k-1000-drill2-1epochs"]


def _each_command() -> Iterator[list[str]]:
    """Words of every command, those below `studies` included."""
    group: Any = typer.main.get_command(app)
    for name, each in group.commands.items():
        yield [name]
        yield from ([name, inner] for inner in getattr(each, "commands", {}))


QUICK = [
    ["--help"],
    *([*words, "--help"] for words in _each_command()),
    ["show", str(ROOT / "studies/drills/a-runs/5.yaml")],
    ["--budget", "100"],
    ["--budget", "10000", "--max-macs", "10"],
    ["--baselines", "nope"],
    ["--dataset", "cifar"],
]


@pytest.mark.alone
@pytest.mark.parametrize("words", QUICK, ids=lambda words: " ".join(words)[:20])
def test_answers_at_once(tmp_path: Path, words: list[str]) -> None:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        ended = ran(tmp_path, *words)
        times.append(time.perf_counter() - started)
        assert ended.returncode in (0, 2)
    assert min(times) < 0.5


def _imported(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ended.stdout.split())


LIGHT = [
    "import search.cli",
    "import search.options",
    "import drill_models.step, drill_models.step_io, drill_models.count, drill_models.hand_steps",
    "import drill_models.resolve",
    "import spaces.skeletons, spaces.budget",
]


@pytest.mark.parametrize("code", LIGHT)
def test_light_modules_import_neither_torch_nor_optuna(code: str) -> None:
    assert not _imported(code) & {"torch", "torchvision", "optuna", "sqlalchemy", "numpy"}


def test_early_checks_import_no_torch() -> None:
    assert "torch" not in _imported("import search.commands.early")


def test_space_and_sampler_import_no_torch() -> None:
    assert "torch" not in _imported(
        "import spaces.drill, search.sampling.budget, search.pruning.pruners, search.study.study"
    )


def test_the_import_test_can_fail() -> None:
    assert "torch" in _imported("import drill_models.train")


def test_drill_models_knows_no_search() -> None:
    names = _imported("import drill_models.run, drill_models.hand_steps")
    assert not {name for name in names if name.split(".")[0] in ("optuna", "spaces", "search")}


def _wheel(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder(tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "empty"
    folder.mkdir()
    with zipfile.ZipFile(_wheel(tmp_path)) as wheel:
        tops = {name.split("/")[0] for name in wheel.namelist()}
        assert {t for t in tops if not t.endswith(".dist-info")} == {
            "search",
            "spaces",
            "drill_models",
            "drill_search_main.py",
        }
        wheel.extractall(site)
    ended = ran(
        folder, "--trials", "2", "--epochs", "1", "--baselines", "b-cyclic/5", "--budget", "8000", path=site
    )
    assert ended.returncode == 0, ended.stderr
    assert "b-cyclic 5" in ended.stdout
    assert load_step(folder / "studies" / "mnist-5k-8000-drill2-1epochs.yaml").result is not None
    assert sorted(p.name for p in folder.iterdir()) == ["studies"]
