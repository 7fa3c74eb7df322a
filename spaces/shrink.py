"""The nearest smaller point that fits a budget, found the same way each time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from drill_models.count import count
from drill_models.step import ModelConfig
from spaces.budget import Budget
from spaces.skeletons import MIN_WIDTH, Skeleton, smallest_model

_STEPS = 12
"""Halvings of the width factor: to 1/4,096, finer than one channel in 128."""


def shrink(
    point: dict[str, Any],
    budget: Budget,
    skeletons: Sequence[Skeleton],
    num_classes: int,
    model: Callable[[Mapping[str, Any]], ModelConfig],
) -> dict[str, Any]:
    """Keeps a point that fits; else makes it narrower, and only where that is not enough, simpler.

    All widths are multiplied by one factor, the largest that fits, down to the least width; then some get
    back the channel that rounding took. Where even the least is too large, the head becomes GAP, then batch
    norm goes, then the next smaller skeleton is tried, down to the smallest. Every other dimension stays, so
    that different points stay different.

    Args:
        point: Every dimension of the space.
        budget: The limits; some network of the space must keep them (see `check_budget`).
        skeletons: Of the space.
        num_classes: Of the data set.
        model: The space's network of a point.

    Raises:
        ValueError: No network of the space keeps the budget.
    """
    if budget.admits(model(point)):
        return point
    for candidate in _simpler(point, skeletons, num_classes):
        names = next(s for s in skeletons if s.name == candidate["skeleton"]).widths
        if not budget.admits(model(_scaled(candidate, names, 0.0))):
            continue
        low, high = 0.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if budget.admits(model(_scaled(candidate, names, middle))):
                low = middle
            else:
                high = middle
        return _refilled(candidate, _scaled(candidate, names, low), names, low, lambda p: budget.admits(model(p)))
    raise ValueError(f"no network of the space keeps {budget}")


def _scaled(point: dict[str, Any], names: Sequence[str], factor: float) -> dict[str, Any]:
    return {**point, **{name: max(MIN_WIDTH, int(point[name] * factor)) for name in names}}


def _refilled(
    wide: dict[str, Any],
    narrow: dict[str, Any],
    names: Sequence[str],
    factor: float,
    fits: Callable[[Mapping[str, Any]], bool],
) -> dict[str, Any]:
    """Gives widths the channel back that rounding took, where it fits: those first that lost most.

    Equal widths stay equal, because identity paths hang on that.
    """
    cut = {wide[name] for name in names if narrow[name] < wide[name] * factor}
    for width in sorted(cut, key=lambda width: int(width * factor) - width * factor):
        wider = {**narrow, **{name: narrow[name] + 1 for name in names if wide[name] == width}}
        if all(wider[name] <= wide[name] for name in names) and fits(wider):
            narrow = wider
    return narrow


def _simpler(point: dict[str, Any], skeletons: Sequence[Skeleton], num_classes: int) -> Iterator[dict[str, Any]]:
    """The point, then ever simpler ones with the same widths."""
    yield point
    yield {**point, "head": "gap"}
    yield {**point, "head": "gap", "batch_norm": "none"}
    # On a last feature map of one pixel a full-size convolution may be smaller than GAP and a linear layer.
    yield {**point, "head": "full_conv", "batch_norm": "none"}
    floors = {s.name: count(smallest_model(s, num_classes)).n_params for s in skeletons}
    smaller = sorted(
        (s.name for s in skeletons if (floors[s.name], s.name) < (floors[point["skeleton"]], point["skeleton"])),
        key=lambda name: (floors[name], name),
        reverse=True,
    )
    for name in smaller:
        yield {**point, "skeleton": name, "head": "gap"}
        yield {**point, "skeleton": name, "head": "gap", "batch_norm": "none"}
    # A limit other than parameters may rule these out, and let a skeleton with more parameters through.
    for other in skeletons:
        for head in ("gap", "full_conv"):
            yield {**point, "skeleton": other.name, "head": head, "batch_norm": "none"}
