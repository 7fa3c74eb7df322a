"""The entry point: checks that this program's packages are its own, then calls the command line.

`search` and `spaces` are names that others use, too. A `search.py` of the user's on PYTHONPATH comes before ours.
The package `spaces` of PyPI writes its files over ours. Python then ends in a traceback that names neither.
So this module, whose name nobody else has, looks first. It imports only the standard library.
"""

import base64
import hashlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

PACKAGES = ("search", "spaces", "drill_models")
HERE = Path(__file__).resolve().parent
NAME = "drill-search"


def problem(*, every_file: bool = False) -> str | None:
    """What is wrong with the packages, and what to do, in a sentence; None where all are this program's own.

    Args:
        every_file: Compare each module with what was installed, not the packages' first files alone.
    """
    for name in PACKAGES:
        ours, found = HERE / name / "__init__.py", _found(name)
        if found is None or not ours.is_file():
            return f"the package {name} is missing beside {Path(__file__)}: {_install_anew()}"
        if found != ours:
            return f"{found} hides the package {name} of {NAME}: {_remedy(found, name)}"
    for file in _overwritten(every_file=every_file):
        return f"{file} is not {NAME}'s own: {_remedy(file, file.relative_to(HERE).parts[0])}"
    return None


def _found(name: str) -> Path | None:
    """The file that Python would import a package from."""
    spec = PathFinder.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve()


def _overwritten(*, every_file: bool) -> Iterator[Path]:
    """Files that are not as they were installed. Of an installation that leads to a folder, none is known."""
    for path, size, digest in _installed():
        if path.parts[:1] and path.parts[0] in PACKAGES and path.suffix == ".py":
            if every_file or (path.name == "__init__.py" and len(path.parts) == 2):
                content = (HERE / path).read_bytes() if (HERE / path).is_file() else b""
                if len(content) != size or _digest(content) != digest:
                    yield HERE / path


def _installed() -> Iterator[tuple[Path, int, str]]:
    """Path, size and checksum of each file that was installed beside this one."""
    try:
        record = distribution(NAME)
    except PackageNotFoundError:
        return
    for file in record.files or ():
        if file.hash is not None and file.size is not None and file.hash.mode == "sha256":
            if Path(str(record.locate_file(file))).resolve().is_relative_to(HERE):
                yield Path(file), file.size, file.hash.value


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def _remedy(file: Path, name: str) -> str:
    """What to do about a file that stands in the way."""
    owner = _owner(file)
    if owner is not None:
        return f"it belongs to the package {owner}: pip uninstall {owner}, then {_install_anew()}"
    if file.is_relative_to(HERE):
        return _install_anew()
    folders = [os.path.realpath(each) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    if any(file.is_relative_to(each) for each in folders):
        return "rename it, or take its folder from PYTHONPATH"
    return f"rename it, or use an environment without {name} for {NAME}"


def _owner(file: Path) -> str | None:
    """The package that installed a file, if another did."""
    for other in distributions():
        if other.name != NAME and _has(other, file):
            return str(other.name)
    return None


def _has(other: Distribution, file: Path) -> bool:
    return any(
        each.name == file.name and Path(str(other.locate_file(each))).resolve() == file
        for each in other.files or ()
    )


def _install_anew() -> str:
    return f"pip install --force-reinstall --no-deps {NAME}"


def main() -> None:
    """Entry point of the console script."""
    wrong = problem()
    if wrong is not None:
        print(wrong, file=sys.stderr)
        sys.exit(2)
    from search.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
