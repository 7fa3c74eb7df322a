"""One page on a study, in one HTML file that needs nothing else: what was found, and whether the target holds.

The page is a template; this fills it from the study, and from the best network's weights where they are kept.
"""

import base64
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from drill_models.count import count
from drill_models.data import ResidentData, validation_data
from drill_models.errors import DrillError
from drill_models.hand_steps import all_steps
from drill_models.resolve import DataSource, resolve
from drill_models.step import ConvBlock, FullConvHead, ModelConfig, PoolBlock, Step, feature_shapes
from drill_models.weights import unpacked
from drill_models.yaml_io import write_text
from search import attrs
from search.artifacts import WEIGHTS, Artifacts, artifact_folder
from search.confirmed import ConfirmedRuns
from search.describe import chain
from search.export import step_file, step_six
from search.history import (
    baselines,
    best,
    curve,
    finalists_of,
    front,
    has_two_values,
    ranked,
    standing_of,
    standings,
    tally,
)
from search.pages.charts import (
    curves_chart,
    digit_png,
    importance_chart,
    lowest_of_curves,
    lowest_shown,
    size_chart,
    spent_chart,
    svg,
)
from search.pages.series import Size, epochs_spent, importance, sizes
from search.plain import counted
from search.sittings import shown_command, sittings
from search.storage import shown
from search.study import kept_verdict, read_settings
from search.tables import layer_rows, percent
from search.trial_tables import BEST, cells

CHANCE = 0.3
"""A hand step below this has not learnt its ten classes."""
NOT_LEARNT = "One that is near 10 %, which is chance, had not begun to learn by the end of its epochs."

MAX_DIGITS = 48
"""Wrong digits that are shown."""


@dataclass(frozen=True)
class Digit:
    """A validation image that the network gets wrong: what it is, what the network says, the picture's address."""

    truth: int
    said: int
    picture: str


@dataclass(frozen=True)
class Errors:
    """What a network gets wrong.

    Attributes:
        line: In a sentence.
        labels: Of the rows and columns of the matrix.
        confusion: How often each true label (row) was given each label (column).
        digits: Some of the wrong ones.
    """

    line: str
    labels: tuple[int, ...]
    confusion: list[list[int]]
    digits: list[Digit]


