"""The analysis of a step 6, written from the data, in the words of the course."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from drill_models.result import EpochRecord
from search.plain import counted

GAP = 0.003
"""Train accuracy so far above validation accuracy is called over-fitting, so far below it under-fitting, where
that is more than chance: two standard errors of the validation accuracy."""


def comparison_with(name: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What two recipes differ in, as flat mappings from a key to what it says."""
    keys = [key for key in ours if ours[key] != theirs.get(key)]
    if not keys:
        return f"Like the best hand step, {name}, but for where its layers have dropout or none, or its epochs."
    changes = [f"{key} {ours[key]} (there {theirs.get(key)})" for key in keys]
    return f"Different from the best hand step, {name}: " + "; ".join(changes) + "."


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
        return f"Under-fitting: {figures}; it has not learnt the training images either."
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
