"""`drill-search doctor`."""

from dataclasses import asdict
from typing import Any

import typer

from drill_models.errors import DrillError
from search.cli.app import MISTAKE, Data, Json, Log, Offline, Quiet, Storage, app, call, screen_of

TROUBLE = 1
"""Exit code where a search could not do what it should."""


@app.command()
def doctor(
    context: typer.Context,
    data: Data = None,
    offline: Offline = False,
    storage: Storage = None,
    json: Json = False,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Say what a search would use here, and what is missing.

    And how to mend it. Exit code 1: something is in the way of a search.
    """
    from drill_models.resolve import DataSource
    from search.commands.doctor import examine
    from search.console.tables import finding_lines

    screen, source = screen_of(context), DataSource(folder=data, offline=offline)
    storage = storage or context.find_root().params["storage"]  # what a search would use
    findings = []
    for finding in examine(source, storage, wrong_options=_wrong_options(context)):
        findings.append(finding)
        for line in finding_lines(finding.what, finding.state, finding.found, finding.remedy):
            screen.result(line)
    bad = [finding for finding in findings if finding.state == "trouble"]
    missing = [finding for finding in findings if finding.state == "missing"]
    screen.result("")
    if bad:
        screen.result(f"in the way of a search: {', '.join(finding.what for finding in bad)}")
    elif missing:
        screen.result(f"a search runs here; missing: {', '.join(finding.what for finding in missing)}")
    else:
        screen.result("all is there")
    screen.document([asdict(finding) for finding in findings])
    if bad:
        raise typer.Exit(TROUBLE)


def _wrong_options(context: typer.Context) -> str | None:
    """What the search would say of the options in a file, where there are any."""
    from search.options import search_config, training_options

    if MISTAKE in context.meta:
        return str(context.meta[MISTAKE])
    search: Any = context.find_root()
    try:
        call(search_config, search, training=call(training_options, search))
    except DrillError as error:
        return str(error)
    return None
