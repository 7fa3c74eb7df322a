"""Attributes of a study, checked: settings, skeletons, verdicts, other trainings, sessions, notes, files."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from drill_models.result import Verdict
from search.schema import attributes as attrs
from search.schema.checks import StudyFacts, Unfit, facts_of
from search.schema.models import (
    CURVE,
    ModelT,
    StoredArtifact,
    StoredFinals,
    StoredSettings,
    StoredSitting,
    first_problem,
)
from search.text import is_harmless
from spaces.skeletons import Skeleton

SETTINGS, SKELETONS, VERDICT, SITTING = "settings", "skeletons", "verdict", "sitting"

MAX_SKELETONS = 500

_NUMBERED = {
    VERDICT: re.compile(r"verdict:\d{1,9}"),
    SITTING: re.compile(r"sitting:\d{1,9}"),
    attrs.RERUN: re.compile(r"rerun:\d{1,9}:\d{1,19}"),
}
"""Names of attributes of which there are several."""


def check_attribute(key: Any, value: Any) -> None:
    """Checks a user attribute of a study; those of others are nobody's business.

    Raises:
        Unfit: It is not what this program writes.
    """
    if not isinstance(key, str):
        raise Unfit("its name is no text")
    kind = key.partition(":")[0]
    if kind in _NUMBERED and not _NUMBERED[kind].fullmatch(key):
        raise Unfit("its name has no number")
    match kind:
        case attrs.RERUN:
            _check_rerun(value)
        case "verdict":
            # A tuple is a list in JSON.
            _validated(Verdict, value, strict_json=True)
        case "sitting":
            _check_sitting(value)
        case attrs.FINALS:
            _validated(StoredFinals, value)


def check_system_attribute(key: Any, value: Any) -> None:
    """Checks what Optuna and its dashboard keep with a study.

    Raises:
        Unfit: It is not what they write.
    """
    if not isinstance(key, str):
        raise Unfit("its name is no text")
    if key.startswith("artifacts:"):
        read_artifact(value)
    elif key.startswith("dashboard:"):
        right = int if "note_ver" in key else str if "note_str" in key else None
        if right is not None and (not isinstance(value, right) or isinstance(value, bool)):
            raise Unfit("is no note")
        if right is int and abs(value) > 2**31:
            raise Unfit("is no number of a note")


def read_artifact(value: Any) -> StoredArtifact:
    """What is kept of a file.

    Raises:
        Unfit: It is not what Optuna writes.
    """
    if not isinstance(value, str) or len(value) > 10_000:
        raise Unfit("is no file's")
    try:
        return _validated(StoredArtifact, json.loads(value))
    except (ValueError, RecursionError) as error:
        raise Unfit("is no file's") from error


def read_settings_of(found: Mapping[str, Any]) -> StoredSettings:
    """The settings among a study's attributes.

    Raises:
        Unfit: They are not what this program writes.
    """
    try:
        return _validated(StoredSettings, found.get(SETTINGS))
    except Unfit as error:
        raise Unfit(f"{SETTINGS}.{error}") from error


def read_skeletons_of(found: Mapping[str, Any]) -> list[Skeleton]:
    """The skeletons among a study's attributes.

    Raises:
        Unfit: They are not what this program writes.
    """
    dumps = found.get(SKELETONS)
    if not isinstance(dumps, dict) or not 0 < len(dumps) <= MAX_SKELETONS:
        raise Unfit(f"{SKELETONS} is no mapping of names to skeletons")
    skeletons = []
    for name, dump in dumps.items():
        try:
            skeletons.append(_validated(Skeleton, dump, strict_json=True))
        except Unfit as error:
            raise Unfit(f"{SKELETONS}.{error}") from error
        if skeletons[-1].name != name:
            raise Unfit(f"{SKELETONS}: a name is not its skeleton's")
    return skeletons


def read_facts(found: Mapping[str, Any]) -> StudyFacts:
    """What the trials of a study are held to.

    Raises:
        Unfit: Settings or skeletons do not fit.
    """
    return facts_of(read_settings_of(found), read_skeletons_of(found))


def _check_rerun(value: Any) -> None:
    """A curve of another training; empty where it diverged."""
    try:
        rows = CURVE.validate_python(value)
    except (ValidationError, OverflowError) as error:
        raise Unfit(first_problem(error) if isinstance(error, ValidationError) else "is too large") from error
    if any(row[0] != i for i, row in enumerate(rows, start=1)):
        raise Unfit("its epochs are not in their order")


def _check_sitting(value: Any) -> None:
    stored = _validated(StoredSitting, value)
    words = stored.command if stored.command is not None else stored.asked.get("command")
    if not isinstance(words, list) or not all(isinstance(word, str) and is_harmless(word) for word in words):
        raise Unfit("command is no list of words")
    if not isinstance(stored.asked.get("dataset"), str):
        raise Unfit("asked.dataset is no name")
    if not isinstance(stored.asked.get("budget", {}), dict):
        raise Unfit("asked.budget is no mapping")
    try:
        began = datetime.fromisoformat(stored.began)
    except ValueError as error:
        raise Unfit("began is no time") from error
    if not 2000 <= began.year <= 9000:
        raise Unfit("began is no time")
    texts = [stored.began, stored.python, stored.system, *stored.versions, *stored.versions.values()]
    if not all(map(is_harmless, [*texts, json.dumps(stored.asked, ensure_ascii=False)])):
        raise Unfit("it holds characters that are not shown")


def _validated(model: type[ModelT], value: Any, *, strict_json: bool = False) -> ModelT:
    """The value as a model.

    Raises:
        Unfit: It is none.
    """
    try:
        if strict_json:
            return model.model_validate_json(json.dumps(value), strict=True)
        return model.model_validate(value)
    except ValidationError as error:
        raise Unfit(first_problem(error)) from error
    except (OverflowError, RecursionError, ValueError) as error:
        raise Unfit("is too large") from error
