"""The benchmarks still run: each in a very small size, and what they compare with is what they say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from drill_models.build import build
from drill_models.count import count
from drill_models.hand_steps import all_steps

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "tests" / "benchmarks"


def _run(folder: Path, name: str, *words: object, code: int = 0) -> str:
    """Runs a benchmark on the embedded digits; returns what it printed."""
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DRILL_DATA": str(folder / "no-data"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_throughput(tmp_path: Path) -> None:
    out = tmp_path / "throughput.json"
    words = ["--steps", "b-cyclic/5", "--repeats", 1, "--images", 256, "--engine-epochs", 1, "--loader-workers", 0]
    _run(tmp_path, "throughput", *words, "--workers", 2, "--out", out)
    (step,) = json.loads(out.read_text())["steps"]
    assert step["ratio_min"] <= step["ratio"] <= step["ratio_max"]
    for turn in step["turns"]:
        assert turn["notebook"]["images"] == 256
        assert [run["images"] for run in turn["engine"]] == [256, 256]
        # Never at the same time.
        assert turn["notebook"]["ended"] < min(run["started"] for run in turn["engine"])


@pytest.mark.slow
def test_search_overhead(tmp_path: Path) -> None:
    out = tmp_path / "overhead.json"
    _run(tmp_path, "search_overhead", "--sizes", 5, 10, "--measured", 2, "--out", out)
    rows = json.loads(out.read_text())["sizes"]
    assert [row["size"] for row in rows] == [5, 10]
    for row in rows:
        assert sum(row["parts_ms"].values()) == pytest.approx(row["sum_ms"])
        assert min(row["parts_ms"][part] for part in ("ask", "report", "tell", "display")) > 0
    assert [path.name for path in tmp_path.iterdir()] == ["overhead.json"]


@pytest.mark.slow
def test_time_to_quality(tmp_path: Path) -> None:
    out = tmp_path / "quality.json"
    words = [
        "--minutes",
        0.4,
        "--epochs",
        1,
        "--budget",
        3000,
        "--baselines",
        "none",
        "--every",
        0.2,
        "--out",
        out,
    ]
    said = _run(tmp_path, "time_to_quality", *words, "--plot", tmp_path / "quality.png")
    content = json.loads(out.read_text())
    for name in ("plain", "drill"):
        values = [value for _, value, _ in content[name]["curve"]]
        assert values == sorted(values)
        assert content[name]["seconds"] >= 24
    assert content["drill"]["trials"]["oversized"] == 0
    assert content["plain"]["trials"]["proposed"] > 0
    assert (tmp_path / "quality.png").exists()
    # Both sides are there, so a second call only prints.
    del content["comparison"]
    again = _run(tmp_path, "time_to_quality", *words)
    assert again.splitlines()[-1] == said.splitlines()[-1]
    assert "drill-search, 0.4 minutes" in said
    assert "drill-search, 0.4 minutes" not in again
    assert "name another --out" in _run(tmp_path, "time_to_quality", *words, "--seed", 1, code=2)


@pytest.mark.slow
def test_equivalence(tmp_path: Path) -> None:
    out, lines = tmp_path / "equivalence.json", tmp_path / "lines.jsonl"
    names = ["native", "bf16"]
    words = ["--steps", "e-codes/4", "--images", 256, "--epochs", 1, "--backends", *names, "--lines", lines]
    _run(tmp_path, "equivalence", *words, "--seeds", 1)
    with lines.open("a") as file:
        file.write('{"case": {"st')  # as a killed process leaves it
    said = _run(tmp_path, "equivalence", *words, "--seeds", 2, "--out", out)
    assert f"{2 * len(names)} trainings, {len(names)} of them from earlier" in said
    (step,) = json.loads(out.read_text())["steps"]
    assert [len(runs) for runs in step["values"].values()] == [2] * len(names)


@pytest.mark.slow
def test_what_a_part_is_worth(tmp_path: Path) -> None:
    step = ROOT / "studies/best/1000.yaml"
    few: list[object] = ["--seeds", 2, "--epochs", 1]
    words: list[object] = [step, *few, "--only", "without rotation", "--lines", tmp_path / "a.jsonl"]
    said = _run(tmp_path, "ablation", *words)
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 4
    assert "without rotation" in said
    assert said.endswith(_run(tmp_path, "ablation", *words))  # nothing is trained again

    words = [step, *few, "--last", 2, "--lines", tmp_path / "s.jsonl"]
    said = _run(tmp_path, "squeeze_excite", *words, "--out", tmp_path / "s.json")
    without, with_it = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert with_it["n_params"] <= without["n_params"] == 989
    assert len(set(without["values"] + with_it["values"])) == 4
    assert said.endswith(_run(tmp_path, "squeeze_excite", *words))


@pytest.mark.slow
def test_what_recorded_curves_are_for(tmp_path: Path) -> None:
    """A small search without a pruner; its curves; and what is replayed on them."""
    words = ["--dataset", "mnist-5k", "--budget", "1500", "--trials", "16", "--epochs", "3", "--pruner", "none"]
    subprocess.run(
        [sys.executable, "-m", "search", *words, "--baselines", "none", "--no-starts", "--finalists", "0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    curves = tmp_path / "curves.json"
    assert "16 curves, 16 in" in _run(tmp_path, "record_curves", "--out", curves)
    assert "0 curves, 16 in" in _run(tmp_path, "record_curves", "--out", curves, "--append")
    nowhere = _run(tmp_path, "record_curves", "--out", tmp_path / "none.json", "--append", code=2)
    assert "is no file of this script" in nowhere
    trials = json.loads(curves.read_text())["trials"]
    assert {len(trial["accuracy"]) for trial in trials} == {3}

    out = tmp_path / "pruners.json"
    _run(tmp_path, "pruners", "--curves", curves, "--part", "test", "--replays", 3, "--out", out)
    rows = {(row["order"], row["pruner"]): row for row in json.loads(out.read_text())["rows"]}
    for order in ("search", "random"):
        none = rows[order, "none"]
        assert none["saved"] == none["lost"] == none["regret"] == 0
        assert (order, "Optuna's HyperbandPruner") in rows
    assert all(0 <= row["saved"] < 1 for row in rows.values())

    out = tmp_path / "samplers.json"
    sizes: list[object] = ["--budget", 1500, "--seeds", 2, "--trials", 4, "--workers", 1]
    _run(tmp_path, "samplers", "--curves", curves, *sizes, "--out", out)
    for row in json.loads(out.read_text())["rows"]:
        assert len(row["searches"]) == 2
        if row["case"].startswith("BudgetSampler"):
            assert [(one["wasted"], len(one["by_trained"])) for one in row["searches"]] == [(0, 4), (0, 4)]

    assert "skeleton" in _run(tmp_path, "importance", "--curves", curves)
    assert "that is too few to compare" in _run(tmp_path, "rankers", code=2)
    assert "is no file of record_curves.py" in _run(tmp_path, "pruners", "--curves", out, code=2)
    assert "there is nothing to replay" in _run(tmp_path, "pruners", "--curves", curves, "--replays", 0, code=2)


def test_the_notebooks_network_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import notebook

    images = torch.rand(3, 1, 28, 28)
    for step in all_steps():
        ours, theirs = build(step.model).eval(), notebook.Net(step.model).eval()
        assert sum(p.numel() for p in theirs.parameters()) == count(step.model).n_params
        with torch.no_grad():
            for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                other.copy_(mine)
            torch.testing.assert_close(theirs(images), ours(images))


def test_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import equivalence

    runs = [0.9940, 0.9942, 0.9938, 0.9941]
    for shift, word in ((0.0002, "within 0.03 points"), (-0.002, "differs")):
        found = equivalence.verdict(runs, [run + shift for run in runs])
        assert found["difference"] == pytest.approx(shift)
        assert found["low"] < shift < found["high"]
        assert found["verdict"] == word
    assert equivalence.verdict(runs, [0.9940, 0.9950, 0.9955, 0.9936])["verdict"] == "not significant"
    assert equivalence.verdict([0.99], [0.98])["verdict"] == "too few runs"
