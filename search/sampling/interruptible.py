"""A sampler that takes long, asked in a thread, so that a person's Ctrl-C need not wait for its answer."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from drill_models.errors import Interrupted
from search.context import GIVEN_UP
from search.sampling.delegating import SamplerWrapper

LOOK = 0.1
"""Seconds after which `should_stop` is asked again."""

T = TypeVar("T")


class InterruptibleSampler(SamplerWrapper):
    """Asks its base for joint points in a thread, which is given up where `should_stop` says yes.

    The thread only computes, and reads the study; whatever it still finds is dropped. It ends with the process at
    the latest.

    Args:
        base: The sampler.
        should_stop: Asked while it computes.
    """

    def __init__(self, base: BaseSampler, should_stop: Callable[[], bool]) -> None:
        super().__init__(base)
        self._should_stop = should_stop

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the base proposes.

        Raises:
            Interrupted: `should_stop` said yes first.
        """
        return in_a_thread(lambda: self._base.sample_relative(study, trial, search_space), self._should_stop)


def in_a_thread(action: Callable[[], T], should_stop: Callable[[], bool]) -> T:
    """Does something that nothing stops, in a thread of its own.

    Raises:
        Interrupted: `should_stop` said yes; the thread is given up.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # raised again where it is waited for
            errors.append(error)

    thread = threading.Thread(target=run, name=GIVEN_UP, daemon=True)
    thread.start()
    while thread.is_alive():
        if should_stop():
            raise Interrupted
        thread.join(LOOK)
    if errors:
        raise errors[0]
    return results[0]
