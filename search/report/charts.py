"""Charts by matplotlib: a trial's picture in the dashboard, and those of the report."""

import io
import logging
from collections.abc import Sequence
from statistics import median_high

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from drill_models.result import EpochRecord
from search.report.series import Size, Spent

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it cannot write its own settings

BLUE, ORANGE, GREEN, GREY, RED = "#1f77b4", "#ff7f0e", "#2ca02c", "#9a9a9a", "#d62728"
PAGE_COLORS = {
    BLUE: "blue", ORANGE: "orange", GREEN: "green", GREY: "grey", RED: "red",
    "#000000": "ink", "#b0b0b0": "line", "#ffffff": "paper", "#cccccc": "line",
}  # fmt: skip
"""Names of a page's colours, of which it has light and dark ones; the last four are matplotlib's own."""
ROOM = 0.03
"""Below the best, so much accuracy is shown: early epochs and bad trials are far below."""
MANY = 500
"""Of more trials than that the points and bars are pixels, else a page would have megabytes of them."""


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


def epoch_axis(axes: Axes, epochs: int) -> None:
    """So many epochs on the horizontal axis, whole ones."""
    axes.set_xlim(0.5, epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def legend_above(figure: Figure) -> None:
    """A legend that covers no data."""
    figure.legend(loc="outside upper left", ncols=6, fontsize="small", frameon=False)


def curve_chart(records: Sequence[EpochRecord], target: float, held_out: str = "validation") -> Figure:
    """Training and held-out accuracy of one run after each epoch."""
    figure, axes = new_chart()
    epochs = [record.epoch for record in records]
    axes.plot(epochs, [record.train_accuracy for record in records], color=GREY, marker=".", label="training")
    axes.plot(epochs, [record.val_accuracy for record in records], color=BLUE, marker="o", ms=4, label=held_out)
    axes.axhline(target, color=RED, ls=":", label=f"target {target:.2%}")
    # Early epochs may be far below; the best one is in the picture, however weak the run.
    axes.set_ylim(bottom=min(target, max(record.val_accuracy for record in records)) - 0.08, top=1.0)
    epoch_axis(axes, max(epochs))
    axes.set_ylabel("accuracy")
    percent_axis(axes)
    legend_above(figure)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()


def curves_chart(lines: Sequence[tuple[str, Sequence[float]]], target: float) -> Figure:
    """Validation accuracy of a few runs after each epoch.

    Args:
        lines: Label and accuracies of each; the first stands out.
        target: Marked.
    """
    figure, axes = new_chart()
    for i, (label, accuracies) in enumerate(lines):
        color = (BLUE, ORANGE)[i] if i < 2 else GREY
        axes.plot(range(1, len(accuracies) + 1), accuracies, color=color, marker="o", ms=4, label=label)
    axes.axhline(target, color=RED, ls=":", label=f"target {target:.2%}")
    top = max(max(accuracies) for _, accuracies in lines)
    axes.set_ylim(bottom=lowest_of_curves(lines, target), top=min(1.0, max(top, target) + ROOM / 6))
    epoch_axis(axes, max(len(accuracies) for _, accuracies in lines))
    axes.set_ylabel("validation accuracy")
    percent_axis(axes)
    legend_above(figure)
    return figure


def lowest_of_curves(lines: Sequence[tuple[str, Sequence[float]]], target: float) -> float:
    """The accuracy at which a picture of several curves begins."""
    return min(target, *(max(accuracies) for _, accuracies in lines)) - ROOM


def lowest_shown(found: Sequence[Size], target: float) -> float:
    """Where the picture of accuracy against parameters begins; at most half of the trials are below it."""
    accuracies = [size.accuracy for size in found]
    room = min(min(max(accuracies), target) - ROOM, median_high(accuracies) - ROOM / 20)
    return max(room, min(target, *accuracies) - ROOM / 20)


def size_chart(found: Sequence[Size], budget: int, target: float) -> Figure:
    """Accuracy against parameters, with the budget, the front and the hand steps."""
    figure, axes = new_chart()
    looks = {"trial": (GREY, "o"), "starting point": (GREEN, "D"), "hand step": (ORANGE, "s")}
    top = max(size.accuracy for size in found)
    lowest = lowest_shown(found, target)
    for kind, (color, marker) in looks.items():
        these = [size for size in found if size.kind == kind and size.accuracy >= lowest]
        if these:
            points = [size.n_params for size in these], [size.accuracy for size in these]
            many = len(these) > MANY
            dots = axes.scatter(
                *points, color=color, marker=marker, s=8 if many else 24, label=f"{kind}s", zorder=3
            )
            dots.set_rasterized(many)
    front = sorted((size for size in found if size.on_front and size.accuracy >= lowest), key=lambda s: s.n_params)
    axes.step([s.n_params for s in front], [s.accuracy for s in front], where="post", color=BLUE, label="front")
    axes.axvline(budget, color=RED, ls="--", label="budget")
    axes.axhline(target, color=RED, ls=":", label="target")
    axes.set_xscale("log")
    axes.set_xlim(0.8 * min([budget, *(size.n_params for size in found)]), 1.25 * budget)
    low, high = axes.get_xlim()
    steps = (1, 2, 3, 5) if high > 5 * low else range(1, 10)
    axes.xaxis.set_major_locator(FixedLocator([n * 10**power for power in range(2, 9) for n in steps]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=lowest, top=min(1.0, max(top, target) + ROOM / 6))
    axes.set_xlabel("trainable parameters")
    axes.set_ylabel("validation accuracy")
    percent_axis(axes)
    legend_above(figure)
    return figure


def importance_chart(found: Sequence[tuple[str, float]]) -> Figure:
    """Shares of the dimensions, the largest on top."""
    figure, axes = new_chart(height=0.6 + 0.28 * len(found))
    axes.barh([name for name, _ in found][::-1], [share for _, share in found][::-1], color=BLUE)
    axes.set_xlabel("share")
    return figure


def spent_chart(spent: Sequence[Spent]) -> Figure:
    """Epochs that each trial trained, and those that stopping it saved."""
    figure, axes = new_chart(height=2.6)
    numbers, trained = [one.number for one in spent], [one.trained for one in spent]
    if len(spent) > MANY:
        _outlines(axes, spent)
    else:
        axes.bar(numbers, trained, color=BLUE, width=0.9, label="trained")
        axes.bar(numbers, [one.saved for one in spent], bottom=trained, color=GREY, width=0.9, label="saved")
    axes.set_xlabel("trial")
    axes.set_ylabel("epochs")
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    legend_above(figure)
    return figure


def _outlines(axes: Axes, spent: Sequence[Spent]) -> None:
    """Bars that stand so close that only their outline is seen, as pixels."""
    first, last = spent[0].number, spent[-1].number
    trained, whole = [0] * (last - first + 1), [0] * (last - first + 1)
    for one in spent:
        trained[one.number - first], whole[one.number - first] = one.trained, one.trained + one.saved
    edges = [first - 0.5 + i for i in range(len(trained) + 1)]
    axes.stairs(trained, edges, fill=True, color=BLUE, label="trained", rasterized=True)
    axes.stairs(whole, edges, baseline=trained, fill=True, color=GREY, label="saved", rasterized=True)


def svg(figure: Figure) -> str:
    """A figure as SVG to stand in a page: colours by the page's variables, text as text."""
    content = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "drill-search"}):
        figure.savefig(content, format="svg", dpi=200, transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    for color, variable in PAGE_COLORS.items():
        text = text.replace(color, f"var(--{variable})")
    return text


def digit_png(pixels: Sequence[Sequence[int]]) -> bytes:
    """A grey image, dark on light, as PNG."""
    content = io.BytesIO()
    imsave(
        content, [[255 - value for value in row] for row in pixels], cmap="gray", vmin=0, vmax=255, format="png"
    )
    return content.getvalue()
