"""Step files: YAML <-> `Step`, and the JSON Schema that editors complete and check them by."""

import os
from pathlib import Path
from typing import Any

from drill_models import files, yaml_io
from drill_models.count import count
from drill_models.errors import StepError
from drill_models.step import Step

SCHEMA_FILE = "step.schema.json"


def load_step(path: Path) -> Step:
    """Reads a step file.

    Raises:
        StepError: One sentence with file, dotted key, what it holds and what is allowed.
    """
    step = yaml_io.read(path, Step)
    counted = count(step.model).n_params
    if step.result is not None and step.result.n_params != counted:
        raise StepError(
            f"{path}: result.n_params must be the model's count {counted:,}, got {step.result.n_params:,}"
        )
    return step


def dump_step(step: Step, schema: str) -> str:
    """A step as YAML text.

    Args:
        step: The step.
        schema: Where editors find the JSON Schema: a path relative to the file, or an address.
    """
    data = step.model_dump(mode="json", exclude_none=True)
    for block in data["model"]["blocks"]:
        for switch in ("separable", "residual"):
            if block.get(switch) is False:
                del block[switch]
    return f"# yaml-language-server: $schema={schema}\n{yaml_io.dump(data)}"


def save_step(path: Path, step: Step) -> None:
    """Writes a step file, whole or not at all.

    The file names the nearest `step.schema.json` in its folder or in the two above it; where there is
    none, one is written beside it.

    Raises:
        DrillError: The file cannot be written.
    """
    schema = next(
        (f / SCHEMA_FILE for f in list(path.absolute().parents)[:3] if (f / SCHEMA_FILE).is_file()), None
    )
    if schema is None:
        schema = path.absolute().parent / SCHEMA_FILE
        files.write_text(schema, schema_text())
    relative = Path(os.path.relpath(schema, path.absolute().parent)).as_posix()
    files.write_text(path, dump_step(step, relative))


def schema_text() -> str:
    """The JSON Schema of step files."""
    return yaml_io.schema_text(Step)


def as_document(step: Step) -> dict[str, Any]:
    """A step as plain values, as in its file but with every default."""
    return step.model_dump(mode="json", exclude_none=True)
