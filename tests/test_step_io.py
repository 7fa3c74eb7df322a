"""Step files: strict reading, errors that help, whole writes, and the JSON Schema."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drill_models import files, hand_steps, yaml_io
from drill_models.errors import DrillError, StepError
from drill_models.step import ModelConfig, Step, Target
from drill_models.step_io import SCHEMA_FILE, load_step, save_step, schema_text
from tests.strategies import models, training

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "studies").glob("drills/*/*.yaml"))


def test_committed_schema_is_current() -> None:
    assert (ROOT / "studies" / SCHEMA_FILE).read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_hand_steps_name_and_keep_the_schema(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = text.splitlines()[0].partition("$schema=")[2]
    schema = json.loads((file.parent / named).resolve().read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema)


def test_hand_steps_state_their_caveats() -> None:
    steps = {step.name: step for step in hand_steps.all_steps()}

    def kinds(name: str) -> set[str]:
        result = steps[name].result
        assert result is not None
        return {caveat.kind for caveat in result.caveats}

    assert all("selected-on-test" in kinds(name) for name in steps)
    assert "scheduler-never-stepped" in kinds("a-runs 5")
    assert "misreported" in kinds("b-cyclic 5")
    assert {name for name in steps if "reconstructed" in kinds(name)} == {f"c-under-20k {n}" for n in (1, 2, 3, 4)}
    assert all(len(step.analysis) > 80 and step.source is not None for step in steps.values())


def test_hand_steps_rotate_as_published() -> None:
    for step in hand_steps.all_steps():
        augment = step.training.augment
        assert augment is None or (augment.interpolation == "nearest" and augment.fill == 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(model=models(), which=st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 2)))
def test_any_step_comes_back_as_it_was(tmp_path: Path, model: ModelConfig, which: tuple[int, int, int]) -> None:
    step = Step(
        name="any: 'step' # 1",
        provenance="own",
        dataset="mnist",
        target=Target(purpose="x " * 80 + "\nand: more", accuracy=0.99, max_params=1, epochs=1),
        model=model,
        training=training(*which),
    )
    file = tmp_path / "s.yaml"
    save_step(file, step)
    assert load_step(file) == step


@pytest.mark.parametrize(
    "text", ["a" * 80 + "\n  indented\nnot", "\tx\n" * 30, "x\n\n\ny", "x \n" * 40, " " * 90 + "x"]
)
def test_any_text_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    step = hand_steps.ladder("e-codes")[3].model_copy(update={"analysis": text})
    save_step(tmp_path / "s.yaml", step)
    assert load_step(tmp_path / "s.yaml").analysis == text


def _broken(tmp_path: Path, old: str, new: str) -> str:
    text = (ROOT / "studies/drills/b-cyclic/5.yaml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "broken.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(StepError) as caught:
        load_step(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kernel: 3", "kernel: 4", "model.blocks[0].kernel must be odd, got 4"),
        ("channels: 10", "channels: ten", 'model.blocks[0].channels must be a valid integer, got "ten"'),
        ("channels: 10", "channels: '10'", 'model.blocks[0].channels must be a valid integer, got "10"'),
        ("kind: pool", "kind: poool", "model.blocks[2].kind must be one of 'conv', 'pool', got \"poool\""),
        ("max_params", "max_parms", "target.max_parms is not a known key; allowed here: purpose, accuracy"),
        ("  head:", "  dropot: 1\n  head:", "model.dropot is not a known key; allowed here: num_classes"),
        ("n_params: 6750", "n_params: 6751", "result.n_params must be the model's count 6,750, got 6,751"),
        ("rate: 0.05", "rate: 2", "model.dropout.rate must be less than 1, got 2"),
        ("momentum: 0.9", "momentum: true", "training.optimizer.momentum must be a valid number, got true"),
        ("kind: onecycle", "kind: twocycle", "training.schedule.kind must be one of"),
        ("name: b-cyclic 5", "name: [1", "is not readable YAML"),
        ("  purpose:", "  accuracy: 1\n  purpose:", "key 'accuracy' stands twice"),
        ("dataset: mnist", "dataset: emnist-letters", "model.num_classes must be at least 26"),
        ("dataset: mnist", "dataset: imagenet", "dataset must be 'mnist'"),
    ],
)
def test_errors_say_key_got_and_allowed(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in _broken(tmp_path, old, new)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- 1\n- 2\n",
        b"a: &a [1]\nb: *a\n",
        b"\xff\xfe\x00",
        b"a: !!python/object:os.system {}\n",
        b"[" * 5000,
    ],
)
def test_strange_files_are_step_errors(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "strange.yaml"
    file.write_bytes(content)
    with pytest.raises(StepError):
        load_step(file)


def test_large_files_are_not_parsed(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * (yaml_io.MAX_BYTES + 1))
    with pytest.raises(StepError, match="larger than 1,000,000 bytes"):
        load_step(file)


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", "1E-3"])
def test_numbers_as_people_write_them(tmp_path: Path, text: str) -> None:
    original = (ROOT / "studies/drills/a-runs/2.yaml").read_text(encoding="utf-8")
    file = tmp_path / "s.yaml"
    file.write_text(original.replace("lr: 0.01", f"lr: {text}"), encoding="utf-8")
    assert load_step(file).training.optimizer.lr == 0.001


def test_schema_is_written_beside_the_first_export(tmp_path: Path) -> None:
    step = hand_steps.ladder("e-codes")[3]
    save_step(tmp_path / "a" / "one.yaml", step)
    assert (tmp_path / "a" / SCHEMA_FILE).is_file()
    save_step(tmp_path / "a" / "b" / "two.yaml", step)
    assert not (tmp_path / "a" / "b" / SCHEMA_FILE).exists()
    first = (tmp_path / "a" / "b" / "two.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../{SCHEMA_FILE}"


def test_write_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.yaml"
    files.write_text(file, "before")

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DrillError, match="No space left on device"):
        files.write_text(file, "after")
    assert file.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x.yaml"]


def test_written_files_have_usual_rights(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "x")
    (tmp_path / "y").write_text("y")
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == stat.S_IMODE((tmp_path / "y").stat().st_mode)


def test_choose_names_ladders_and_steps() -> None:
    def names(*words: str) -> list[str]:
        return [step.name for step in hand_steps.choose(words)]

    assert len(names("all")) == 23
    assert names("none") == []
    assert names("b-cyclic/5", "b-cyclic/5") == ["b-cyclic 5"]
    assert names("e-codes") == [f"e-codes {n}" for n in (1, 2, 3, 4)]
    for wrong in ("nope", "a-runs/6", "a-runs/0", "a-runs/x"):
        with pytest.raises(StepError, match="hand step "):
            hand_steps.choose([wrong])
