"""Strict, safe YAML in; readable YAML out; errors that say file, key, what was got, what is allowed."""

import json
import re
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from drill_models.errors import StepError

MAX_BYTES = 1_000_000
"""A larger file is refused before it is parsed."""

MAX_NUMBER = 100
"""Characters of a number, a date or the like; 59:59:59... is one to YAML 1.1, which takes long to work out."""

MAX_DEPTH = 50
"""Levels of lists and mappings; a step needs six."""

ModelT = TypeVar("ModelT", bound=BaseModel)


# libyaml's loader is ten times faster; PyYAML may have been built without it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Base):  # type: ignore[misc]
    """Safe YAML without repeated keys; `1e-3` is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} stands twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_NUMBER and not node.tag.endswith(":str"):
            raise yaml.constructor.ConstructorError(
                None, None, f"a value of more than {MAX_NUMBER} characters is no text", node.start_mark
            )
        return super().construct_object(node, deep=deep)


def _mark(event: yaml.Event) -> Any:
    """Where an event begins; libyaml's marks are of another class than PyYAML's."""
    return event.start_mark


def _check_events(content: bytes) -> None:
    """Refuses aliases (no billion laughs), tags and deep nesting, before anything is built of the content."""
    depth = 0
    for event in yaml.parse(content, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not allowed", _mark(event))
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise yaml.constructor.ConstructorError(None, None, f"tags ({tag}) are not allowed", _mark(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {MAX_DEPTH} levels are nested", _mark(event)
            )


# YAML 1.1 reads 1e-3 as text; everybody means the number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read(path: Path, model: type[ModelT]) -> ModelT:
    """Reads one YAML file as a pydantic model, strictly: no unknown keys, no converted types.

    Raises:
        StepError: The file cannot be read, is not YAML, or is not what `model` allows.
    """
    _, text = _read_mapping(path)
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        raise StepError(f"{path}: {_first_error(error, model)}") from error


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads one YAML file that holds a mapping of plain values.

    Raises:
        StepError: The file cannot be read, is not YAML, or holds something else.
    """
    return _read_mapping(path)[0]


def _read_mapping(path: Path) -> tuple[dict[str, Any], str]:
    """The mapping of a YAML file, and the same as JSON, which only plain values have."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise StepError(f"{path}: is no file")  # a pipe, which may never end
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StepError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL
        raise StepError("the name of a file cannot be read") from error
    if len(content) > MAX_BYTES:
        raise StepError(f"{path}: is larger than {MAX_BYTES:,} bytes, so it is not a file of this tool")
    try:
        _check_events(content)
        data = yaml.load(content, Loader=_StrictLoader)
        text = json.dumps(data, allow_nan=True)
    except yaml.YAMLError as error:
        raise StepError(f"{path}: is not readable YAML: {_one_line(error)}") from error
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise StepError(f"{path}: holds something that is neither text, number, list nor mapping") from error
    if not isinstance(data, dict):
        raise StepError(f"{path}: must be a mapping of keys to values, got {_shown(data)}")
    return data, text


def schema_text(model: type[BaseModel]) -> str:
    """The JSON Schema by which editors complete and check files of a model."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(schema, indent=1) + "\n"


class _Dumper(yaml.SafeDumper):
    """Block style, but one line for what fits on one: a block of a network, an epoch."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


class _OneLine(dict[str, Any]):
    """A mapping that is written on one line."""


class _OneLineList(list[Any]):
    """A list that is written on one line."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Folding joins lines, but for those that begin with a space, which PyYAML does not read back as they were.
    folds = (len(text) > 70 or "\n" in text) and not re.search(r"^[ \t]", text, re.MULTILINE)
    style = ">" if folds else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(
    _OneLine, lambda d, v: d.represent_mapping("tag:yaml.org,2002:map", v.items(), flow_style=True)
)
_Dumper.add_representer(
    _OneLineList, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True)
)


def dump(data: dict[str, Any]) -> str:
    """YAML of plain data; lists of mappings of scalars become one line an entry."""
    return yaml.dump(
        _folded(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=False
    )


def _folded(value: Any) -> Any:
    match value:
        case dict():
            return {key: _folded(item) for key, item in value.items()}
        case list() if value and all(isinstance(item, dict) and _is_flat(item) for item in value):
            return [
                _OneLine({k: _OneLineList(v) if isinstance(v, list) else v for k, v in i.items()}) for i in value
            ]
        case list() if all(isinstance(item, int | float) for item in value):
            return _OneLineList(value)
        case list():
            return [_folded(item) for item in value]
    return value


def _is_flat(mapping: dict[str, Any]) -> bool:
    def short(value: Any) -> bool:
        return not isinstance(value, dict) and not (isinstance(value, str) and len(value) > 40)

    return all(
        all(short(v) for v in value) if isinstance(value, list) else short(value) for value in mapping.values()
    )


# --- errors ----------------------------------------------------------------------------------


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else str(problem)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _first_error(error: ValidationError, model: type[BaseModel]) -> str:
    """One sentence for the first thing that is wrong, with its dotted key."""
    found = error.errors(include_url=False)
    # A key that is not known is often the misspelling of one that is then missing: name it first.
    first = next((e for e in found if e["type"] == "extra_forbidden"), found[0])
    schema = _schema(model)
    key, parent = _dotted(first["loc"], schema)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    got = _shown(first["input"])
    match first["type"]:
        case "extra_forbidden":
            allowed = ", ".join(parent.get("properties", {}))
            return f"{key} is not a known key; allowed here: {allowed}{more}"
        case "missing":
            return f"{key} is missing{more}"
        case "union_tag_not_found":
            choices = ", ".join(parent.get("discriminator", {}).get("mapping", {}))
            return f"{key}.kind is missing; allowed: {choices}{more}"
        case "union_tag_invalid":
            expected = first.get("ctx", {}).get("expected_tags", "")
            return f"{key}.kind must be one of {expected}, got {_shown(first.get('ctx', {}).get('tag'))}{more}"
        case "value_error":
            message = first["msg"].removeprefix("Value error, ")
            # Checks over several keys name their own key and value.
            if message.startswith("must "):
                return f"{key} {message}, got {got}{more}"
            return f"{key}.{message}{more}" if key else f"{message}{more}"
    message = first["msg"].replace("Input should be", "must be")
    message = message[0].lower() + message[1:]
    return f"{key} {message}, got {got}{more}" if key else f"{message}, got {got}{more}"


def _dotted(location: tuple[int | str, ...], schema: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`model.blocks[3].kernel` of a pydantic location, and the schema of the mapping that holds the key.

    Pydantic puts the chosen variant of a union into the location; a reader's file has no such key.
    """
    key = ""
    node, parent = schema, schema

    def follow(where: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in where:
            where = schema["$defs"][where["$ref"].rsplit("/", 1)[1]]
        for option in where.get("anyOf", []):
            if option.get("type") != "null":
                return follow(option)
        return where

    for part in location:
        node = follow(node)
        if isinstance(part, int):
            key += f"[{part}]"
            parent, node = node, node.get("items", {})
            continue
        mapping = node.get("discriminator", {}).get("mapping", {})
        if part in mapping and part not in node.get("properties", {}):
            node = {"$ref": mapping[part]}
            continue
        key += f".{part}" if key else part
        parent, node = node, node.get("properties", {}).get(part, {})
    node = follow(node)
    return key, node if "discriminator" in node else parent
