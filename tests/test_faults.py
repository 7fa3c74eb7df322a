"""What goes wrong, done to whole processes: nothing is lost, nothing is wrong, and a sentence says what happened.

Servers that go away are in test_servers.py, nodes of a cluster in test_ray.py, killed workers in
test_processes.py.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState

from drill_models.step_io import load_step
from search.schema import attributes as attrs
from tests.programs import command, environment, ran, running, states_of, trials_of, wait_for_a_running_trial

KILLS = int(os.environ.get("DRILL_TEST_KILLS", "4"))
"""Kills of the main process; docs/explanation/faults.md says what 30 did."""

SHORT = ("--epochs", "2", "--budget", "1000", "--dataset", "mnist-5k", "--baselines", "none", "--no-starts")
PLAIN = ("--pruner", "none", "--finalists", "0", "--study", "x")

pytestmark = pytest.mark.slow


def _check(trials: list[FrozenTrial], total: int, failed: int = 0) -> None:
    """So many networks were trained, each point once to its end; what was interrupted was trained again."""
    ended = [t for t in trials if attrs.INTERRUPTED not in t.user_attrs]
    interrupted = [t for t in trials if attrs.INTERRUPTED in t.user_attrs]
    assert len(ended) == total
    assert sum(t.state == TrialState.FAIL for t in ended) == failed
    assert all(t.state.is_finished() for t in trials)
    again = [t.user_attrs[attrs.RETRY_OF] for t in trials if attrs.RETRY_OF in t.user_attrs]
    assert len(again) == len(set(again))
    # One that died while its point was being drawn has no point to train again.
    assert {t.number for t in interrupted if attrs.N_PARAMS in t.user_attrs} <= set(again)


def test_the_main_process_is_killed_at_random_moments(tmp_path: Path) -> None:
    total = 2 * KILLS + 2
    words = [*SHORT, *PLAIN, "--trials", str(total), "--workers", "2"]
    chance = random.Random(0)
    killed, waits = 0, []
    while killed < KILLS:
        began = time.monotonic()
        with running(tmp_path, *words) as process:
            if killed % 4 < 3:  # the others may hit it while it starts
                wait_for_a_running_trial(tmp_path, process, after=0)
                waits.append(time.monotonic() - began)
            time.sleep(chance.uniform(0, 1.2))
            assert process.poll() is None, process.communicate()
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
    ended = ran(tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    _check(trials_of(tmp_path, "x"), total)
    assert load_step(tmp_path / "studies" / "x.yaml").result is not None
    print(f"{killed} kills; until a trial ran again: {max(waits):.1f} s at most, with the program's start")


IN_WORKERS = """
import os, sys
if any("spawn_main" in word for word in sys.orig_argv):
    import drill_models.train
    whole = drill_models.train.train

    def train(recipe, data, *, seed, **more):
        {code}
        yield from whole(recipe, data, seed=seed, **more)

    drill_models.train.train = train
