"""Opens a study to read it: the one that is meant."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from sqlalchemy.engine import URL

from drill_models.errors import StudyError
from search.storage.storage import open_storage, storage_errors
from search.storage.url import DEFAULT_STORAGE, parse
from search.study.last_used import last_used
from search.study.study import left_out, load_study
from search.text import harmless


def which_storage(storage: str | None) -> URL:
    """The storage that is named, else the one that was used last below the current folder, else the default.

    Raises:
        StudyError: It is no database URL.
    """
    last = last_used()
    return parse(storage or (last.storage if last is not None else DEFAULT_STORAGE))


@contextmanager
def open_to_read(
    storage: str | None, study: str | None, say: Callable[[str], None] = lambda line: None
) -> Iterator[optuna.Study]:
    """A study that exists: the one named, else the one that was used last below the current folder.

    Args:
        storage: Its URL.
        study: Its name.
        say: Told what of it does not fit, and is left out.

    Raises:
        StudyError: There is none, or its storage fails.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = which_storage(storage)
    opened = open_storage(url, create=False)
    with storage_errors(url):
        if study is None:
            study = remembered(opened, storage)
        if study is None:
            names = optuna.get_all_study_names(opened)
            if len(names) != 1:
                known = ", ".join(map(harmless, names)) or "none"
                raise StudyError(f"name one by --study; studies are: {known}")
            study = names[0]
        found = load_study(opened, study)
        for line in left_out(found):
            say(line)
        yield found


def remembered(storage: optuna.storages.BaseStorage, named: str | None) -> str | None:
    """The study that was used last, if it is in a storage and was not deleted; `named` is that storage's URL."""
    last = last_used()
    if last is None or named not in (None, last.storage):
        return None
    return last.study if last.study in optuna.get_all_study_names(storage) else None
