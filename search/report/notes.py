"""Notes of a study and its trials, as Markdown: what optuna-dashboard shows beside the numbers."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import count as numbers
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._note import note_str_key_prefix, note_ver_key, split_body

from drill_models.count import Count, count
from drill_models.result import Verdict
from drill_models.step import Step
from search.console.tables import percent
from search.schema import attributes as attrs
from search.study.phrasing import chain
from search.study.ranking import ranked, standing_of
from search.study.session_log import folded_command, sittings
from search.study.study import kept_verdict, read_settings
from search.study.trials import accuracy_of, curve, has_two_values, is_interrupted, name_of, point_of, tally
from search.text import counted, mean_of_last
from spaces.drill import DrillSpace


def put_notes(study: optuna.Study, notes: Sequence[tuple[FrozenTrial | None, str]]) -> None:
    """Writes notes of trials, and of the study where there is no trial, unless they say this already.

    `optuna_dashboard.save_note` takes no finished trial, and reads all notes of the study for each that it writes,
    which takes hours with 10,000 trials; so its parts are put together here, and nowhere else.
    """
    storage, study_id = study._storage, study._study_id
    present = storage.get_study_system_attrs(study_id)
    for trial, text in notes:
        trial_id = None if trial is None else trial._trial_id
        old = dict(_pieces(present, trial_id))
        if "".join(old.values()) == text and note_ver_key(trial_id) in present:
            continue
        new = split_body(text, trial_id)
        # The version comes last: without it there is no note.
        version = {note_ver_key(trial_id): present.get(note_ver_key(trial_id), 0) + 1}
        for key, value in {**dict.fromkeys(old, ""), **new, **version}.items():
            storage.set_study_system_attr(study_id, key, value)


def without_note(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Those that have no note yet. Another trial's does not count: a copied study keeps those of its origin."""
    present = study._storage.get_study_system_attrs(study._study_id)

    def has_note(trial: FrozenTrial) -> bool:
        first = next(_pieces(present, trial._trial_id), ("", ""))[1].partition("\n")[0]
        return note_ver_key(trial._trial_id) in present and first == f"# {_title(trial)}"

    return [trial for trial in trials if not has_note(trial)]


def _pieces(present: Mapping[str, Any], trial_id: int | None) -> Iterator[tuple[str, str]]:
    """The parts of a note, in their order, under their names in the study's attributes."""
    keys = (f"{note_str_key_prefix(trial_id)}{i}" for i in numbers())
    for key in keys:
        if key not in present:
            return
        yield key, present[key]


def study_note(study: optuna.Study) -> str:
    """The goal, the command, the best so far, and how to go on."""
    settings, counts = read_settings(study), tally(study)
    aim = "the highest accuracy of every size" if has_two_values(study) else "the highest accuracy"
    lines = [
        f"# {study.study_name}",
        f"Goal: {aim} on {settings.dataset} with at most {settings.budget}, {counted(settings.epochs, 'epoch')}; "
        f"target {percent(settings.target)}.",
        f"{counts.trained} trials: {counts.complete} complete, {counts.pruned} stopped early.",
    ]
    best = next(iter(ranked(study)), None)
    if best is None:
        lines.append("No trial is complete yet.")
    else:
        standing = standing_of(study, best)
        held = "holds" if standing.holds(settings.target) else "does not hold"
        lines.append(
            f"**Best: trial {best.number}**, {percent(standing.mean)} (validation, {standing.of}) with "
            f"{best.user_attrs[attrs.N_PARAMS]:,} parameters: there the target {held}."
        )
        verdict = kept_verdict(study, best.number)
        if verdict is None:
            lines.append("It has no verdict yet: `drill-search confirm`.")
        else:
            lines.append(
                f"{_verdict(verdict)} There the target holds with {verdict.holding(settings.target)} of "
                f"{counted(verdict.seeds, 'seed')}."
            )
    commands = dict.fromkeys("\n    ".join(folded_command(sitting)) for sitting in sittings(study))
    if commands:
        lines.append("Made by:\n\n" + "\n".join(f"    {command}" for command in commands))
    lines.append("Export the best:\n\n    drill-search export --study " + shlex.quote(study.study_name))
    lines.append("Values are validation accuracies; the search does not read the test set.")
    return "\n\n".join(lines) + "\n"


