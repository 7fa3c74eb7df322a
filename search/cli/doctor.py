"""`drill-search doctor`."""

from dataclasses import asdict

import typer

from search.cli.app import Data, Json, Log, Offline, Quiet, Storage, app, screen_of

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
    """Say what a search would use here, what is missing, and how to mend it. Exit code 1: something is wrong."""
    from drill_models.resolve import DataSource
    from search.doctor import examine
    from search.tables import finding_lines

    screen = screen_of(context)
    findings = []
    for finding in examine(DataSource(folder=data, offline=offline), storage):
        findings.append(finding)
        for line in finding_lines(finding.what, finding.state, finding.found, finding.remedy):
            screen.result(line)
    bad = [finding for finding in findings if finding.state == "trouble"]
    missing = [finding for finding in findings if finding.state == "missing"]
    screen.result("")
    if bad:
        screen.result(f"in the way of a search: {', '.join(finding.what for finding in bad)}")
    elif missing:
        screen.result(f"a search runs here, but without: {', '.join(finding.what for finding in missing)}")
    else:
        screen.result("all is there")
    screen.document([asdict(finding) for finding in findings])
    if bad:
        raise typer.Exit(TROUBLE)