def write_report(study: optuna.Study, url: URL, source: DataSource, out: Path | None) -> Path:
    """Writes the page; returns where.

    Args:
        study: With a complete trial.
        url: Its storage.
        source: Where data lie, for the digits that the best network gets wrong; never downloaded.
        out: The file, or None for one named as the study's.

    Raises:
        DrillError: No trial is complete, or the file cannot be written.
    """
    path = out if out is not None else step_file(study.study_name).with_suffix(".html")
    environment = Environment(
        loader=PackageLoader("search.pages", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = page_of(study, url, source)
    write_text(path, environment.get_template("report.html.jinja").render(page=page))
    return path


def page_of(study: optuna.Study, url: URL, source: DataSource) -> dict[str, Any]:
    """Everything that the template shows.

    Raises:
        DrillError: No trial is complete.
    """
    trial = best(study)
    settings, step = read_settings(study), step_six(study, trial)
    counts, standing = tally(study), standing_of(study, trial)
    verdict = kept_verdict(study, trial.number)
    if verdict is None:
        holds, where = standing.holds(settings.target), f"validation images of {settings.dataset}"
    else:
        held = verdict.holding(settings.target)
        holds, where = (
            held == verdict.seeds,
            f"test set of {settings.dataset}, {held} of {counted(verdict.seeds, 'seed')}",
        )
    errors = _errors(study, url, trial, step, source)
    spent = epochs_spent(study)
    found, found_sizes, curves = importance(study), sizes(study), _curves(study, trial)
    stand = standings(study, baselines(study))
    return {
        "title": study.study_name,
        "holds": holds,
        "badge": f"target of {percent(settings.target)} {'holds' if holds else 'does not hold'} ({where})",
        "caveats": [caveat.text for caveat in step.result.caveats] if step.result is not None else [],
        "summary": _summary(study, trial, settings.target),
        "network_line": f"{chain(step.model)}: trial {trial.number}, {count(step.model).n_params:,} of "
        f"{settings.max_params:,} parameters. (Each number: channels of a convolution; s depthwise separable, "
        "p padded, + with an identity path, /1 a kernel that is not 3 x 3; P: a pool.)",
        "blocks": _blocks(step.model),
        "layers": layer_rows(count(step.model)),
        "analysis": step.analysis.splitlines(),
        "curves": Markup(svg(curves_chart(curves, settings.target))),
        "curves_caption": _curves_caption(study, trial, curves, settings.target),
        "sizes": Markup(svg(size_chart(found_sizes, settings.max_params, settings.target))),
        "sizes_caption": _sizes_caption(found_sizes, settings.target),
        "trials": cells(study, front(study) if has_two_values(study) else ranked(study)[:BEST]),
        "baselines": _baseline_rows(study),
        "not_learnt": NOT_LEARNT if any(one.mean < CHANCE for one in stand.values()) else "",
        "spent": Markup(svg(spent_chart(spent))),
        "spent_caption": f"{counts.trained} trials, {counts.pruned} stopped early: "
        f"{sum(one.trained for one in spent):,} epochs trained, {sum(one.saved for one in spent):,} saved.",
        "importance": Markup(svg(importance_chart(found))) if found else "",
        "errors": errors if isinstance(errors, Errors) else None,
        "no_errors": errors if isinstance(errors, str) else "",
        "sittings": _sittings(study),
        "environment": _environment(step, url),
        "made": f"drill-search {version('drill-search')}. Values are validation accuracies unless the test set is "
        f"named; no test image was read by the search.",
    }


def _summary(study: optuna.Study, trial: FrozenTrial, target: float) -> list[str]:
    """Two sentences."""
    settings, standing = read_settings(study), standing_of(study, trial)
    counts, verdict = tally(study), kept_verdict(study, trial.number)
    n_params = trial.user_attrs[attrs.N_PARAMS]
    first = (
        f"The best of {counts.trained} networks has {n_params:,} of at most {settings.max_params:,} parameters "
        f"and {percent(standing.mean)} on the validation images of {settings.dataset} ({standing.of})."
    )
    if verdict is None:
        return [first, "It has no verdict on the test set yet: drill-search confirm trains it again for one."]
    held = verdict.holding(target)
    return [
        first,
        f"On the test set it has {percent(verdict.mean)} in the last epoch, the mean of "
        f"{counted(verdict.seeds, 'seed')} from {percent(verdict.min)} to {percent(verdict.max)}, "
        f"and holds the target in {held} of them.",
    ]


def _blocks(model: ModelConfig) -> list[dict[str, str]]:
    """The network as boxes: name, shape after it, kind."""
    boxes = [{"name": "image", "shape": "1 x 28 x 28", "kind": ""}]
    for block, (channels, height, width) in zip(model.blocks, feature_shapes(model), strict=True):
        shape = f"{channels} x {height} x {width}"
        match block:
            case PoolBlock():
                boxes.append({"name": f"pool {block.size}", "shape": shape, "kind": "pool"})
            case ConvBlock():
                name = f"{'separable' if block.separable else 'conv'} {block.kernel} x {block.kernel}"
                boxes.append({"name": name + (" + input" if block.residual else ""), "shape": shape, "kind": ""})
    head = "full-size conv" if isinstance(model.head, FullConvHead) else "GAP"
    boxes.append({"name": head, "shape": f"{model.num_classes} scores", "kind": ""})
    return boxes


def _curves(study: optuna.Study, trial: FrozenTrial) -> list[tuple[str, Sequence[float]]]:
    """The best trial's, and the best hand step's beside it."""
    hand = next((other for other in ranked(study) if attrs.BASELINE in other.user_attrs), None)
    lines: list[tuple[str, Sequence[float]]] = [
        (f"trial {trial.number}", [record.val_accuracy for record in curve(trial)])
    ]
    if hand is not None and hand.number != trial.number:
        name = f"best hand step, {hand.user_attrs[attrs.BASELINE]}"
        lines.append((name, [record.val_accuracy for record in curve(hand)]))
    return lines


def _curves_caption(
    study: optuna.Study, trial: FrozenTrial, curves: Sequence[tuple[str, Sequence[float]]], target: float
) -> str:
    """How the best trial was chosen, by this very run or by the mean of several; and what is below the picture."""
    lowest = lowest_of_curves(curves, target)
    cut = any(accuracy < lowest for _, accuracies in curves for accuracy in accuracies)
    below = f" The picture begins at {percent(lowest)}; earlier epochs are below it." if cut else ""
    if trial.number not in finalists_of(study):
        return f"One run of each; the best trial's own run chose it, so it is the luckiest of many.{below}"
    return (
        f"One run of each. The best trial is one of a few that were chosen by this run, and of these the best by "
        f"the {standing_of(study, trial).of}.{below}"
    )


def _sizes_caption(found: Sequence[Size], target: float) -> str:
    lowest = lowest_shown(found, target)
    below = sum(size.accuracy < lowest for size in found)
    missing = f" Below the picture, under {percent(lowest)}: {below} more." if below else ""
    return f"Complete trials; value: validation accuracy, mean of the last three epochs and of the seeds.{missing}"


def _baseline_rows(study: optuna.Study) -> list[list[str]]:
    hand = baselines(study)
    stand, steps, kept = standings(study, hand), {step.name: step for step in all_steps()}, ConfirmedRuns()
    rows = []
    for trial in hand:
        name = trial.user_attrs[attrs.BASELINE]
        here = "over budget" if attrs.OVER_BUDGET in trial.user_attrs else "-"
        if trial.number in stand:
            here = percent(stand[trial.number].mean)
        runs = kept.of_recipe(steps[name].digest) if name in steps else []
        replayed = "-"
        if runs:
            replayed = f"{percent(statistics.mean(run.accuracies[-1] for run in runs))} (n = {len(runs)})"
        reported = percent(trial.user_attrs.get(attrs.REPORTED))
        rows.append([name, f"{trial.user_attrs[attrs.N_PARAMS]:,}", reported, here, replayed])
    return rows


def _environment(step: Step, url: URL) -> list[tuple[str, str]]:
    """Where the study lies, and what the best network's own run was trained by, whichever sitting that was."""
    run = None if step.result is None else step.result.run
    found = [("storage", shown(url))]
    if run is not None:
        threads = counted(run.threads, "thread")
        program = "" if run.program is None else f" by drill-search {run.program}"
        found.append(
            (
                "the best was trained",
                f"with seed {run.seed}{program} and PyTorch {run.torch} on {run.device}, {threads}, {run.engine}, "
                f"{run.precision}",
            )
        )
    return found


def _sittings(study: optuna.Study) -> list[dict[str, Any]]:
    """What the search was asked and ran on, each time; times with the same of both stand together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for sitting in sittings(study):
        versions = ", ".join(f"{name} {number}" for name, number in sitting["versions"].items())
        machine = f"{sitting['system']}, Python {sitting['python']}"
        key = shown_command(sitting), str(sitting["workers"]), machine, versions
        found.setdefault(key, []).append(sitting["began"])
    return [
        {
            "command": command,
            "facts": [
                ("began", _times(began)),
                ("at a time", workers),
                ("machine", machine),
                ("versions", versions),
            ],
        }
        for (command, workers, machine, versions), began in found.items()
    ]


def _times(began: Sequence[str]) -> str:
    if len(began) == 1:
        return began[0]
    return f"{began[0]}, and {counted(len(began) - 1, 'more time')} until {began[-1]}"


def _errors(study: optuna.Study, url: URL, trial: FrozenTrial, step: Step, source: DataSource) -> Errors | str:
    """What the best network gets wrong on the validation images; else why that cannot be said."""
    weights = Artifacts(artifact_folder(url)).find(study, trial, WEIGHTS)
    if weights is None:
        return "The weights of the best network are not kept here, so its errors are not known."
    try:
        resolved = resolve(step.dataset, source)
        if resolved.instead_of_mnist is not None:
            return f"Its errors are not known here: {resolved.instead_of_mnist}."
        data = validation_data(resolved)
    except DrillError as error:
        return f"Its errors are not known here: {error}."
    return errors_of(unpacked(weights, step.model), data)


@torch.no_grad()
def errors_of(net: torch.nn.Module, data: ResidentData) -> Errors:
    """What a network gets wrong on the held-out images."""
    images, labels = data.held_out.pixels, data.held_out.labels
    parts = (net(data.normalise(part.float())) for part in torch.split(images, 1000))
    said = torch.cat([part.argmax(1) for part in parts])
    n = int(labels.max()) + 1
    within = said < n
    confusion = torch.zeros(n, n, dtype=torch.int64)
    confusion.index_put_((labels[within], said[within]), torch.ones(int(within.sum()), dtype=torch.int64), True)
    wrong = torch.nonzero(said != labels).flatten()
    digits = [Digit(int(labels[i]), int(said[i]), _address(images[i, 0])) for i in wrong[:MAX_DIGITS].tolist()]
    shown_here = f"; the first {MAX_DIGITS} are shown" if len(wrong) > MAX_DIGITS else ""
    right = percent(1 - len(wrong) / len(labels))
    line = f"{len(wrong)} of {len(labels):,} validation images are wrong ({right} right){shown_here}."
    return Errors(line, tuple(range(n)), confusion.tolist(), digits)


def _address(pixels: torch.Tensor) -> str:
    return "data:image/png;base64," + base64.b64encode(digit_png(pixels.tolist())).decode()
