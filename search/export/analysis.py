"""The analysis of a step 6, written from the data, in the words of the course."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from drill_models.count import count
from drill_models.data import VALIDATION_SHARE
from drill_models.datasets import dataset_facts
from drill_models.result import EpochRecord
from drill_models.step import Recipe
from search.schema import attributes as attrs
from search.study.phrasing import OF_THE_NETWORK, described
from search.study.ranking import finalists_of, front, ranked, standing_of
from search.study.study import StudySettings
from search.study.trials import accuracy_of, baselines, curve, has_two_values, origin_of, recipe_of, tally
from search.text import counted
from spaces.drill import DrillSpace

GAP = 0.003
"""Train accuracy so far above validation accuracy is called over-fitting, so far below it under-fitting, where
that is more than chance: two standard errors of the validation accuracy."""


def analysis_of(
    study: optuna.Study, trial: FrozenTrial, recipe: Recipe, settings: StudySettings, space: DrillSpace
) -> str:
    """What a study says of one of its complete trials, one thing a line.

    Args:
        study: Of the trial.
        trial: It has recorded epochs.
        recipe: What it trained.
        settings: Of the study.
        space: That it samples from.
    """
    counts = tally(study)
    records = curve(trial)
    standing = standing_of(study, trial)
    n_params = count(recipe.model).n_params
    sentences = [
        f"{_place(study, trial)} of {counts.complete} complete trials ({counts.pruned} more were stopped early): "
        f"{accuracy_of(trial):.2%} with {n_params:,} of {settings.max_params:,} parameters."
    ]
    if attrs.START in trial.user_attrs:
        sentences.append(f"It is {origin_of(trial)}.")
    if standing.runs > 1:
        chosen = "; by that it was chosen" if trial.number in finalists_of(study) else ""
        sentences.append(f"Trained with {standing.runs} seeds, its mean is {standing.mean:.2%}{chosen}.")
    hand = [t for t in ranked(study) if attrs.BASELINE in t.user_attrs]
    if hand:
        theirs = recipe_of(hand[0], space, settings.epochs)
        name = hand[0].user_attrs[attrs.BASELINE]
        figures = f"{accuracy_of(hand[0]):.2%} here with {hand[0].user_attrs[attrs.N_PARAMS]:,} parameters"
        if recipe == theirs:
            sentences.append(f"It is the hand step {name} ({figures}) itself.")
        else:
            sentences.append(comparison_with(name, figures, described(recipe), described(theirs)))
    elif baselines(study):
        sentences.append("No hand step of this study ran to its end.")
    n_images = dataset_facts(settings.dataset).train_size // VALIDATION_SHARE
    sentences.append(fit_sentence(records, settings.target, n_images))
    sentences.append(target_sentence(records, settings.target))
    sentences.append(noise_sentence(standing.mean, n_images, standing.runs, _chosen(study, trial)))
    return "\n".join(sentences)


def _chosen(study: optuna.Study, trial: FrozenTrial) -> str:
    """What a trial was chosen for by its value; empty where it is no better than others."""
    if ranked(study)[0].number == trial.number:
        return "it was chosen by that value"
    if trial.number in (point.number for point in front(study)):
        return "by that value it is the best of its size and below"
    return ""


def _place(study: optuna.Study, trial: FrozenTrial) -> str:
    """Which of a study's trials it is."""
    if has_two_values(study) and trial.number in (point.number for point in front(study)):
        return "Best of its size and below,"
    place = next(i for i, other in enumerate(ranked(study), start=1) if other.number == trial.number)
    return "Best" if place == 1 else f"Number {place}"


def comparison_with(name: str, figures: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What two recipes differ in, as flat mappings from a key to what it says: a line or two.

    Args:
        name: Of the hand step.
        figures: What it reached here, said once.
        ours: What is described.
        theirs: The hand step.
    """
    best = f"the best hand step, {name} ({figures})"
    keys = [key for key in ours if ours[key] != theirs.get(key)]
    if not keys:
        return f"Like {best}, but for where its layers have dropout or none, or its epochs."
    lines: list[str] = []
    for what, some in (
        ("network", [key for key in keys if key in OF_THE_NETWORK]),
        ("training", [key for key in keys if key not in OF_THE_NETWORK]),
    ):
        changes = [f"{key} {ours[key]} (there {theirs.get(key)})" for key in some]
        if changes:
            lines.append(f"Different in its {what} from {name if lines else best}: {'; '.join(changes)}.")
    return "\n".join(lines)


def fit_sentence(records: Sequence[EpochRecord], target: float, n_images: int) -> str:
    """Train against validation accuracy, on so many images, over the last three epochs."""
    last = records[-3:]
    train = sum(r.train_accuracy for r in last) / len(last)
    held = sum(r.val_accuracy for r in last) / len(last)
    figures = f"train {train:.2%}, validation {held:.2%} over the last {counted(len(last), 'epoch')}"
    gap = max(GAP, 2 * _error(held, n_images))
    if train - held > gap:
        return f"Over-fitting: {figures}; more regularisation or fewer parameters may help."
    if train < target - 10 * GAP:
        return (
            f"Under-fitting: {figures}; the training images, as augmentation and dropout leave them, are not "
            "learnt yet."
        )
    if held - train > gap:
        return (
            f"Under-fitting by choice, as dropout and augmentation make training harder than validation: "
            f"{figures}; there is room for less regularisation, or for more epochs."
        )
    if abs(train - held) > GAP:
        return f"Neither over- nor under-fitting: {figures}; on {n_images:,} images that difference may be chance."
    return f"Neither over- nor under-fitting: {figures}."


def target_sentence(records: Sequence[EpochRecord], target: float) -> str:
    """Whether the last epochs hold the target."""
    last = records[-5:]
    epochs = counted(len(last), "epoch")
    held = sum(r.val_accuracy >= target for r in last)
    if held == len(last):
        return f"All of the last {epochs} hold the target of {target:.2%} on the validation images."
    best = max(r.val_accuracy for r in records)
    return (
        f"{held} of the last {epochs} hold the target of {target:.2%} on the validation images "
        f"(best epoch {best:.2%})."
    )


def noise_sentence(accuracy: float, n_images: int, runs: int, chosen: str = "") -> str:
    """How far the mean of so many runs can be off, and if it was chosen by it, in which way that goes."""
    error = _error(accuracy, n_images)
    which = "One run with one seed: its value" if runs == 1 else f"The mean of {runs} runs"
    return (
        f"{which} has a standard error of about {error:.2%} on {n_images:,} validation images"
        f"{f' and is optimistic, because {chosen}' if chosen else ''}. The search did not use the test set."
    )


def _error(accuracy: float, n_images: int) -> float:
    """Standard error of an accuracy that was counted on so many images."""
    return math.sqrt(accuracy * (1 - accuracy) / n_images)
