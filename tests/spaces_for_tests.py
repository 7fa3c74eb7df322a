"""The drill space and random points of it, for several test files."""

import optuna

from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons
from spaces.space import Point

SPACE = DrillSpace(load_skeletons())


def random_points(n: int, seed: int = 0) -> list[Point]:
    """Points drawn uniformly (logarithmically where a dimension is), whatever their size."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(dict(SPACE.distributions)).params for _ in range(n)]
