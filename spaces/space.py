"""What a search needs to know of a space: its dimensions, and what a point costs."""

from collections.abc import Mapping
from typing import Any, Protocol

from optuna.distributions import BaseDistribution

from drill_models.step import ModelConfig, Recipe
from spaces.budget import Budget

Point = dict[str, Any]
"""Optuna's `params`: a flat mapping from dimension to scalar, every dimension present."""


class Space(Protocol):
    """A set of recipes that is searched as points.

    `decode(encode(recipe), epochs=recipe.training.epochs) == recipe` for every recipe that it contains.
    Epochs are how long a point is trained, not part of the point.
    """

    @property
    def name(self) -> str:
        """Name and version; points of different names cannot be compared."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """Every dimension; a trial suggests all of them, always."""

    def encode(self, recipe: Recipe) -> Point:
        """The point of a recipe; raises `StepError` with what differs where the space lacks it."""

    def decode(self, point: Mapping[str, Any], *, epochs: int) -> Recipe:
        """The recipe of a point."""

    def model(self, point: Mapping[str, Any]) -> ModelConfig:
        """The network of a point."""

    def shrink(self, point: Mapping[str, Any], budget: Budget) -> Point:
        """The point itself where it fits, else the nearest smaller one, always the same for the same point."""

    def least_params(self, budget: Budget) -> int:
        """Parameters of the smallest network that keeps a budget; some network of the space must."""
