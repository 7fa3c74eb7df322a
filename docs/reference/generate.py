"""Writes the reference pages from the code: `python docs/reference/generate.py`. A test holds them current."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from drill_models.step_io import schema_text
from search.cli import main  # noqa: F401  (registers the commands)
from search.cli.app import app

MODULES = (
    "drill_models.step",
    "drill_models.train_config",
    "drill_models.step_io",
    "drill_models.count",
    "drill_models.build",
    "drill_models.train",
    "spaces.budget",
    "spaces.space",
    "spaces.drill",
    "search.sampling.budget",
    "search.pruning.pruners",
    "search.evaluation.statistics",
)
"""What other programs may use."""
LEFT_OUT = ("help", "install_completion", "show_completion")


def commands() -> Iterator[str]:
    """Every command with its options."""
    yield "# Commands\n\nGenerated from the program; `drill-search COMMAND --help` says the same.\n"
    group: Any = typer.main.get_command(app)
    yield from command("drill-search", group)
    for name, each in sorted(group.commands.items()):
        yield from command(f"drill-search {name}", each)
        for inner, other in sorted(getattr(each, "commands", {}).items()):
            yield from command(f"drill-search {name} {inner}", other)


def command(name: str, each: Any) -> Iterator[str]:
    """One command."""
    yield f"## {name}\n\n{(each.help or '').strip()}\n"
    rows = []
    for parameter in each.params:
        if parameter.name in LEFT_OUT or getattr(parameter, "hidden", False):
            continue
        names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        if parameter.param_type_name == "argument":
            names = f"`{parameter.name.upper()}`"
        default = parameter.default
        shown = "" if default is None or default is False or default == () or callable(default) else f"`{default}`"
        rows.append(f"| {names} | {getattr(parameter, 'help', '') or ''} | {shown} |")
    if rows:
        yield "| option | what it does | default |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def step_file() -> Iterator[str]:
    """Every key of a step file, from the JSON Schema."""
    schema = json.loads(schema_text())
    yield (
        "# Step files\n\nGenerated from the JSON Schema, which `drill-search schema` prints. Accuracies are "
        "fractions, times are seconds, angles degrees, translations pixels.\n"
    )
    yield from part("Step", schema)
    for name, each in sorted(schema["$defs"].items()):
        yield from part(name, each)


def part(name: str, schema: dict[str, Any]) -> Iterator[str]:
    """One part of a step file."""
    if "properties" not in schema:
        return
    yield f"## {name}\n\n{schema.get('description', '')}\n"
    required = set(schema.get("required", ()))
    yield "| key | type | meaning | default |\n|---|---|---|---|"
    for key, each in schema["properties"].items():
        default = (
            "required" if key in required else f"`{json.dumps(each['default'])}`" if "default" in each else ""
        )
        yield f"| `{key}` | {kind(each)} | {each.get('description', '')} | {default} |"
    yield ""


def kind(schema: dict[str, Any]) -> str:
    """A type in words, with its limits."""
    if "$ref" in schema:
        name = schema["$ref"].split("/")[-1]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(kind(each) for each in schema[several] if each.get("type") != "null")
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    said = [f"{word} {schema[key]}" for key, word in limits.items() if key in schema]
    inner = f" of {kind(schema['items'])}" if "items" in schema else ""
    return " ".join([str(schema.get("type", "")) + inner, *said]).strip()


def python() -> Iterator[str]:
    """The modules that other programs may use."""
    yield "# Python\n\nWhat other programs may use. Shapes, units, errors and sources are in the docstrings.\n"
    for name in MODULES:
        yield f"::: {name}\n"


PAGES = {"commands.md": commands, "step-file.md": step_file, "python.md": python}


def text(page: str) -> str:
    """A page's text."""
    return "\n".join(PAGES[page]()).rstrip() + "\n"


if __name__ == "__main__":
    for name in PAGES:
        (Path(__file__).parent / name).write_text(text(name), encoding="utf-8")