def trial_note(study: optuna.Study, trial: FrozenTrial, space: DrillSpace, hand: dict[str, Step]) -> str:
    """What a trial is: its network, its result, its verdict; of a hand step the page of its drill.

    Args:
        study: Of the trial.
        trial: Finished.
        space: What its point means.
        hand: Published steps by name.
    """
    title, point = _title(trial), point_of(trial)
    if trial.user_attrs.get(attrs.LEFT_OUT):
        return f"# {title}\n\nLeft out: {trial.user_attrs.get(attrs.REASON)}.\n"
    if not space.distributions.keys() <= point.keys():
        return f"# {title}\n\nInterrupted while it was being proposed: it never had a network.\n"
    model = space.model(point)
    counted = count(model)
    lines = [f"# {title}", f"`{chain(model)}`, {counted.n_params:,} parameters. {_outcome(trial)}"]
    verdict = kept_verdict(study, trial.number)
    if verdict is not None:
        lines.append(_verdict(verdict))
    if trial.user_attrs.get(attrs.BASELINE) in hand:
        lines += _page(hand[trial.user_attrs[attrs.BASELINE]])
    lines.append(layers_markdown(counted))
    return "\n\n".join(lines) + "\n"


def _title(trial: FrozenTrial) -> str:
    name = name_of(trial)
    return f"trial {trial.number}" + (f": {name}" if name else "")


def _outcome(trial: FrozenTrial) -> str:
    records = curve(trial)
    reason = trial.user_attrs.get(attrs.REASON)
    if attrs.OVER_BUDGET in trial.user_attrs:
        return "Over the budget: recorded, not trained."
    if trial.state == TrialState.COMPLETE:
        return f"{percent(accuracy_of(trial))}: validation accuracy, {mean_of_last(len(records))}."
    if trial.state == TrialState.PRUNED:
        last = percent(records[-1].val_accuracy) if records else "no epoch"
        return f"Stopped early at {last} after {counted(len(records), 'epoch')}." + (
            f" {reason}." if reason else ""
        )
    if is_interrupted(trial):
        return "Interrupted; its point was queued again."
    return f"Failed: {reason or 'no reason is known'}."


def _verdict(verdict: Verdict) -> str:
    return (
        f"**Verdict: {percent(verdict.mean)}** on the test set in the last epoch (mean of "
        f"{counted(verdict.seeds, 'seed')}, {percent(verdict.min)} to {percent(verdict.max)}); in the last five "
        f"epochs at least {percent(verdict.last5_min)}."
    )


def _page(step: Step) -> list[str]:
    """The page of a drill: target, reported result, analysis, caveats."""
    lines = [f"## The page of the drill\n\nTarget: {step.target.purpose}"]
    result = step.result
    if result is not None and result.reported is not None:
        said = result.reported
        lines.append(
            f"Reported: train {percent(said.train_accuracy)}, test {percent(said.test_accuracy)}, the best epoch, "
            f"chosen on the test set; not comparable with a validation value."
        )
    if step.analysis:
        lines.append(f"Analysis: {step.analysis}")
    lines += [
        f"Caveat ({caveat.kind}): {caveat.text}" for caveat in (result.caveats if result is not None else ())
    ]
    return lines


def layers_markdown(counted: Count) -> str:
    """The layer table."""
    rows = ["| layer | kernel | pad | output | field | parameters |", "|---|---|---|---|---|---|"]
    for row in counted.layers:
        kernel = f"{row.kernel}x{row.kernel}" if row.kernel else "-"
        shape = "x".join(map(str, row.out_shape))
        rows.append(
            f"| {row.name} | {kernel} | {row.padding if row.kernel else '-'} | {shape} | {row.receptive_field} "
            f"| {row.n_params:,} |"
        )
    return "\n".join(rows)
