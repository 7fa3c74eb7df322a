"""Neighbours of a point: a few small changes, then the widths grow or shrink until the budget is full.

Local search needs changes that keep most of what makes a network good. A change here touches a dimension that the
point uses, is small more often than large, and keeps equal widths equal, because skip connections depend on them.

Sources: White et al., "Local search is state of the art for neural architecture search benchmarks" (2020, arXiv
2005.02960); Schneider et al., "Mutation is all you need" (2021, arXiv 2107.07343).
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from drill_models.count import count
from drill_models.step import ConvBlock, ModelConfig
from spaces.budget import Budget
from spaces.drill import DrillSpace
from spaces.skeletons import MAX_WIDTH, MIN_WIDTH, Skeleton
from spaces.space import Point

NOTCH = 0.12
"""Standard deviation of a nudge, as a share of a dimension's range (of its logarithm, where it is logarithmic)."""

WIDTH_NUDGE = 0.3
"""Standard deviation of a change of width, as a natural logarithm."""

TILT = 0.5
"""Standard deviation of a tilt: by this much, as a logarithm, the last width grows against the first."""

SIZE_NUDGE = 0.3
"""Standard deviation of the logarithm of a child's size against its parent's, where every size is sought."""

CHANGES = (0.5, 0.3, 0.2)
"""Shares of children with one, two and three changes."""

WIDTHS, FORM, TRAINING = 0.4, 0.15, 0.45
"""Shares of changes: of widths, of the network's form (skeleton, head, norm), of a training setting."""

FORM_DIMENSIONS = ("skeleton", "batch_norm", "head", "dropout")
"""Categorical dimensions of the network."""

ORDERED = ("batch_size", "weight_decay", "ema_decay")
"""Categorical dimensions whose choices stand in order: a nudge goes to the next one."""

_HALVINGS = 10
"""Of the factor on all widths, while they are made to fill the budget."""

_ATTEMPTS = 20
"""Changes that are tried where one had no effect; a tiny space may hold no other."""


@dataclass(frozen=True)
class Neighbourhood:
    """Children of a point, each within a budget and filling it.

    Attributes:
        distributions: Every dimension of the space.
        skeletons: What the dimension `skeleton` chooses from.
        model: The space's network of a point.
        identity: Equal for points that mean the same.
        shrink: The nearest smaller point that keeps a budget.
    """

    distributions: Mapping[str, BaseDistribution]
    skeletons: Sequence[Skeleton]
    model: Callable[[Mapping[str, Any]], ModelConfig]
    identity: Callable[[Mapping[str, Any]], object]
    shrink: Callable[[Mapping[str, Any], Budget], Point]

    def child(self, parent: Mapping[str, Any], budget: Budget, rng: random.Random) -> Point:
        """Return a point with one to three changes against `parent`, filled to `budget`.

        Args:
            parent: Every dimension of the space.
            budget: The limits that the child keeps.
            rng: Decides the changes.
        """
        point = dict(parent)
        for _ in range(rng.choices((1, 2, 3), CHANGES)[0]):
            point = self._changed(point, rng)
        return self.filled(point, budget, rng)

    def _changed(self, point: Point, rng: random.Random) -> Point:
        """One change that matters."""
        before = self.identity(point)
        for _ in range(_ATTEMPTS):
            change = rng.choices((self._widths, self._form, self._training), (WIDTHS, FORM, TRAINING))[0]
            changed = change(point, rng)
            if self.identity(changed) != before:
                return changed
        return point

    # --- changes ---------------------------------------------------------------------------------

    def _widths(self, point: Point, rng: random.Random) -> Point:
        """One width, all equal widths together, a tilt from front to back, or two neighbours exchanged."""
        names = self._names(point)
        kind = rng.choices(("group", "one", "tilt", "swap"), (0.4, 0.2, 0.25, 0.15))[0]
        match kind:
            case "group":
                width = point[rng.choice(names)]
                chosen = [name for name in names if point[name] == width]
                return {**point, **dict.fromkeys(chosen, _nudged_width(width, rng))}
            case "one":
                name = rng.choice(names)
                return {**point, name: _nudged_width(point[name], rng)}
            case "tilt":
                by = rng.gauss(0, TILT)
                # Equal widths next to each other stay equal: they share the place of the first of them.
                place, places = 0, []
                for before, name in zip((None, *names), names, strict=False):
                    place += before is not None and point[before] != point[name]
                    places.append(place)
                span = max(1, place)
                factors = [math.exp(by * (at / span - 0.5)) for at in places]
                return {**point, **{n: _width(point[n] * f) for n, f in zip(names, factors, strict=True)}}
            case _:
                if len(names) < 2:
                    return point
                at = rng.randrange(len(names) - 1)
                first, second = names[at], names[at + 1]
                return {**point, first: point[second], second: point[first]}

    def _form(self, point: Point, rng: random.Random) -> Point:
        """Another skeleton, with widths carried over by depth, or another norm, head or kind of dropout."""
        name = rng.choices(FORM_DIMENSIONS, (0.7, 0.1, 0.1, 0.1))[0]
        changed = {**point, name: _other(self.distributions[name], point[name], rng)}
        if name == "skeleton":
            old, new = self._names(point), self._names(changed)
            changed |= {
                to: point[old[round(i * (len(old) - 1) / max(1, len(new) - 1))]] for i, to in enumerate(new)
            }
        return changed

    def _training(self, point: Point, rng: random.Random) -> Point:
        """One training setting by a notch."""
        names = [n for n in self.distributions if n not in FORM_DIMENSIONS and not n.startswith("c")]
        name = rng.choice(names)
        return {**point, name: _nudged(self.distributions[name], name, point[name], rng)}

    # --- filling ---------------------------------------------------------------------------------

    def filled(self, point: Mapping[str, Any], budget: Budget, rng: random.Random) -> Point:
        """Return the point with its widths scaled so that it just keeps the budget.

        All widths are scaled by one factor; then single groups of equal widths, in random order, get one channel
        more as long as that fits, and last single widths where no skip connection is lost.
        """
        names = self._names(point)

        def scaled(factor: float) -> Point:
            return {**point, **{name: _width(point[name] * factor) for name in names}}

        def fits(candidate: Mapping[str, Any]) -> bool:
            return budget.admits(self.model(candidate))

        low, high = math.log(MIN_WIDTH / MAX_WIDTH), math.log(MAX_WIDTH / MIN_WIDTH)
        if not fits(scaled(math.exp(low))):
            return self.shrink(point, budget)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if fits(scaled(math.exp(middle))):
                low = middle
            else:
                high = middle
        return self._topped_up(scaled(math.exp(low)), names, fits, rng)

    def _topped_up(
        self, point: Point, names: Sequence[str], fits: Callable[[Mapping[str, Any]], bool], rng: random.Random
    ) -> Point:
        """Adds single channels while they fit."""
        groups = [[name for name in names if point[name] == width] for width in {point[name] for name in names}]
        singles = [[name] for name in names]
        for sets in (sorted(groups), singles):
            rng.shuffle(sets)
            skips = _skips(self.model(point))
            for chosen in sets:
                wider = {**point, **{name: _width(point[name] + 1) for name in chosen}}
                model = self.model(wider)
                if wider != point and fits(wider) and _skips(model) >= skips:
                    point = wider
        return point

    def _names(self, point: Mapping[str, Any]) -> tuple[str, ...]:
        skeleton = next(each for each in self.skeletons if each.name == point["skeleton"])
        return skeleton.widths


