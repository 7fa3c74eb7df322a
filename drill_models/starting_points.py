"""Starting points that travel with the package: networks and training of today, to be made as small as needed."""

from drill_models.shipped import shipped
from drill_models.step import Step
from drill_models.step_io import load_step


def all_starts() -> tuple[Step, ...]:
    """Every starting point, sorted by file name."""
    return tuple(load_step(path) for path in sorted(shipped("starts").glob("*.yaml")))
