"""The command line: options in, one call, tables out. Heavy imports happen inside the commands."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer.exceptions import TyperException

from drill_models.errors import DrillError

USAGE, INTERRUPTED = 2, 130
"""Exit codes: a user's mistake; interrupted with the work kept. Done is 0."""

app = typer.Typer(
    name="drill-search",
    help="Search small CNNs under a hard parameter budget.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out, err = Console(), Console(stderr=True)

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the data sets; else DRILL_DATA, else the user's cache."),
]
Offline = Annotated[bool, typer.Option("--offline", envvar="DRILL_OFFLINE", help="Never download data.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Out = Annotated[Path | None, typer.Option("--out", help="The file to write.")]


@app.command()
def show(files: Annotated[list[Path], typer.Argument(help="Step files.")]) -> None:
    """Print the layer table, totals and page of step files."""
    from drill_models.count import count
    from drill_models.step_io import load_step
    from search.tables import layer_table, step_lines, totals_line

    for step in [load_step(file) for file in files]:
        counted = count(step.model)
        out.print(f"[bold]{step.name}[/bold] ({step.provenance}, {step.dataset})", highlight=False)
        out.print(layer_table(counted))
        out.print(totals_line(counted), highlight=False)
        for line in step_lines(step):
            out.print(line, highlight=False, markup=False)
        out.print()


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="The step file to train.")],
    full: Annotated[
        bool, typer.Option("--full", help="Train on all training images, measure on the test set each epoch.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Default: the recorded run's seed, else 0.")
    ] = None,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    to: Out = None,
) -> None:
    """Train a step file again, and compare with what it says."""
    from drill_models.step_io import load_step, save_step

    step = load_step(file)
    from drill_models.data import DataSource, Resolved
    from drill_models.step import EpochRecord
    from drill_models.train import Interrupted
    from search.interrupt import stop_on_signals
    from search.retrain import comparison, retrain
    from search.tables import epoch_line, small_data_box

    held_out = "test" if full else "val"

    def on_data(resolved: Resolved) -> None:
        if resolved.instead_of_mnist is not None:
            err.print(small_data_box(resolved.instead_of_mnist))

    def on_epoch(record: EpochRecord) -> None:
        out.print(epoch_line(record, step.training.epochs, held_out), highlight=False, soft_wrap=True)

    with stop_on_signals() as should_stop:
        try:
            trained = retrain(
                step,
                DataSource(folder=data, offline=offline, say=err.print),
                full=full,
                seed=seed,
                device=device,
                on_data=on_data,
                on_epoch=on_epoch,
                should_stop=should_stop,
            )
        except Interrupted:
            err.print("interrupted; a single training run keeps nothing")
            raise typer.Exit(INTERRUPTED) from None
    result = trained.result
    assert result is not None and result.run is not None
    run = result.run
    out.print(
        f"{run.value:.2%} (mean of the last three epochs), best epoch {run.best_epoch}, {run.seconds:.0f} s, "
        f"seed {run.seed}",
        highlight=False,
    )
    line = comparison(step, trained)
    if line is not None:
        out.print(line, highlight=False)
    if to is not None:
        save_step(to, trained)
        out.print(f"written to {to}", highlight=False)


@app.command()
def schema(to: Out = None) -> None:
    """Print or write the JSON Schema of step files."""
    from drill_models.step_io import schema_text
    from drill_models.yaml_io import write_text

    if to is None:
        out.print(schema_text(), end="", highlight=False, markup=False, soft_wrap=True)
    else:
        write_text(to, schema_text())


def main() -> None:
    """Entry point of the console script."""
    try:
        code = app(standalone_mode=False)
    except DrillError as error:
        err.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(USAGE)
    except TyperException as error:
        err.print(error.format_message(), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(USAGE)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
