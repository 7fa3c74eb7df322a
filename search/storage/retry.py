"""Waiting for a database that takes nothing now: what was to be stored or read is tried again until it does.

A server may have gone away; a SQLite file may be locked by another program.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)

from drill_models.errors import Interrupted
from search.context import RunContext
from search.storage.batched import TogetherStorage

T = TypeVar("T")

PATIENCE = 600.0
"""Seconds for which a server may be gone: a restart, an update, a network that is mended."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
"""Seconds between tries; each wait is twice the last."""
MYSQL_LATER = (1040, 1053, 1205, 1213)
"""MySQL's own errors that pass: too many connections, a shutdown, a lock that is waited for, a deadlock."""
LOOK = 0.1
"""Seconds after which a person's Ctrl-C is looked for."""


def cause_of(error: BaseException) -> BaseException:
    """The database's own error within Optuna's."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_locked(error: BaseException) -> bool:
    """Whether another program holds a lock on a SQLite file."""
    original = getattr(cause_of(error), "orig", None)
    if not isinstance(original, sqlite3.OperationalError):
        return False
    # The low byte is the kind; what stands above it says where in SQLite.
    return original.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_gone(error: BaseException) -> bool:
    """Whether a server went away or takes nothing now, so that the same may succeed later; or a file is locked."""
    cause = cause_of(error)
    if isinstance(getattr(cause, "orig", None), sqlite3.Error):
        return is_locked(error)  # all else that SQLite says stays as it is: a full disk, for example
    if isinstance(cause, PendingRollbackError):
        return True  # Optuna asks once more in the session whose connection just broke
    if not isinstance(cause, DBAPIError):
        return False
    code = cause.orig.args[0] if cause.orig is not None and cause.orig.args else None
    if isinstance(code, int) and 1000 <= code < 2000:
        return code in MYSQL_LATER
    # Of an InternalError: the transaction had failed already, when its connection broke.
    return cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError | InternalError)


@dataclass
class Patience:
    """How long a server that went away is waited for.

    Attributes:
        context: Told when the wait begins and when it is over, and asked meanwhile whether to stop.
        seconds: For so long.
    """

    context: RunContext = field(default_factory=RunContext)
    seconds: float = PATIENCE
    _waits: bool = field(default=False, init=False)

    def with_(self, action: Callable[[], T]) -> T:
        """Does something until it succeeds, as long as it fails because the server is gone.

        Raises:
            SQLAlchemyError: It failed otherwise, or the server is still gone.
            StorageInternalError: Likewise.
            Interrupted: The context said so while the server was gone.
        """
        began, wait, tries = time.monotonic(), FIRST_WAIT, 0
        while True:
            try:
                result = action()
            except (SQLAlchemyError, StorageInternalError) as error:
                if not is_gone(error) or time.monotonic() - began > self.seconds:
                    raise
                if self.context.should_stop():
                    raise Interrupted from error
                tries += 1
                # A deadlock of a server is over at once. SQLite has waited for its lock already.
                if tries > 1 or is_locked(error):
                    self._begin(error)
            else:
                self._end()
                return result
            until = time.monotonic() + wait
            while time.monotonic() < until and not self.context.should_stop():
                time.sleep(LOOK)
            wait = min(2 * wait, LONGEST_WAIT)

    def _begin(self, error: BaseException) -> None:
        if not self._waits:
            self._waits = True
            kind = type(getattr(cause_of(error), "orig", None) or error).__name__
            locked = is_locked(error)
            what = "another program has locked the database" if locked else "the database does not answer"
            self.context.notify(
                f"{what} ({kind}); it is tried again for {self.seconds / 60:.0f} minutes, "
                f"and worker processes go on meanwhile"
            )

    def _end(self) -> None:
        if self._waits:
            self._waits = False
            self.context.notify("the database answers again")


class PatientStorage(TogetherStorage):
    """Optuna's storage in a database that may take nothing for a while.

    Repeating is safe: attributes and intermediate values are set again to the same. A trial that was created
    twice, because only the server's answer was lost, runs nowhere and is ended by the next turn to propose.

    Args:
        url: Of the database, with its password.
        patience: Shared with whatever else talks to the server.
        engine_kwargs: As for `optuna.storages.RDBStorage`.
    """

    def __init__(self, url: str, patience: Patience, engine_kwargs: dict[str, Any]) -> None:
        self.patience = patience
        super().__init__(url, engine_kwargs=engine_kwargs)

    def look(self) -> None:
        """Called before each method: nothing, for a server."""


METHODS = (
    "create_new_study",
    "delete_study",
    "get_all_studies",
    "get_study_directions",
    "get_study_id_from_name",
    "get_study_name_from_id",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
    "_create_new_trial",
    "_get_best_trial_id",
    "_get_trials",
    "_set_trial_param",
    "_write_params",
)
"""What Optuna's cache calls of the storage behind it, in 5.0, as a test reads out of its source; and our own."""


def _patient(name: str) -> Callable[..., Any]:
    method = getattr(TogetherStorage, name)

    @wraps(method)
    def call(self: PatientStorage, *args: Any, **kwargs: Any) -> Any:
        self.look()
        return self.patience.with_(lambda: method(self, *args, **kwargs))

    return call


for _name in METHODS:
    setattr(PatientStorage, _name, _patient(_name))
