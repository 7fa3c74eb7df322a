"""The program as a user starts it: in a process and a folder of its own, without MNIST and a network."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial

ROOT = Path(__file__).parent.parent


def environment(folder: Path, path: Path = ROOT) -> dict[str, str]:
    """As a user has it: no data, no network, and modules that are compiled once, not at each start."""
    return {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPYCACHEPREFIX": str(_session(folder) / "bytecode"),
        "PYTHONPATH": str(path),
        "DRILL_DATA": str(folder / "no-data"),
        "DRILL_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def _session(folder: Path) -> Path:
    """What the folders of all tests have in common, so that modules are compiled once for all."""
    return next((parent for parent in folder.parents if re.fullmatch(r"pytest-\d+", parent.name)), folder.parent)


def command(words: Sequence[str]) -> list[str]:
    """What starts it."""
    return [sys.executable, "-m", "search", *words]


def ran(folder: Path, *words: str, path: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Runs it to its end."""
    return subprocess.run(
        command(words), cwd=folder, env=environment(folder, path), capture_output=True, text=True, check=False
    )


@contextmanager
def running(folder: Path, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """Starts it, and kills it at the end."""
    process = subprocess.Popen(
        command(words),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        with process:  # closes its pipes and waits for it
            pass


def trials_of(folder: Path, name: str) -> list[FrozenTrial]:
    """The trials of a study in a folder's SQLite file."""
    storage = RDBStorage(f"sqlite:///{folder}/studies/drill-search.db")
    try:
        return optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.engine.dispose()


def states_of(folder: Path) -> list[tuple[str, bool]]:
    """State of each trial, and whether it trained an epoch; without Optuna, which would make the tables itself."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/studies/drill-search.db?mode=ro", uri=True)) as connection:
            return connection.execute(
                "SELECT state, trial_id IN (SELECT trial_id FROM trial_intermediate_values) FROM trials"
            ).fetchall()
    except sqlite3.OperationalError:  # no file or no tables so far
        return []


def wait_for_a_running_trial(
    folder: Path, process: "subprocess.Popen[str]", after: int, at_once: int = 1, seconds: float = 120
) -> None:
    """Until so many trials beyond some finished ones have trained an epoch; fails when the process ends before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the search ended before it could be stopped: {process.communicate()}")
        trials = states_of(folder)
        done = sum(state in ("COMPLETE", "PRUNED", "FAIL") for state, _ in trials)
        if done >= after and trials.count(("RUNNING", True)) >= at_once:
            return
        time.sleep(0.02)
    raise AssertionError("no trial was seen running")


def workers_of(parent: int) -> list[int]:
    """Process ids of a search's worker processes, those that just start included."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and b"spawn_main" in (folder / "cmdline").read_bytes():
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                found += [int(folder.name)] if int(status[1]) == parent and status[0] != "Z" else []
        except OSError:
            pass  # it ended meanwhile
    return found
