"""Checks of a search that need neither torch nor data, so that their mistakes are answered within a second."""

from drill_models.files import check_writable
from search.config import SearchConfig
from search.storage.storage import reach
from search.storage.url import DEFAULT_STORAGE, parse
from search.study.study import check_named


def check_early(config: SearchConfig) -> None:
    """Checks storage, output file and, where it is named, the study.

    Raises:
        DrillError: One of them cannot be used as asked.
    """
    url = parse(config.storage or DEFAULT_STORAGE)
    exists = reach(url, pass_locked=True)
    if config.out is not None:
        check_writable(config.out)
    if exists and config.study is not None:
        check_named(url, config)
