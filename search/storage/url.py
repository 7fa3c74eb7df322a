"""Storage URLs: reading them, showing them without their passwords, and what a server's driver is told."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from drill_models.errors import StudyError
from search.storage.advisory_locks import SILENCE
from search.text import check_plain

DEFAULT_STORAGE = "sqlite:///studies/drill-search.db"

CONNECT_TIMEOUT = 10
"""Seconds that a database server has to answer."""

ANSWER = 120
"""Seconds that one answer of a MySQL server may take."""


def parse(url: str) -> URL:
    """A storage URL, as SQLAlchemy reads it.

    Raises:
        StudyError: It is not a URL.
    """
    # The text may hold a password, so it is not repeated.
    check_plain("--storage", url)
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StudyError(f"--storage is not a database URL; an example is {DEFAULT_STORAGE}") from error
    if "@" in (found.host or ""):
        raise StudyError("--storage: an @ in a user's name or password is written %40, and a : is %3A")
    return found


_SHOWN = frozenset(
    (
        "application_name channel_binding charset client_encoding connect_timeout dbname gssencmode host hostaddr "
        "keepalives keepalives_count keepalives_idle keepalives_interval load_balance_hosts local_infile mode "
        "options passfile port read_timeout requirepeer service sql_mode sslcert sslcrl sslkey sslmode "
        "sslnegotiation sslrootcert sslsni ssl_ca ssl_cert ssl_check_hostname ssl_key ssl_verify_cert "
        "ssl_verify_identity target_session_attrs tcp_user_timeout timeout unix_socket uri user write_timeout"
    ).split()
)
"""Keys of a URL's query that hold no secret. Any other may, under a name that only its driver knows."""


def without_secrets(url: URL) -> URL:
    """A URL without any password, in whichever place it stood."""
    bare = URL.create(
        url.drivername,
        username=url.username,
        host=url.host,
        port=url.port,
        database=url.database,
        query=url.query,
    )
    return bare.difference_update_query([key for key in url.query if key not in _SHOWN])


def shown(url: URL) -> str:
    """A URL with its passwords hidden."""
    hidden = without_secrets(url)
    if url.password is not None:
        hidden = hidden.set(password="hidden")  # rendered as ***
    return hidden.render_as_string(hide_password=True)


def secrets(url: URL) -> list[str]:
    """What must not be repeated, the longest first; `1` of an unknown option is no secret."""
    found = [str(url.password)] if url.password else []
    for key, value in url.query.items():
        if key not in _SHOWN:
            values = (value,) if isinstance(value, str) else value
            found += [each for each in values if len(each) > 3]
    return sorted(found, key=len, reverse=True)


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database, or None for another database.

    Raises:
        StudyError: It is written in a form that is not supported, or is none.
    """
    if url.get_backend_name() != "sqlite":
        return None
    if url.host:
        raise StudyError("--storage: a SQLite file comes after three slashes; write sqlite:///FOLDER/FILE.db")
    if url.database in (None, "", ":memory:"):
        raise StudyError("--storage: a study in memory ends with its process; write sqlite:///FOLDER/FILE.db")
    if str(url.database).startswith("file:"):
        raise StudyError("--storage: SQLite's file: form is not supported; write sqlite:///FOLDER/FILE.db")
    return Path(str(url.database))


def short_wait(url: URL) -> dict[str, int]:
    """Has SQLite itself wait for a lock a second only, as nothing stops that wait; `Patience` waits on."""
    return {} if "timeout" in url.query else {"timeout": 1}


def connect_args(url: URL) -> dict[str, int | str]:
    """What a server's driver is told: not to wait for ever for one that is silent, and the server likewise.

    A machine without power closes no connection; what it had locked would stay so for hours. A MySQL server may
    ask for files of this machine, and gets none.
    """
    match url.get_backend_name(), url.get_driver_name():
        case "postgresql", "psycopg" | "psycopg2":
            pulse = SILENCE // 3
            args: dict[str, int | str] = {
                "connect_timeout": CONNECT_TIMEOUT,
                "keepalives_idle": pulse,
                "keepalives_interval": pulse,
                "keepalives_count": 2,
                "tcp_user_timeout": 1000 * SILENCE,
            }
            if "options" not in url.query:
                told = {
                    "tcp_keepalives_idle": pulse,
                    "tcp_keepalives_interval": pulse,
                    "tcp_keepalives_count": 2,
                    # A process that is held in mid-transaction, as by Ctrl-Z, keeps rows locked that all need.
                    "idle_in_transaction_session_timeout": 1000 * SILENCE,
                }
                args["options"] = " ".join(f"-c {key}={value}" for key, value in told.items())
            return args
        case "mysql" | "mariadb", "pymysql":
            return {
                "connect_timeout": CONNECT_TIMEOUT,
                "read_timeout": ANSWER,
                "write_timeout": ANSWER,
                "local_infile": False,
            }
        case "mysql" | "mariadb", "mysqldb":
            return {"connect_timeout": CONNECT_TIMEOUT, "local_infile": 0}
    return {}
