"""Optuna's storage, with the parameters of a trial written at once.

Optuna writes each parameter that it suggests in a transaction of its own, 31 for a point of the drill space. On a
database server that took half the time of a proposal (`tests/benchmarks/search_overhead.py`). The first point of a
process is still written so: each parameter is then compared with those that other processes have written.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import TrialState

from search.storage.checked import CheckedStorage


@dataclass(frozen=True)
class _Param:
    """A parameter of a trial, as the database has it."""

    trial_id: int
    name: str
    value: float
    distribution: BaseDistribution


class TogetherStorage(CheckedStorage):
    """Optuna's storage in a database, that can hold a trial's parameters back and write them in one transaction.

    For one thread: everything that is suggested within `params_together` is held back.
    """

    _held: list[_Param] | None = None

    @contextmanager
    def params_together(self) -> Iterator[None]:
        """Writes the parameters that are suggested within at its end; none where it ends by an error.

        Raises:
            UpdateFinishedTrialError: At the end, where another process has ended the trial meanwhile.
        """
        held = self._held = []
        try:
            yield
        finally:
            self._held = None
        if held:
            self._write_params(held)

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        """What Optuna's cache calls for each parameter."""
        if self._held is None or previous_distribution is None:
            super()._set_trial_param(
                trial_id, param_name, param_value_internal, distribution, previous_distribution
            )
            return
        check_distribution_compatibility(previous_distribution, distribution)
        self._held.append(_Param(trial_id, param_name, param_value_internal, distribution))

    def _write_params(self, params: Sequence[_Param]) -> None:
        """Writes all, or where some are there already, as after an answer that was lost, none."""
        with _create_scoped_session(self.scoped_session, ignore_integrity_error=True) as session:
            for trial_id in {param.trial_id for param in params}:
                trial = models.TrialModel.find_or_raise_by_id(trial_id, session)
                self.check_trial_is_updatable(trial_id, cast(TrialState, trial.state))
            session.add_all(
                models.TrialParamModel(
                    trial_id=param.trial_id,
                    param_name=param.name,
                    param_value=param.value,
                    distribution_json=distribution_to_json(param.distribution),
                )
                for param in params
            )
