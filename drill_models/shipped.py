"""Where the step files lie that travel with the package."""

from pathlib import Path


def shipped(name: str) -> Path:
    """The folder of that name: inside an installed package, or in `studies` of a checkout."""
    here = Path(__file__).parent
    packaged = here / name
    return packaged if packaged.is_dir() else here.parent / "studies" / name
