"""What becomes of a search whose database was removed: the best of what was saved is still written as step 6."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from drill_models.errors import DrillError
from search.config import SearchConfig
from search.export.step import export_best
from search.storage.sqlite_file import DatabaseRemoved
from search.study.ranking import ranked


@contextmanager
def step_6_saved(config: SearchConfig, study: Callable[[], str | None]) -> Iterator[None]:
    """Within it, the error of a database that was removed names the step file that the best was written to.

    Args:
        config: Of the search.
        study: Names the study, once it is open.

    Raises:
        DatabaseRemoved: With that name, where something could be saved and a search of its kind exports one.
    """
    try:
        yield
    except DatabaseRemoved as error:
        if error.saved is None or config.hold_seeds is not None:
            raise
        if config.objective != "accuracy" and config.out is None:
            raise
        name = study()
        written = None if name is None else _exported(error.saved, name, config.out)
        if written is None:
            raise
        raise DatabaseRemoved(f"{error}. Step 6 written to {written}", error.saved) from error


def _exported(database: Path, study: str, to: Path | None) -> Path | None:
    """Where the best trial was written, or None where there is none or it cannot be."""
    storage = RDBStorage(f"sqlite:///{database}")
    try:
        saved = optuna.load_study(study_name=study, storage=storage)
        best = next(iter(ranked(saved)), None)
        return None if best is None else export_best(saved, to, best)
    except (DrillError, KeyError):
        return None
    finally:
        storage.remove_session()
        storage.engine.dispose()
