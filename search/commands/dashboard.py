"""`drill-search dashboard`: optuna-dashboard on the studies of a storage."""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.artifacts import FileSystemArtifactStore
from optuna_dashboard import wsgi

from drill_models.errors import StudyError
from search.report.dashboard import publish
from search.storage.artifacts import artifact_folder
from search.storage.storage import open_storage, storage_errors
from search.study.open import remembered, which_storage
from search.study.study import left_out, load_study


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
    url = which_storage(storage)
    opened = open_storage(url, create=False)
    path = ""
    with storage_errors(url):
        if study is None:
            study = remembered(opened, storage)
        if study is not None:
            loaded = load_study(opened, study)
            for line in left_out(loaded):
                warn(line)
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
