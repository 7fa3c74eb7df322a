"""Options from a file: `--config search.yaml`, else `[tool.drill-search]` of the current folder's pyproject.toml.

Top-level keys are options of the search, and those of data and training hold for every command that has them; a
mapping named as a command holds options of that command. Names are those of the options, with - or _
(`starts: false`, not `no-starts`). What is typed wins.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import TyperException

from drill_models.errors import DrillError
from search.text import check_plain, in_digits

PROJECT = Path("pyproject.toml")
TABLE = "tool.drill-search"
FILES = ("out", "log")
"""Options that are files to write."""
STORAGES = ("storage", "to")
"""Options that are database URLs."""
TYPED = ("address",)
"""Options that are typed alone: a file may be a stranger's, and a cluster's answers are unpickled here."""
EVERYWHERE = ("data", "offline", "device", "engine", "precision", "workers")
"""Options of the search that hold for other commands, too. `storage` does not: they use the last one, and with a
step file `confirm` and `export` use none."""
LEFT_OUT = ("config", "version", "help", "install_completion", "show_completion")
"""Options that stand in no file."""


def read_config(file: Path | None, context: typer.Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a file: of the search, and by their names those of the commands, each as a `default_map`.

    Args:
        file: YAML, or None for pyproject.toml where there is one.
        context: Of the search, whose command knows all options.

    Raises:
        DrillError: The file cannot be read, or names what no command has.
    """
    where, content = _yaml(file) if file is not None else _project()
    return _of_command(content, context.command, where, context)


def _of_command(
    content: Mapping[str, Any], command: Any, where: str, context: typer.Context
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a command, and of those below it. They are apart, because an option may have a command's name."""
    below = getattr(command, "commands", {})
    # `baselines` is both a command and an option of the search.
    sections = {
        key: value or {} for key, value in content.items() if key in below and isinstance(value, dict | None)
    }
    options = {key: value for key, value in content.items() if key not in sections}
    own = _named(options, command, where, context)
    # What is said of `studies` is said of its commands, too.
    shared = own if command is not context.command else {key: own[key] for key in EVERYWHERE if key in own}
    found = {}
    for name, each in below.items():
        known = {parameter.name for parameter in each.params}
        found[name] = {key: value for key, value in shared.items() if key in known}
        if name in sections or hasattr(each, "commands"):
            more, further = _of_command(sections.get(name, {}), each, f"{where}: {name}", context)
            found[name] |= more | further
    return own, found


def _yaml(file: Path) -> tuple[str, dict[str, Any]]:
    from drill_models.yaml_io import read_mapping

    return str(file), read_mapping(file)


def _project() -> tuple[str, dict[str, Any]]:
    where = f"{PROJECT} [{TABLE}]"
    try:
        content = tomllib.loads(PROJECT.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return where, {}
    except (OSError, ValueError) as error:
        raise DrillError(f"{PROJECT}: cannot be read: {str(error).splitlines()[0]}") from error
    tools = content.get("tool", {})
    section = tools.get("drill-search", {}) if isinstance(tools, dict) else {}
    if not isinstance(section, dict):
        raise DrillError(f"{where}: must be a table of options")
    return where, section


def _named(content: Mapping[str, Any], command: Any, where: str, context: typer.Context) -> dict[str, Any]:
    """Values by the names of a command's parameters.

    Raises:
        DrillError: There is no such option, or it cannot have the value.
    """
    known = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and parameter.name not in LEFT_OUT
    }
    found = {}
    for key, value in content.items():
        name = str(key).replace("_", "-")
        if name not in known:
            meant = get_close_matches(name, known, n=1)
            allowed = ", ".join(sorted(set(known) - set(TYPED)))
            hint = f"did you mean {meant[0]}?" if meant else f"allowed: {allowed}"
            raise DrillError(f"{where}: there is no option {key}; {hint}")
        parameter = known[name]
        if parameter.name in TYPED:
            raise DrillError(
                f"{where}: {key} is named on the command line alone, because a cluster can run anything here"
            )
        if isinstance(value, dict):
            raise DrillError(f"{where}: {key} must be a value or a list, got a mapping")
        if isinstance(value, bool) and not getattr(parameter, "is_flag", False):
            raise DrillError(f"{where}: {key} must not be {str(value).lower()}")
        if parameter.multiple and not isinstance(value, list):
            value = [value]
        try:
            if parameter.callback is None:  # else it would act
                parameter.process_value(context, value)
        except (TyperException, TypeError) as error:
            raise DrillError(f"{where}: {key}: {in_digits(getattr(error, 'message', str(error)))}") from error
        for each in value if isinstance(value, list) else [value]:
            check_plain(f"{where}: {key}", str(each))
        if parameter.name in STORAGES and not _is_a_file(str(value)):
            raise DrillError(
                f"{where}: {key}: a database server is named on the command line alone, because one may ask for "
                "passwords and files of this machine"
            )
        for path in _written(parameter.name, value):
            if not path.resolve().is_relative_to(Path.cwd().resolve()):
                raise DrillError(f"{where}: {key} leads out of the current folder; name it on the command line")
        found[parameter.name] = value
    return found


def _is_a_file(storage: str) -> bool:
    from search.storage.url import parse

    return parse(storage).get_backend_name() == "sqlite"


def _written(name: str, value: Any) -> list[Path]:
    """The files that an option has written. A file of options may be a stranger's, who may not choose any file.

    The folder of data sets is left out: it usually is elsewhere, and nothing there is written over.
    """
    if name in FILES:
        return [Path(str(value))]
    if name in STORAGES:
        from search.storage.url import parse, sqlite_file

        file = sqlite_file(parse(str(value)))
        return [] if file is None else [file]
    return []
