"""Finding, checking and splitting data sets."""

import struct
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch

from drill_models.data import full_data, stratified_split, validation_data
from drill_models.datasets import DATASET_NAMES, DatasetFacts, dataset_facts
from drill_models.errors import DataError
from drill_models.resolve import DataSource, Resolved, raw_folder, resolve


def test_split_is_stratified_exact_and_fixed() -> None:
    labels = torch.randint(0, 7, (6001,), generator=torch.Generator().manual_seed(1))
    kept, held = stratified_split(labels, 1000)
    assert len(held) == 1000
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(6001))
    shares = torch.bincount(labels[held]) / torch.bincount(labels)
    assert float((shares - 1000 / 6001).abs().max()) < 0.001
    again = stratified_split(labels, 1000)
    assert torch.equal(held, again[1])


def test_embedded_digits_do_not_overlap() -> None:
    resolved = Resolved(dataset_facts("mnist-5k"), Path())
    search, full = validation_data(resolved), full_data(resolved)
    assert (len(search.train), len(search.held_out)) == (3334, 666)
    assert (len(full.train), len(full.held_out)) == (4000, 1000)
    assert torch.equal(torch.bincount(full.held_out.labels), torch.full((10,), 100))
    training = {bytes(p.numpy().tobytes()) for p in full.train.pixels}
    assert not any(p.numpy().tobytes() in training for p in full.held_out.pixels)
    for part in (search.train, search.held_out):
        assert all(p.numpy().tobytes() in training for p in part.pixels)


def test_normalisation_of_mnist_is_the_published_one() -> None:
    data = validation_data(Resolved(dataset_facts("mnist-5k"), Path()))
    assert (data.mean, data.std) == (0.1307, 0.3081)
    scaled = data.normalise(data.train.pixels.float())
    assert abs(float(scaled.mean())) < 0.05
    assert abs(float(scaled.std()) - 1) < 0.05


def _write_idx(file: Path, values: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">BBBB", 0, 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    file.write_bytes(header + values.astype(np.uint8).tobytes())


def _made_up(tmp_path: Path) -> Resolved:
    """A data set of 60 random pictures in EMNIST's form: transposed, labels from 1."""
    facts = DatasetFacts(
        name="emnist-letters",
        num_classes=26,
        train_size=60,
        test_size=26,
        folder="EMNIST",
        first_label=1,
        transposed=True,
    )
    random = np.random.default_rng(0)
    for files, n in ((facts.train_files, 60), (facts.test_files, 26)):
        pixels, labels = random.integers(0, 256, (n, 28, 28)), np.arange(n) % 26 + 1
        _write_idx(raw_folder(facts, tmp_path) / files[0], pixels)
        _write_idx(raw_folder(facts, tmp_path) / files[1], labels)
    return Resolved(facts, tmp_path)


def test_emnist_letters_stand_upright_and_count_from_zero(tmp_path: Path) -> None:
    resolved = _made_up(tmp_path)
    data = full_data(resolved)
    raw = np.random.default_rng(0).integers(0, 256, (60, 28, 28))
    assert np.array_equal(data.train.pixels[:, 0].numpy(), raw.transpose(0, 2, 1))
    assert data.train.labels.tolist() == [n % 26 for n in range(60)]
    assert data.mean == round(float(raw.mean()) / 255, 4)


@pytest.mark.parametrize("what", ["short", "magic", "labels", "shape"])
def test_corrupt_files_are_named(tmp_path: Path, what: str) -> None:
    resolved = _made_up(tmp_path)
    images, labels = (raw_folder(resolved.facts, tmp_path) / name for name in resolved.facts.train_files)
    broken = labels if what == "labels" else images
    content = bytearray(broken.read_bytes())
    match what:
        case "short":
            del content[-1]
        case "magic":
            content[2] = 9
        case "shape":
            content[7] = 59
        case "labels":
            content[-1] = 27
    broken.write_bytes(content)
    with pytest.raises(DataError) as caught:
        validation_data(resolved)
    assert str(broken) in str(caught.value)
    assert "corrupt" in str(caught.value)


def test_mnist_that_is_not_there_is_replaced_and_says_so(tmp_path: Path) -> None:
    resolved = resolve("mnist", DataSource(folder=tmp_path, offline=True))
    assert resolved.facts.name == "mnist-5k"
    assert resolved.instead_of_mnist is not None
    assert str(tmp_path) in resolved.instead_of_mnist


@pytest.mark.parametrize("name", [n for n in DATASET_NAMES if n not in ("mnist", "mnist-5k")])
def test_other_data_sets_say_where_to_put_the_files(tmp_path: Path, name: str) -> None:
    facts = dataset_facts(name)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        resolve(facts.name, DataSource(folder=tmp_path, offline=True))
    assert str(tmp_path / str(facts.folder) / "raw") in str(caught.value)


def test_download_that_fails_falls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    lines: list[str] = []

    def refuse(root: Path, download: bool) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nTried ...")

    monkeypatch.setattr(datasets, "MNIST", refuse)
    resolved = resolve("mnist", DataSource(folder=tmp_path, say=lines.append))
    assert resolved.facts.name == "mnist-5k"
    assert lines == [f"downloading mnist to {tmp_path}"]


def test_folder_comes_from_option_then_variable_then_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRILL_DATA", str(tmp_path / "env"))
    assert DataSource(folder=tmp_path / "option").root == tmp_path / "option"
    assert DataSource().root == tmp_path / "env"
    monkeypatch.delenv("DRILL_DATA")
    assert DataSource().root == platformdirs.user_cache_path("drill-search") / "data"


def test_real_mnist_where_it_is() -> None:
    resolved = resolve("mnist", DataSource(offline=True))
    if resolved.facts.name != "mnist":
        pytest.skip("no MNIST here; set DRILL_DATA to a folder that has it")
    search, full = validation_data(resolved), full_data(resolved)
    assert (len(search.train), len(search.held_out)) == (50_000, 10_000)
    assert (len(full.train), len(full.held_out)) == (60_000, 10_000)
    scaled = full.train.pixels.float() / 255
    assert round(float(scaled.mean()), 4) == full.mean
    assert round(float(scaled.std()), 4) == full.std
    per_label = torch.bincount(full.train.labels) / 6
    assert float((torch.bincount(search.held_out.labels) - per_label).abs().max()) <= 1


def test_a_mistyped_folder_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "dta"
    with pytest.raises(DataError, match="no such folder"):
        resolve("mnist", DataSource(folder=folder))
    assert not folder.exists()
    assert resolve("mnist-5k", DataSource(folder=folder)).facts.name == "mnist-5k"
