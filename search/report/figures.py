"""Figures of a study for optuna-dashboard, by plotly."""

from collections.abc import Callable
from math import log10

import optuna
import plotly.graph_objects as go

from search.report.series import CurveLine, Size, curve_lines, epochs_spent, importance, sizes
from search.study.study import StudySettings, read_settings

BLUE, ORANGE, GREEN, GREY, RED = "#1f77b4", "#ff7f0e", "#2ca02c", "#9a9a9a", "#d62728"
ROOM = 4
"""Per cent below the best that learning curves show."""
KINDS = {"trial": (GREY, "circle"), "hand step": (ORANGE, "square"), "starting point": (GREEN, "diamond")}


def _figure(title: str, x: str, y: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", hovermode="closest")
    return figure


def size_figure(study: optuna.Study) -> go.Figure:
    """Accuracy against parameters, with the budget, the front and the hand steps."""
    settings, found = read_settings(study), sizes(study)
    figure = _figure("Accuracy against parameters", "trainable parameters", "validation accuracy, %")
    for kind, (color, symbol) in KINDS.items():
        these = [size for size in found if size.kind == kind]
        figure.add_scatter(
            x=[size.n_params for size in these],
            y=[100 * size.accuracy for size in these],
            text=[_label(size) for size in these],
            mode="markers",
            name=f"{kind}s",
            marker={"color": color, "symbol": symbol, "size": 9},
        )
    front = sorted((size for size in found if size.on_front), key=lambda size: size.n_params)
    figure.add_scatter(
        x=[size.n_params for size in front],
        y=[100 * size.accuracy for size in front],
        mode="lines",
        name="front",
        line={"color": BLUE, "shape": "hv"},
    )
    _mark(figure, settings)
    figure.update_xaxes(type="log")
    return figure


def _label(one: Size | CurveLine) -> str:
    return f"trial {one.number}{f' ({one.name})' if one.name else ''}"


def _mark(figure: go.Figure, settings: StudySettings) -> None:
    """Budget and target, each with its name where no point is: above the picture, and where networks are small."""
    figure.add_vline(x=settings.max_params, line={"color": RED, "dash": "dash"})
    # On an axis of logarithms a line is placed by its value, but an annotation by its logarithm.
    figure.add_annotation(
        text="budget", x=log10(settings.max_params), y=1, yref="paper", yanchor="bottom", showarrow=False
    )
    figure.add_hline(
        y=100 * settings.target,
        line={"color": RED, "dash": "dot"},
        annotation_text="target",
        annotation_position="top left",
    )


def curve_figure(study: optuna.Study) -> go.Figure:
    """Validation accuracy after each epoch, coloured by what became of the trial."""
    figure = _figure("Learning curves", "epoch", "validation accuracy, %")
    shown: set[str] = set()
    lines = curve_lines(study)
    for line in lines:
        name = "hand step" if line.kind == "hand step" else line.state
        color = {"complete": BLUE, "stopped early": GREY, "failed": RED, "hand step": ORANGE}[name]
        figure.add_scatter(
            x=list(range(1, len(line.accuracies) + 1)),
            y=[100 * accuracy for accuracy in line.accuracies],
            mode="lines+markers",
            name=name,
            legendgroup=name,
            showlegend=name not in shown,
            text=_label(line),
            line={"color": color, "width": 1},
            marker={"size": 4},
            opacity=0.7,
        )
        shown.add(name)
    if lines:
        # Early epochs of most trials are far below, where nothing is to be told apart.
        top = max(line.accuracies[-1] for line in lines)
        figure.update_yaxes(range=[100 * top - ROOM, min(100, 100 * top + ROOM / 4)])
    return figure


def epochs_figure(study: optuna.Study) -> go.Figure:
    """Epochs that each trial trained, and those that stopping it saved."""
    spent = epochs_spent(study)
    trained, saved = sum(one.trained for one in spent), sum(one.saved for one in spent)
    share = f": {saved / (trained + saved):.0%} saved" if spent else ""
    figure = _figure(f"Epochs trained and saved{share}", "trial", "epochs")
    numbers = [one.number for one in spent]
    figure.add_bar(x=numbers, y=[one.trained for one in spent], name="trained", marker_color=BLUE)
    figure.add_bar(x=numbers, y=[one.saved for one in spent], name="saved by stopping", marker_color=GREY)
    figure.update_layout(barmode="stack")
    return figure


def importance_figure(study: optuna.Study) -> go.Figure:
    """What tells good trials from others."""
    found = importance(study)[::-1]
    title = "Importance (PED-ANOVA)" if found else "Importance: too few complete trials to say"
    figure = _figure(title, "share", "dimension")
    figure.add_bar(
        x=[share for _, share in found], y=[name for name, _ in found], orientation="h", marker_color=BLUE
    )
    return figure


FIGURES: dict[str, Callable[[optuna.Study], go.Figure]] = {
    "sizes": size_figure,
    "curves": curve_figure,
    "epochs": epochs_figure,
    "importance": importance_figure,
}
"""By the name that each has in the dashboard."""
