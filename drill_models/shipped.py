"""Where the step files lie that travel with the package; knows their names, and nothing of what is in them."""

from pathlib import Path


def shipped(name: str) -> Path:
    """The folder of that name: inside an installed package, or in `studies` of a checkout."""
    here = Path(__file__).parent
    packaged = here / name
    return packaged if packaged.is_dir() else here.parent / "studies" / name


def ladders() -> dict[str, tuple[Path, ...]]:
    """The files of each ladder of hand steps, first step first, by the ladders' names in order."""
    folders = sorted(path for path in shipped("drills").iterdir() if path.is_dir())
    return {
        folder.name: tuple(sorted(folder.glob("*.yaml"), key=lambda path: int(path.stem))) for folder in folders
    }
