"""The studies of a storage: list, show, delete, copy."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from drill_models.errors import StudyError
from drill_models.files import write_bytes
from search.schema import attributes as attrs
from search.storage.artifacts import artifact_folder, artifact_ids
from search.storage.bulk_delete import delete_with_trials
from search.storage.storage import closed_after, open_storage, sole_owner, storage_errors
from search.storage.url import shown
from search.study.coordination import searched_now
from search.study.ranking import ranked, standing_of
from search.study.session_log import sittings
from search.study.study import SETTINGS, StudySettings, left_out, load_study, read_settings
from search.study.trials import Tally, tally
from search.text import check_study_name

COPYING = "copying"
"""Attribute of a study that is being copied: whether something is still missing."""


@dataclass(frozen=True)
class Listed:
    """One study.

    Attributes:
        name: Its name.
        settings: What it was made with.
        counts: Its trials.
        best: Mean validation accuracy of its best, or None.
        n_params: Of its best, or None.
        sittings: What it was asked to do, each time.
    """

    name: str
    settings: StudySettings
    counts: Tally
    best: float | None
    n_params: int | None
    sittings: list[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def all_studies(url: URL, name: str | None = None, say: Callable[[str], None] = lambda line: None) -> list[Listed]:
    """The studies of a storage that this program made, by name; those of others are left out.

    Args:
        url: The storage.
        name: The one that is meant, or None for all.
        say: Told which study cannot be read, or what of one does not fit and is left out.

    Raises:
        StudyError: There is no storage, or not that study.
    """
    storage = open_storage(url, create=False)
    with storage_errors(url):
        if name is not None:
            return [_listed(load_study(storage, name), say)]
        found = []
        for each in sorted(optuna.get_all_study_names(storage)):
            try:
                study = optuna.load_study(study_name=each, storage=storage)
                if SETTINGS in study.user_attrs:
                    found.append(_listed(load_study(storage, each), say))
            except StudyError as error:
                say(str(error))
        return found


def _listed(study: optuna.Study, say: Callable[[str], None]) -> Listed:
    for line in left_out(study):
        say(line)
    best = next(iter(ranked(study)), None)
    return Listed(
        name=study.study_name,
        settings=read_settings(study),
        counts=tally(study),
        best=None if best is None else standing_of(study, best).mean,
        n_params=None if best is None else best.user_attrs[attrs.N_PARAMS],
        sittings=sittings(study),
    )


def delete_study(url: URL, name: str) -> None:
    """Deletes a study with its trials and their files.

    Raises:
        StudyError: There is no such study, or a search works on it.
    """
    storage = open_storage(url, create=False)
    with storage_errors(url), closed_after(storage), sole_owner(url, name):
        study = load_study(storage, name)
        if searched_now(url, study):
            raise StudyError(f"a search works on study {name} in {shown(url)}; wait for it, or stop it")
        mine = artifact_ids(study)
        # A copy in the same storage has the same files.
        others = [other for other in optuna.get_all_study_names(storage) if other != name]
        used: set[str] = set()
        for other in others:
            used |= artifact_ids(optuna.load_study(study_name=other, storage=storage))
        delete_with_trials(storage, study)
        for one in mine - used:
            with suppress(OSError):  # a folder that cannot be written keeps files that belong to nobody
                (artifact_folder(url) / one).unlink(missing_ok=True)


def copy_study(
    url: URL,
    name: str,
    to: URL,
    new_name: str,
    publish: Callable[[optuna.Study, URL], None] = lambda study, to: None,
) -> None:
    """Copies a study with its trials and their files, into another storage or under another name, or not at all.

    Args:
        url: Where it is.
        name: Its name.
        to: Where the copy goes.
        new_name: The copy's name.
        publish: Given the copy and its storage: writes notes and figures, which are not copied.

    Raises:
        StudyError: There is no such study, or one of the new name, or its files cannot be written.
    """
    check_study_name("the copy's name", new_name)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = open_storage(url, create=False)
    with storage_errors(url):
        study = load_study(storage, name)
    target = open_storage(to, create=True)
    with storage_errors(to):
        if new_name in optuna.get_all_study_names(target):
            if not optuna.load_study(study_name=new_name, storage=target).user_attrs.get(COPYING):
                raise StudyError(f"there is a study {new_name} in {shown(to)} already")
            # What a copy that was killed has left.
            delete_with_trials(target, optuna.load_study(study_name=new_name, storage=target))
        # The files first: their names are random, so one that is there already is the same.
        _copy_files(artifact_ids(study), artifact_folder(url), artifact_folder(to))
        try:
            copied = _copy(study, target, new_name)
        except BaseException:
            with suppress(SQLAlchemyError, StorageInternalError, KeyError):
                optuna.delete_study(study_name=new_name, storage=target)
            raise
        publish(copied, to)


def _copy(study: optuna.Study, storage: RDBStorage, name: str) -> optuna.Study:
    """Copies a study; `optuna.copy_study` makes half a copy look whole, and takes notes along to other trials."""
    copied = optuna.create_study(study_name=name, storage=storage, directions=study.directions)
    copied.set_user_attr(COPYING, True)
    for key, value in study._storage.get_study_system_attrs(study._study_id).items():
        if not key.startswith("dashboard:"):  # notes and figures, which are written anew
            storage.set_study_system_attr(copied._study_id, key, value)
    copied.add_trials(study.get_trials(deepcopy=False))
    for key, value in sorted(study.user_attrs.items(), key=lambda item: item[0] == SETTINGS):
        if key != COPYING:
            copied.set_user_attr(key, value)
    copied.set_user_attr(COPYING, False)
    return copied


def _copy_files(names: Collection[str], here: Path, there: Path) -> None:
    if here.resolve() == there.resolve():
        return
    try:
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            if (here / name).is_file():
                write_bytes(there / name, (here / name).read_bytes())
    except OSError as error:
        raise StudyError(f"{there}: cannot be written: {error.strerror}") from error
