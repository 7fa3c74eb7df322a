"""What a shell completes."""

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from search.names import FORMAT_NAMES, SAMPLER_NAMES

STUDY = "mnist-3000-drill2"


def _completed(folder: Path, line: str) -> list[str]:
    """As bash asks: the words so far, of which the last is being typed."""
    words = line.split(" ")
    asked = {"_DRILL_SEARCH_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    script = "import sys; sys.argv[0] = 'drill-search'; from search.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)} | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    imported = {row.rpartition("|")[2].strip() for row in ended.stderr.splitlines()}
    assert not imported & {"torch", "optuna", "sqlalchemy", "numpy"}  # it would not be quick
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("drill-search exp", ["export"]),
        ("drill-search --sampler ", list(SAMPLER_NAMES)),
        ("drill-search export --format ", list(FORMAT_NAMES)),
        ("drill-search confirm --device c", ["cpu", "cuda"]),
        ("drill-search baselines b-cyclic/", [f"b-cyclic/{step}" for step in range(1, 6)]),
        ("drill-search --study ", []),
    ],
)
def test_completes(tmp_path: Path, line: str, answer: list[str]) -> None:
    assert _completed(tmp_path, line) == answer


def test_completes_the_studies_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    optuna.create_study(study_name=STUDY, storage=f"sqlite:///{tmp_path}/studies/drill-search.db")
    assert _completed(tmp_path, "drill-search report --study mn") == [STUDY]
    assert _completed(tmp_path, "drill-search studies delete ") == [STUDY]
