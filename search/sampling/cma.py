"""Optuna's CMA-ES, which keeps its state in the study as a pickle: nothing but that state is read from it here."""

import io
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

from cmaes import CMA
from optuna.samplers import CmaEsSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from drill_models.errors import StudyError

_OF_A_STATE = frozenset(
    (
        "cmaes._cma.CMA",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",  # of NumPy 1
        "numpy.core.multiarray.scalar",
    )
)
"""What a state is made of: the optimiser, and its arrays and numbers."""


class _States(pickle.Unpickler):
    """Knows no other classes or functions, so that a study of a stranger runs nothing."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}"
        if name not in _OF_A_STATE:
            raise pickle.UnpicklingError(f"{name} is no part of it")
        return super().find_class(module_name, global_name)


class CmaSampler(CmaEsSampler):
    """CMA-ES that may read the studies of others."""

    def _restore_optimizer(self, completed_trials: list[FrozenTrial]) -> CMA | None:
        """The latest state in the study; None before there is one.

        Raises:
            StudyError: What is there is none.
        """
        for trial in reversed(completed_trials):
            parts = {k: v for k, v in trial.system_attrs.items() if k.startswith(self._attr_key_optimizer)}
            if not parts:
                continue
            try:
                state = _States(io.BytesIO(bytes.fromhex(self._concat_optimizer_attrs(parts)))).load()
            except Exception as error:  # a damaged pickle raises what it likes
                raise _no_state(trial, str(error)) from error
            if not isinstance(state, CMA):
                raise _no_state(trial, f"it is of the type {type(state).__name__}")
            return state
        return None

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As Optuna's, without its warning of constraints: whatever proposes here is held to them from outside."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Constraints have been set")
            super().after_trial(study, trial, state, values)


def _no_state(trial: FrozenTrial, why: str) -> StudyError:
    return StudyError(f"trial {trial.number} keeps no state of CMA-ES ({why[:200]}); use another --sampler")
