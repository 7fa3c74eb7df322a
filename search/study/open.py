"""Commands that read a study: which one is meant, and the dashboard."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from sqlalchemy.engine import URL

from drill_models.errors import StudyError
from search.storage.artifacts import artifact_folder
from search.storage.storage import open_storage, storage_errors
from search.storage.url import DEFAULT_STORAGE, parse
from search.study.last_used import last_used
from search.study.study import load_study


def which_storage(storage: str | None) -> URL:
    """The storage that is named, else the one that was used last below the current folder, else the default.

    Raises:
        StudyError: It is no database URL.
    """
    last = last_used()
    return parse(storage or (last.storage if last is not None else DEFAULT_STORAGE))


@contextmanager
def open_to_read(storage: str | None, study: str | None) -> Iterator[optuna.Study]:
    """A study that exists: the one named, else the one that was used last below the current folder.

    Raises:
        StudyError: There is none, or its storage fails.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = which_storage(storage)
    opened = open_storage(url, create=False)
    with storage_errors(url):
        if study is None:
            study = _remembered(opened, storage)
        if study is None:
            names = optuna.get_all_study_names(opened)
            if len(names) != 1:
                raise StudyError(f"name one by --study; studies are: {', '.join(names) or 'none'}")
            study = names[0]
        yield load_study(opened, study)


def _remembered(storage: optuna.storages.BaseStorage, named: str | None) -> str | None:
    """The study that was used last, if it is in a storage and was not deleted; `named` is that storage's URL."""
    last = last_used()
    if last is None or named not in (None, last.storage):
        return None
    return last.study if last.study in optuna.get_all_study_names(storage) else None


def serve_dashboard(
    storage: str | None,
    study: str | None,
    host: str,
    port: int,
    *,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Runs optuna-dashboard until it is interrupted by Ctrl-C.

    Args:
        storage: Of the studies.
        study: Which it opens with.
        host: 127.0.0.1, unless others may see and change everything.
        port: 0 for any.
        say: Told where it is.
        warn: Told that others can reach it.

    Raises:
        StudyError: There is no database yet, or the port cannot be used.
    """
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    from search.report.dashboard import publish

    url = which_storage(storage)
    opened = open_storage(url, create=False)
    path = ""
    with storage_errors(url):
        if study is None:
            study = _remembered(opened, storage)
        if study is not None:
            loaded = load_study(opened, study)
            publish(loaded, url)
            path = f"dashboard/studies/{loaded._study_id}"
    application = wsgi(opened, artifact_store=FileSystemArtifactStore(base_path=artifact_folder(url)))
    try:
        server = make_server(host, port, application, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        raise StudyError(f"the dashboard cannot use {host}:{port}: {error.strerror}") from error
    with server:
        say(f"dashboard on http://{host}:{port}/{path}, Ctrl-C ends it")
        if not ip_address(str(server.server_address[0])).is_loopback:
            warn(f"whoever can reach {host}:{port} can change and delete these studies")
        with suppress(KeyboardInterrupt):
            server.serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    """A browser asks for several things at once."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Does not print each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""
