"""The program as a user starts it: in a process and a folder of its own, without MNIST and a network."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent


def environment(folder: Path, path: Path = ROOT) -> dict[str, str]:
    """As a user has it: no data, no network, and modules that are compiled once, not at each start."""
    return {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPYCACHEPREFIX": str(folder.parent / "bytecode"),
        "PYTHONPATH": str(path),
        "DRILL_DATA": str(folder / "no-data"),
        "DRILL_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


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