"""
"""A sitecustomize module: something happens in worker processes, before a network trains."""


def _with(folder: Path, code: str) -> Path:
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(IN_WORKERS.format(code=code))
    return site


def _searched(folder: Path, site: Path, total: int, *words: str) -> "subprocess.CompletedProcess[str]":
    variables = environment(folder)
    variables["PYTHONPATH"] = f"{site}{os.pathsep}{variables['PYTHONPATH']}"
    words = (*SHORT, *PLAIN, "--trials", str(total), "--workers", "2", *words)
    return subprocess.run(
        command(words), cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=300
    )


def test_no_memory_for_one_network(tmp_path: Path) -> None:
    """The trial fails with the reason, the others are trained."""
    site = _with(tmp_path, "memory = bytearray(10**15) if seed == 2 else None")
    ended = _searched(tmp_path, site, 5)
    assert ended.returncode == 0, ended.stderr
    trials = trials_of(tmp_path, "x")
    _check(trials, 5, failed=1)
    assert trials[2].user_attrs[attrs.REASON].startswith("MemoryError")
    assert "1 failed" in ended.stdout


def test_the_kernel_kills_a_worker_for_its_memory(tmp_path: Path) -> None:
    """Its point is marked and trained again, in a new worker."""
    code = "os.path.exists('killed') or seed != 1 or (open('killed', 'w').close(), os.kill(os.getpid(), 9))"
    ended = _searched(tmp_path, _with(tmp_path, code), 4)
    assert ended.returncode == 0, ended.stderr
    trials = trials_of(tmp_path, "x")
    _check(trials, 4)
    (lost,) = (t for t in trials if attrs.INTERRUPTED in t.user_attrs)
    (again,) = (t for t in trials if t.user_attrs.get(attrs.RETRY_OF) == lost.number)
    assert again.user_attrs[attrs.KILLS] == 1
    assert again.params == lost.params
    assert again.state == TrialState.COMPLETE
    assert "was ended by SIGKILL" in ended.stdout


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    """The trial ends with the reason, as stopped early: samplers learn from those and ignore failed ones."""
    code = (
        "recipe = recipe if seed != 1 else recipe.model_copy(update={'training': recipe.training.model_copy("
        "update={'optimizer': recipe.training.optimizer.model_copy(update={'lr': 1e30})})})"
    )
    ended = _searched(tmp_path, _with(tmp_path, code), 4)
    assert ended.returncode == 0, ended.stderr
    trials = trials_of(tmp_path, "x")
    _check(trials, 4)
    assert trials[1].state == TrialState.PRUNED
    assert "training loss is nan" in trials[1].user_attrs[attrs.REASON]
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB, where such can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here; that takes root's rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_the_disk_is_full_while_a_study_is_written(tmp_path: Path, small_disk: Path) -> None:
    """One sentence; with room again, the same command goes on and nothing that was told is lost."""
    words = [*SHORT, *PLAIN, "--trials", "8", "--workers", "1", "--storage", f"sqlite:///{small_disk}/x.db"]
    with running(tmp_path, *words) as process:
        deadline = time.monotonic() + 120
        while not (done := _complete(small_disk / "x.db")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        _fill(small_disk, 4096)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "Traceback" not in err
    assert "disk is full" in err or "disk I/O error" in err
    (small_disk / "ballast").unlink()
    ended = ran(tmp_path, *words)
    assert ended.returncode == 0, ended.stderr
    assert _complete(small_disk / "x.db") == 8 >= done
    with closing(sqlite3.connect(small_disk / "x.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _fill(disk: Path, size: int) -> None:
    """Writes pieces of that size until the disk is full."""
    with suppress(OSError), (disk / "ballast").open("wb") as ballast:
        while True:
            ballast.write(b"x" * size)
            ballast.flush()


def _complete(file: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A folder with a small study."""
    ended = ran(tmp_path, *SHORT, *PLAIN, "--trials", "2", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    return tmp_path


def test_the_disk_is_full_while_the_best_is_exported(searched: Path, small_disk: Path) -> None:
    before = ran(searched, "export", "--out", str(small_disk / "best.yaml"))
    assert before.returncode == 0, before.stderr
    content = (small_disk / "best.yaml").read_bytes()
    _fill(small_disk, 512)
    for name in ("best.yaml", "other.yaml"):
        ended = ran(searched, "export", "--out", str(small_disk / name))
        assert ended.returncode == 2
        assert "No space left on device" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
    assert (small_disk / "best.yaml").read_bytes() == content
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", "best.yaml", "step.schema.json"]


def test_two_exports_at_once(searched: Path) -> None:
    """Whoever comes last has its whole file there."""
    words = [["export", "--out", "one.yaml"], ["export", "--format", "python", "--out", "one.py"]]
    processes = [
        subprocess.Popen(command(each), cwd=searched, env=environment(searched), stderr=subprocess.PIPE, text=True)
        for each in words * 3
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert load_step(searched / "one.yaml").result is not None
    compile((searched / "one.py").read_text(), "one.py", "exec")
    assert not [path.name for path in searched.iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize("damage", ["text", "middle", "short"])
def test_a_damaged_study_is_said_and_left_alone(searched: Path, damage: str) -> None:
    file = searched / "studies" / "drill-search.db"
    content = file.read_bytes()
    match damage:
        case "text":
            content = b"This is no database.\n" * 100
        case "middle":
            half = len(content) // 2
            content = content[:8192] + os.urandom(half) + content[8192 + half :]
        case _:
            content = content[: len(content) // 3]
    file.write_bytes(content)
    ended = ran(searched, *SHORT, *PLAIN, "--trials", "4", "--workers", "1")
    assert ended.returncode == 2, ended.stdout
    assert "Traceback" not in ended.stderr
    assert "drill-search.db is damaged: " in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    looked = ran(searched, "doctor", "--offline")
    assert looked.returncode == 1
    assert "drill-search.db is damaged: " in looked.stdout
    assert file.read_bytes() == content


def test_a_damaged_value_is_said(searched: Path) -> None:
    file = searched / "studies" / "drill-search.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE study_user_attributes SET value_json = '{' WHERE key = 'settings'")
    for words in ([*SHORT, *PLAIN, "--trials", "4", "--workers", "1"], ["report", "--study", "x"], ["studies"]):
        ended = ran(searched, *words)
        assert ended.returncode == 2, ended.stdout
        assert "Traceback" not in ended.stderr
        assert "is damaged: a value in it is no JSON" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct timespec first;

static long taken_back(void) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    if (!first.tv_sec) first = now;
    return now.tv_sec - first.tv_sec >= 5 ? 7200 : 0;
}

int clock_gettime(clockid_t which, struct timespec *out) {
    int code = syscall(SYS_clock_gettime, which, out);
    if (which == CLOCK_REALTIME) out->tv_sec -= taken_back();
    return code;
}

int gettimeofday(struct timeval *out, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""
"""Takes two hours from the clock of each process five seconds after it has begun; the monotonic clock goes on."""


def test_the_clock_is_set_back(tmp_path: Path) -> None:
    library = tmp_path / "clock.so"
    (tmp_path / "clock.c").write_text(CLOCK)
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("takes a C compiler, and Linux")
    subprocess.run([compiler, "-shared", "-fPIC", "-O", "-o", library, tmp_path / "clock.c"], check=True)
    variables = {**environment(tmp_path), "LD_PRELOAD": str(library)}
    words = (*SHORT, *PLAIN, "--trials", "10", "--workers", "2", "--timeout", "300")
    ended = subprocess.run(
        command(words), cwd=tmp_path, env=variables, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    trials = trials_of(tmp_path, "x")
    _check(trials, 10)
    now = time.time()
    assert max(now - t.datetime_complete.timestamp() for t in trials if t.datetime_complete) > 3600
    assert load_step(tmp_path / "studies" / "x.yaml").result is not None


def test_a_data_set_is_cut_off_while_a_search_runs(tmp_path: Path) -> None:
    """What is in memory stays whole; the next search says which file is damaged."""
    source = Path(os.environ.get("DRILL_DATA", "")) / "MNIST" / "raw"
    if not source.is_dir():
        pytest.skip("takes MNIST's files, which are found through DRILL_DATA")
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in source.iterdir():
        (raw / file.name).write_bytes(file.read_bytes())
    words = [
        "--data",
        str(tmp_path / "data"),
        "--epochs",
        "1",
        "--budget",
        "600",
        "--baselines",
        "none",
        "--no-starts",
    ]
    words += [*PLAIN, "--trials", "2", "--workers", "1"]
    with running(tmp_path, *words) as process:
        deadline = time.monotonic() + 120
        while not any(state == "RUNNING" for state, _ in states_of(tmp_path)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for file in raw.iterdir():
            os.truncate(file, file.stat().st_size // 2)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    _check(trials_of(tmp_path, "x"), 2)
    ended = ran(tmp_path, *words)
    assert ended.returncode == 2
    assert str(raw) in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_step_cannot_reach_outside(tmp_path: Path) -> None:
    """Names in files of strangers become no paths elsewhere."""
    ended = ran(tmp_path, *SHORT, *PLAIN[:-1], "../../outside", "--trials", "1", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    written = list(tmp_path.rglob("*.yaml"))
    assert [path.parent for path in written] == [tmp_path / "studies"]
    assert not (tmp_path.parent / "outside.yaml").exists()
    assert yaml.safe_load(written[0].read_text())["name"]