def _skips(model: ModelConfig) -> int:
    """How many skip connections a network has."""
    return sum(isinstance(block, ConvBlock) and block.residual for block in model.blocks)


def _width(width: float) -> int:
    return min(MAX_WIDTH, max(MIN_WIDTH, round(width)))


def _nudged_width(width: int, rng: random.Random) -> int:
    """A width a little larger or smaller, by one channel at least."""
    by = rng.gauss(0, WIDTH_NUDGE)
    changed = _width(width * math.exp(by))
    return changed if changed != width else _width(width + (1 if by > 0 else -1))


def _other(distribution: BaseDistribution, value: Any, rng: random.Random) -> Any:
    """Another choice."""
    assert isinstance(distribution, CategoricalDistribution)
    others = [choice for choice in distribution.choices if choice != value]
    return rng.choice(others) if others else value


def _nudged(distribution: BaseDistribution, name: str, value: Any, rng: random.Random) -> Any:
    """A value a notch away: the next choice or another one, or a number nearby, one step at least."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            if name not in ORDERED:
                return _other(distribution, value, rng)
            at = choices.index(value)
            return choices[rng.choice([i for i in (at - 1, at + 1) if 0 <= i < len(choices)])]
        case IntDistribution(low=low, high=high):
            by = rng.gauss(0, NOTCH) * (high - low)
            return min(high, max(low, value + (round(by) or (1 if by > 0 else -1))))
        case FloatDistribution(low=low, high=high, step=None):
            by = rng.gauss(0, NOTCH) * math.log(high / low)
            return float(min(high, max(low, value * math.exp(by))))
        case FloatDistribution(low=low, high=high, step=float(step)):
            by = rng.gauss(0, NOTCH) * (high - low)
            steps = round(by / step) or (1 if by > 0 else -1)
            at = min(round((high - low) / step), max(0, round((value - low) / step) + steps))
            return min(high, round(low + at * step, 10))
    raise TypeError(f"unknown distribution {type(distribution).__name__}")


class Children:
    """Children within one budget.

    Args:
        space: The drill space.
        budget: Of every child.
    """

    def __init__(self, space: DrillSpace, budget: Budget) -> None:
        self._near = neighbourhood(space)
        self._budget = budget

    def __call__(self, parent: Mapping[str, Any], rng: random.Random) -> Point:
        """Return a child that fills the budget."""
        return self._near.child(parent, self._budget, rng)


class ChildrenOfEverySize:
    """Children of about their parent's size, for a search for the best of every size.

    Args:
        space: The drill space.
        budget: The largest size, and the other limits.
        least: Parameters of the smallest child that is asked for.
    """

    def __init__(self, space: DrillSpace, budget: Budget, *, least: int) -> None:
        self._near = neighbourhood(space)
        self._budget = budget
        self._least = least

    def __call__(self, parent: Mapping[str, Any], rng: random.Random) -> Point:
        """Return a child; its size is one more thing that it inherits and changes."""
        size = count(self._near.model(parent)).n_params * math.exp(rng.gauss(0, SIZE_NUDGE))
        size = min(self._budget.max_params, max(self._least, size))
        return self._near.child(parent, replace(self._budget, max_params=int(size)), rng)


def neighbourhood(space: DrillSpace) -> Neighbourhood:
    """Return the neighbourhood of points of the drill space."""

    def identity(point: Mapping[str, Any]) -> object:
        return space.decode(point, epochs=1)

    return Neighbourhood(space.distributions, space.skeletons, space.model, identity, space.shrink)
