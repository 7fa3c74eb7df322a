"""Another data set under a data set's file names is noticed."""

import os
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from drill_models import checksums
from drill_models.checksums import OWN_DATA, check_files, fingerprint, md5_of
from drill_models.data import full_data
from drill_models.datasets import dataset_facts
from drill_models.errors import DataError
from drill_models.resolve import DataSource, Resolved, raw_folder, resolve


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv(OWN_DATA, raising=False)


def _strange(root: Path, name: str) -> Path:
    """Files of the right sizes and headers, which are not the published ones."""
    facts = dataset_facts(name)  # type: ignore[arg-type]
    raw = raw_folder(facts, root)
    raw.mkdir(parents=True)
    for files, n in ((facts.train_files, facts.train_size), (facts.test_files, facts.test_size)):
        for file, shape in zip(files, ((n, 28, 28), (n,)), strict=True):
            header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
            (raw / file).write_bytes(header + bytes(int(np.prod(shape))))
    return raw


def test_strange_files_are_no_mnist_unless_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = _strange(tmp_path, "mnist")
    source = DataSource(folder=tmp_path, offline=True)
    with pytest.raises(DataError) as caught:
        resolve("mnist", source)
    assert all(str(raw / name) in str(caught.value) for name in dataset_facts("mnist").train_files)
    assert len(checksums.wrong_files(dataset_facts("mnist"), raw)) == 4  # as doctor asks
    with pytest.raises(DataError) as caught:
        full_data(Resolved(dataset_facts("mnist"), tmp_path))
    assert str(raw / dataset_facts("mnist").test_files[0]) in str(caught.value)
    monkeypatch.setenv(OWN_DATA, "1")
    assert resolve("mnist", source).facts.name == "mnist"


def test_a_known_file_of_another_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = _strange(tmp_path, "kmnist")
    facts = dataset_facts("kmnist")
    check_files(facts, raw, train=True)
    labels = raw / facts.train_files[1]
    monkeypatch.setitem(checksums._KNOWN, md5_of(labels), ("mnist", "train-labels"))
    with pytest.raises(DataError, match="mnist") as caught:
        check_files(facts, raw, train=True)
    assert str(labels) in str(caught.value)
    assert str(raw / facts.train_files[0]) not in str(caught.value)


def test_a_sum_is_remembered_until_size_or_time_change(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    first = md5_of(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert md5_of(file) == first  # the limit that the docs name
    os.utime(file, ns=(2, 2))
    assert md5_of(file) != first


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    raw = _strange(tmp_path, "kmnist")
    facts = dataset_facts("kmnist")
    before = fingerprint(facts, raw, test=True)
    labels = raw / facts.test_files[1]
    labels.write_bytes(labels.read_bytes()[:-1] + b"\1")
    os.utime(labels, ns=(1, 1))
    assert fingerprint(facts, raw, test=True) != before
