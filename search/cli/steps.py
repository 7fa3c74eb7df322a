"""Commands on step files: show, train, schema."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from search.cli.app import (
    Address,
    Data,
    Device,
    Engine,
    Json,
    Log,
    Offline,
    Out,
    Precision,
    Quiet,
    Workers,
    app,
    call,
    finish,
    screen_of,
)


@app.command()
def show(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Step files.")],
    json: Json = False,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Print the layer table, totals and page of step files."""
    from dataclasses import asdict

    from drill_models.count import count
    from drill_models.step_io import as_document, load_step
    from search.console.tables import layer_table, step_lines, totals_line

    screen = screen_of(context)
    steps = [load_step(file) for file in files]
    for step in steps:
        counted = count(step.model)
        screen.table(Text.assemble((step.name, "bold"), f" ({step.provenance}, {step.dataset})"))
        screen.table(layer_table(counted))
        for line in (totals_line(counted), *step_lines(step), ""):
            screen.result(line)
    screen.document(
        [
            {"file": str(file), "table": asdict(count(step.model)), "step": as_document(step)}
            for file, step in zip(files, steps, strict=True)
        ]
    )


@app.command()
def train(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The step file to train.")],
    full: Annotated[
        bool, typer.Option("--full", help="Train on all training images, measure on the test set each epoch.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Default: the recorded run's seed, else 0.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="So many seeds, side by side: --seed and the next. --out has the first."
        ),
    ] = 1,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    address: Address = None,
    precision: Precision = "auto",
    workers: Workers = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Train a step file again, and compare with what it says."""
    from drill_models.files import check_writable
    from drill_models.step_io import load_step
    from search.options import training_options

    step = load_step(file)
    if out is not None:
        check_writable(out)
    training = call(training_options, context)
    from search.commands.train import run_train_job

    finish(
        run_train_job(
            step, full=full, seed=seed, seeds=seeds, training=training, to=out, screen=screen_of(context)
        )
    )


@app.command()
def schema(
    context: typer.Context,
    skeletons: Annotated[bool, typer.Option("--skeletons", help="Of skeleton files instead.")] = False,
    out: Out = None,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Print or write the JSON Schema of step files."""
    from drill_models.files import write_text

    if skeletons:
        from spaces.skeletons import schema_text
    else:
        from drill_models.step_io import schema_text
    if out is None:
        screen_of(context).out.print(schema_text(), end="", highlight=False, markup=False, soft_wrap=True)
    else:
        write_text(out, schema_text())
        screen_of(context).result(f"written to {out}")
