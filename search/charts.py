"""Charts by matplotlib: a trial's picture in the dashboard, and those of the report."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from drill_models.result import EpochRecord

BLUE, ORANGE, GREY, RED = "#1f77b4", "#ff7f0e", "#9a9a9a", "#d62728"


def new_chart(width: float = 7, height: float = 4) -> tuple[Figure, Axes]:
    """An empty chart, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def percent_axis(axes: Axes) -> None:
    """Accuracies on the vertical axis, in per cent."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def curve_chart(records: Sequence[EpochRecord], target: float, held_out: str = "validation") -> Figure:
    """Training and held-out accuracy of one run after each epoch."""
    figure, axes = new_chart()
    epochs = [record.epoch for record in records]
    axes.plot(epochs, [record.train_accuracy for record in records], color=GREY, marker=".", label="training")
    axes.plot(epochs, [record.val_accuracy for record in records], color=BLUE, marker="o", ms=4, label=held_out)
    axes.axhline(target, color=RED, ls=":", label=f"target {target:.2%}")
    axes.set_ylim(bottom=max(min(record.val_accuracy for record in records), target - 0.08) - 0.002, top=1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy")
    percent_axis(axes)
    axes.legend(loc="lower right")
    return figure


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
