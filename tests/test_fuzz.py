"""Damaged files give one sentence each: some thousand of the million inputs of `python -m tests.fuzz`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fuzz
from tests.programs import ROOT


def test_damaged_files_are_refused_in_one_sentence() -> None:
    ends, wrong, megabytes = fuzz.fuzz(0, 3_000, seed=1)
    assert wrong == []
    assert sum(ends.values()) == 3_000
    # Were all of them refused, the damage would be too great to find anything behind the reader.
    assert all(ends[f"{family} {end}"] > 50 for family in fuzz.FAMILIES for end in ("read", "refused"))
    assert megabytes > 0  # of this process, which other tests share; the script below has its own


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
)
def test_any_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    for family in ("step", "skeleton"):
        assert fuzz.outcome(family, path) == "refused"
    assert fuzz.outcome("options", path) in ("refused", "read")


def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        raise IndexError("string index out of range")

    monkeypatch.setattr(fuzz, "load_step", broken)
    ends, wrong, _ = fuzz.fuzz(0, 20, seed=0)
    assert len(wrong) == ends["step WRONG"] > 0
    assert "--seed 0 --only" in wrong[0]
    assert "IndexError: string index out of range" in wrong[0]


@pytest.mark.slow
def test_the_script_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    for inputs in (2_000, 4_000):
        ended = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--inputs", str(inputs), "--out", str(out)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        found = json.loads(out.read_text())
        assert sum(found["ends"].values()) == inputs
        assert 0 < found["megabytes"] < 500


@pytest.mark.parametrize("tag", ["!!int ''", "!!timestamp 1", "!!python/object:os.system {}", "! x"])
def test_tags_are_refused(tmp_path: Path, tag: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"name: {tag}\n")
    assert fuzz.outcome("step", path) == "refused"
