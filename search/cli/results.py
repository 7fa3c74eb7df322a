"""Commands on what a search left: export, report, dashboard."""

from pathlib import Path
from typing import Annotated

import typer

from drill_models.errors import DrillError
from search.cli.app import (
    Address,
    Data,
    Device,
    Engine,
    Log,
    Offline,
    Out,
    Precision,
    Quiet,
    Storage,
    StudyName,
    app,
    call,
    finish,
    screen_of,
)
from search.cli.completion import among
from search.names import FORMAT_NAMES


@app.command()
def export(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A step file to export. Without it: the best of a study.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=among(FORMAT_NAMES),
            help=f"One of {', '.join(FORMAT_NAMES)}. Default: what --out ends in, else yaml.",
        ),
    ] = None,
    at_most: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Instead the most accurate with at most so many parameters; repeatable."),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="Instead every network that none with as few parameters beats.")
    ] = False,
    storage: Storage = None,
    study: StudyName = None,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    address: Address = None,
    precision: Precision = "auto",
    out: Out = None,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Write the best trial of a study to a file, as step 6.

    Or others of its front (the best of each size), each into a file of its own. Or for other programs: python and
    notebook train it without drill-search; onnx, weights (safetensors) and torch (an exported program) hold the
    trained network. Weights that a search did not keep are trained again.
    """
    from search.export.formats import format_of
    from search.options import one_of, training_options

    chosen = format_of(None if form is None else one_of("--format", form, FORMAT_NAMES), out)
    if (front or at_most) and (out is not None or (front and at_most)):
        raise DrillError("--front, --at-most and --out do not go together")
    if file is not None and (front or at_most or storage is not None or study is not None):
        raise DrillError("export takes a step file, or trials of a study, not both")
    training = call(training_options, context, workers=None)
    from search.commands.export import ExportJob, export_file, export_trials

    job = ExportJob(form=chosen, training=training, to=out, screen=screen_of(context))
    if file is not None:
        from drill_models.step_io import load_step

        finish(export_file(job, load_step(file), file))
    else:
        finish(export_trials(job, storage, study, at_most or (), front=front))


@app.command()
def report(
    context: typer.Context,
    storage: Storage = None,
    study: StudyName = None,
    data: Data = None,
    out: Out = None,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Write one HTML page on a study.

    A file that needs nothing else, to be read, printed or sent. It shows what the study holds now: run it
    again after `confirm`.
    """
    from drill_models.resolve import DataSource
    from search.report.html_report import write_report
    from search.study.open import open_to_read, which_storage

    with open_to_read(storage, study, screen_of(context).warning) as opened:
        path = write_report(opened, which_storage(storage), DataSource(folder=data, offline=True), out)
    screen_of(context).result(f"written to {path}")


@app.command()
def dashboard(
    context: typer.Context,
    storage: Storage = None,
    study: StudyName = None,
    host: Annotated[str, typer.Option(help="It has no authentication: mind who can reach it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Open optuna-dashboard on the studies."""
    from search.commands.dashboard import serve_dashboard

    screen = screen_of(context)
    serve_dashboard(storage, study, host, port, say=screen.notice, warn=screen.warning)
