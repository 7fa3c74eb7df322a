"""One page on a study, in one HTML file that needs nothing else: what was found, and whether the target holds.

The page is a template; this fills it from the study, and from the best network's weights where they are kept.
"""

import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from drill_models.count import count
from drill_models.files import write_text
from drill_models.hand_steps import all_steps
from drill_models.resolve import DataSource
from drill_models.step import ConvBlock, FullConvHead, ModelConfig, PoolBlock, feature_shapes
from search.console.tables import layer_rows, percent
from search.console.trial_tables import BEST, cells, not_learnt, value_words
from search.evaluation.run_cache import ConfirmedRuns
from search.evaluation.verdict_trust import unmet, whose
from search.export.step import step_file, step_six
from search.report.charts import (
    curves_chart,
    importance_chart,
    lowest_of_curves,
    lowest_shown,
    size_chart,
    spent_chart,
    svg,
)
from search.report.misclassified import Errors, best_errors
from search.report.provenance import environment, sitting_rows
from search.report.series import Size, epochs_spent, importance, sizes
from search.schema import attributes as attrs
from search.study.phrasing import NOTATION, chain
from search.study.ranking import Standing, best, finalists_of, front, ranked, standing_of, standings
from search.study.study import kept_verdict, read_settings
from search.study.trials import baselines, curve, has_two_values, tally
from search.text import counted, harmless, lines_of


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
        loader=PackageLoader("search.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
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
            held == verdict.seeds and not unmet(step),
            f"test set of {settings.dataset}, {held} of {counted(verdict.seeds, 'seed')}",
        )
    errors = best_errors(study, url, trial, step, source)
    spent = epochs_spent(study)
    found, found_sizes, curves = importance(study), sizes(study), _curves(study, trial)
    hand = baselines(study)
    stand = standings(study, hand)
    return {
        "title": harmless(study.study_name),
        "holds": holds,
        "badge": f"target of {percent(settings.target)} {'holds' if holds else 'does not hold'} ({where})",
        "caveats": [caveat.text for caveat in step.result.caveats] if step.result is not None else [],
        "summary": _summary(study, trial, settings.target),
        "network_line": f"{chain(step.model)}: trial {trial.number}, {count(step.model).n_params:,} of "
        f"{settings.max_params:,} parameters. ({NOTATION[0].upper()}{NOTATION[1:]}.)",
        "blocks": _blocks(step.model),
        "layers": layer_rows(count(step.model)),
        "analysis": lines_of(step.analysis),
        "curves": Markup(svg(curves_chart(curves, settings.target))),
        "curves_caption": _curves_caption(study, trial, curves, settings.target),
        "sizes": Markup(svg(size_chart(found_sizes, settings.max_params, settings.target))),
        "sizes_caption": _sizes_caption(found_sizes, settings.target, settings.epochs),
        "trials": cells(study, front(study) if has_two_values(study) else ranked(study)[:BEST]),
        "value_words": value_words(settings.epochs).capitalize(),
        "baselines": _baseline_rows(hand, stand),
        "not_learnt": not_learnt(stand.values()),
        "spent": Markup(svg(spent_chart(spent))),
        "spent_caption": f"{counts.trained} trials, {counts.pruned} stopped early: "
        f"{sum(one.trained for one in spent):,} epochs trained, {sum(one.saved for one in spent):,} saved.",
        "importance": Markup(svg(importance_chart(found))) if found else "",
        "errors": errors if isinstance(errors, Errors) else None,
        "no_errors": errors if isinstance(errors, str) else "",
        "sittings": sitting_rows(study),
        "environment": environment(step, url),
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
        f"and holds the target in {held} of them, {whose(verdict)}.",
    ]


def _blocks(model: ModelConfig) -> list[dict[str, str]]:
    """The network as boxes: name, shape after it, kind."""
    boxes = [{"name": "image", "shape": "1 x 28 x 28", "kind": ""}]
    for block, (channels, height, width) in zip(model.blocks, feature_shapes(model), strict=True):
        shape = f"{channels} x {height} x {width}"
        match block:
            case PoolBlock():
                pool = "pool" if block.mode == "max" else "average pool"
                boxes.append({"name": f"{pool} {block.size}", "shape": shape, "kind": "pool"})
            case ConvBlock():
                kind = "separable" if block.separable else "conv"
                kind = "inverted bottleneck" if block.expansion > 1 else kind
                name = f"{kind} {block.kernel} x {block.kernel}" + (", stride 2" if block.stride == 2 else "")
                boxes.append({"name": name + (" + input" if block.residual else ""), "shape": shape, "kind": ""})
    if isinstance(model.head, FullConvHead):
        head = "full-size conv"
    else:
        head = {"conv1x1": "GAP, conv 1 x 1", "linear": "GAP, linear", "none": "GAP"}[model.head.classifier]
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
    below = f" The picture begins at {percent(lowest)}; some epochs are below it." if cut else ""
    if trial.number not in finalists_of(study):
        return f"One run of each; the best trial's own run chose it, so it is the luckiest of many.{below}"
    return (
        f"One run of each. The best trial is one of a few that were chosen by this run, and of these the best by "
        f"the {standing_of(study, trial).of}.{below}"
    )


def _sizes_caption(found: Sequence[Size], target: float, epochs: int) -> str:
    lowest = lowest_shown(found, target)
    below = sum(size.accuracy < lowest for size in found)
    missing = f" Below the picture, under {percent(lowest)}: {below} more." if below else ""
    return f"Complete trials; {value_words(epochs)}.{missing}"


def _baseline_rows(hand: Sequence[FrozenTrial], stand: Mapping[int, Standing]) -> list[list[str]]:
    steps, kept = {step.name: step for step in all_steps()}, ConfirmedRuns()
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
