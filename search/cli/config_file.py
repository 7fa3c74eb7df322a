"""Options from a file: `--config search.yaml`, else `[tool.drill-search]` of the current folder's pyproject.toml.

Top-level keys are options of the search; a mapping named as a command holds options of that command. Names are
those of the options, with - or _. What is typed wins.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from drill_models.errors import DrillError
from drill_models.yaml_io import read_mapping

PROJECT = Path("pyproject.toml")
TABLE = "tool.drill-search"


def read_config(file: Path | None, context: typer.Context) -> dict[str, Any]:
    """The options of a file, as click's `default_map`.

    Args:
        file: YAML, or None for pyproject.toml where there is one.
        context: Of the search, whose command knows all options.

    Raises:
        DrillError: The file cannot be read, or names what no command has.
    """
    where, content = (str(file), read_mapping(file)) if file is not None else _project()
    commands = getattr(context.command, "commands", {})
    found: dict[str, Any] = {}
    for key, value in content.items():
        # `baselines` is both a command and an option of the search.
        if key in commands and isinstance(value, dict):
            found[key] = _named(value, commands[key], f"{where}: {key}")
        else:
            found |= _named({key: value}, context.command, where)
    return found


def _project() -> tuple[str, dict[str, Any]]:
    where = f"{PROJECT} [{TABLE}]"
    try:
        content = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return where, {}
    except (OSError, ValueError) as error:
        raise DrillError(f"{PROJECT}: cannot be read: {str(error).splitlines()[0]}") from error
    section = content.get("tool", {}).get("drill-search", {})
    if not isinstance(section, dict):
        raise DrillError(f"{where}: must be a table of options")
    return where, section


def _named(content: Mapping[str, Any], command: Any, where: str) -> dict[str, Any]:
    """Values by the names of a command's parameters."""
    known = {
        option.removeprefix("--"): parameter.name
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and parameter.name not in ("config", "help")
    }
    found = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in known:
            allowed = ", ".join(
                sorted(option for option in known if not option.startswith(("no-", "install", "show-")))
            )
            raise DrillError(f"{where}: there is no option {key}; allowed: {allowed}")
        if isinstance(value, dict):
            raise DrillError(f"{where}: {key} must be a value or a list, got a mapping")
        found[known[name]] = value
    return found
