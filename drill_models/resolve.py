"""Finds a data set's files, or has torchvision download them. No torch until something is downloaded."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from drill_models.checksums import check_files, fingerprint
from drill_models.datasets import DatasetFacts, DatasetName, dataset_facts
from drill_models.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where data sets are looked for.

    Attributes:
        folder: torchvision's root; None for `DRILL_DATA`, else the user's cache directory.
        offline: Never download.
        say: Called with one line when a download starts.
    """

    folder: Path | None = None
    offline: bool = False
    say: Callable[[str], None] = lambda line: None

    @property
    def root(self) -> Path:
        """The folder that is looked in.

        Raises:
            DataError: `DRILL_DATA` is a URL.
        """
        if self.folder is not None:
            return self.folder
        named = os.environ.get("DRILL_DATA")
        if named and "://" in named:  # it may hold a password, and is not repeated
            raise DataError("DRILL_DATA names a folder, not a URL")
        return Path(named) if named else platformdirs.user_cache_path("drill-search") / "data"


@dataclass(frozen=True)
class Resolved:
    """A data set that can be read.

    Attributes:
        facts: Which one it is.
        root: The folder its files lie in.
        instead_of_mnist: Why MNIST itself could not be had, where the embedded digits stand in for it.
    """

    facts: DatasetFacts
    root: Path
    instead_of_mnist: str | None = None

    def fingerprint(self, *, test: bool = False) -> str:
        """A short digest of the training files, and of the test files if asked for."""
        return fingerprint(self.facts, raw_folder(self.facts, self.root), test=test)


def resolve(name: DatasetName, source: DataSource) -> Resolved:
    """Finds a data set's files, downloading them where they are absent.

    MNIST that can be neither found nor downloaded is replaced by the embedded 5,000 digits.

    Raises:
        DataError: Any other data set is neither there nor to be downloaded, or the folder that was named for it
            does not exist: it may be mistyped. Or a file is not the published one.
    """
    facts = dataset_facts(name)
    if facts.folder is not None and source.folder is not None and not source.folder.is_dir():
        raise DataError(
            f"--data {source.folder}: there is no such folder; make it first to have {name} downloaded"
        )
    if facts.folder is None or is_present(facts, source.root):
        check_files(facts, raw_folder(facts, source.root), train=True)
        return Resolved(facts, source.root)
    try:
        _download(facts, source)
    except DataError as error:
        if name == "mnist":
            return Resolved(dataset_facts("mnist-5k"), source.root, instead_of_mnist=str(error))
        raise
    return Resolved(facts, source.root)


def resolve_itself(name: DatasetName, source: DataSource, purpose: str) -> Resolved:
    """Finds a data set's files, and lets nothing stand in for them.

    Args:
        name: Which.
        source: Where it is looked for.
        purpose: What needs it.

    Raises:
        DataError: It is not to be had.
    """
    resolved = resolve(name, source)
    if resolved.facts.name != name:
        raise DataError(f"{purpose} needs {name}: {resolved.instead_of_mnist}")
    return resolved


def raw_folder(facts: DatasetFacts, root: Path) -> Path:
    """The folder that holds a data set's idx files, in torchvision's layout."""
    return root / (facts.folder or "") / "raw"


def is_present(facts: DatasetFacts, root: Path) -> bool:
    """Whether a data set's files lie below a folder.

    Raises:
        DataError: The folder cannot be read.
    """
    names = (*facts.train_files, *facts.test_files)
    try:
        return all((raw_folder(facts, root) / name).is_file() for name in names)
    except OSError as error:
        raise DataError(f"{raw_folder(facts, root)} cannot be read: {error.strerror}") from error


def _download(facts: DatasetFacts, source: DataSource) -> None:
    where = f"put torchvision's files in {raw_folder(facts, source.root)}, or name another folder with --data"
    if source.offline:
        raise DataError(f"{facts.name} is not in {source.root} and downloads are off (--offline); {where}")
    source.say(f"downloading {facts.name} to {source.root}")
    # Imported here, because torchvision takes seconds to import and only downloads need it.
    from torchvision import datasets

    try:
        match facts.name:
            case "mnist":
                datasets.MNIST(source.root, download=True)
            case "fashion-mnist":
                datasets.FashionMNIST(source.root, download=True)
            case "kmnist":
                datasets.KMNIST(source.root, download=True)
            case "emnist-digits" | "emnist-letters" | "emnist-balanced":
                datasets.EMNIST(source.root, split=facts.name.removeprefix("emnist-"), download=True)
            case _:
                raise ValueError(f"{facts.name} is not downloaded")
    except (OSError, RuntimeError) as error:
        if isinstance(error, PermissionError):
            reason = f"{source.root} cannot be written to"
        else:
            reason = "it could not be downloaded"
        raise DataError(f"{facts.name} is not in {source.root} and {reason}; {where}") from error
