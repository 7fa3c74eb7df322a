"""Optuna's storage, which gives only what fits: the place where all that is read from a study is checked.

Everybody reads trials and attributes through it: results, samplers, pruners, the dashboard. A trial that cannot
be read, or does not fit (`search.schema.checks`), is a failed trial without anything, so that numbers stay; an
attribute of a study that does not fit is not there. Why is remembered, once for each.
"""

import json
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from drill_models.errors import StudyError
from search.schema import attributes as attrs
from search.schema.attribute_checks import SETTINGS, SKELETONS, check_attribute, check_system_attribute, read_facts
from search.schema.checks import StudyFacts, Unfit, check_trial
from search.schema.models import MAX_JSON
from search.text import harmless

_UNREADABLE = (ValueError, TypeError, LookupError, RecursionError, AttributeError, ArithmeticError, AssertionError)
"""What Optuna and SQLAlchemy raise of rows that are not as they wrote them."""

_DISTRIBUTIONS: dict[str, BaseDistribution] = {}
"""By their text, which each trial repeats: reading one takes ten times as long as looking it up."""


class CheckedStorage(RDBStorage):
    """See the module."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._unfit: dict[int, dict[str, str]] = {}
        self._facts: dict[int, StudyFacts] = {}
        self._parsed: dict[tuple[int, str], tuple[str, Any, str | None]] = {}
        super().__init__(*args, **kwargs)

    def left_out(self, study_id: int) -> list[str]:
        """What does not fit of a study as far as it was read, each as field and fault."""
        return list(self._unfit.get(study_id, {}).values())

    # --- trials ----------------------------------------------------------------------------------

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """What Optuna's cache asks for: trials that it does not know to be finished."""
        try:
            found = super()._get_trials(study_id, states, included_trial_ids, trial_id_greater_than)
        except _UNREADABLE as error:
            if isinstance(error, KeyError) and "Record does not exist" in str(error):
                raise
            found = self._one_by_one(study_id)
        if not all(type(trial.number) is int for trial in found):
            raise StudyError("the study is damaged: the number of a trial is none")
        facts = self._facts_of(study_id)
        return found if facts is None else [self._checked(study_id, trial, facts) for trial in found]

    def _checked(self, study_id: int, trial: FrozenTrial, facts: StudyFacts) -> FrozenTrial:
        """The trial, or what stands for it."""
        if attrs.REASON in trial.user_attrs and not trial.distributions and trial.user_attrs.get(attrs.LEFT_OUT):
            reason = trial.user_attrs[attrs.REASON]
        else:
            try:
                check_trial(trial, facts)
                return trial
            except Unfit as error:
                reason = harmless(error)
        self._unfit.setdefault(study_id, {})[f"{trial.number}"] = f"trial {trial.number}: {reason}"
        return _stand_in(trial.number, trial._trial_id, reason)

    def _one_by_one(self, study_id: int) -> list[FrozenTrial]:
        """All trials, where some row of one cannot even be loaded.

        Raises:
            StudyError: Not even their numbers can be read.
        """
        query = "SELECT trial_id, number FROM trials WHERE study_id = :study ORDER BY trial_id"
        found = []
        with _create_scoped_session(self.scoped_session) as session:
            rows = [tuple(row) for row in session.execute(sqlalchemy.text(query), {"study": study_id})]
        for trial_id, number in rows:
            if not (isinstance(number, int) and isinstance(trial_id, int)):
                raise StudyError("the study is damaged: the number of a trial is none")
            try:
                found.append(super().get_trial(trial_id))
            except (*_UNREADABLE, Unfit):
                found.append(_stand_in(number, trial_id, "a value of its row cannot be read"))
        return found

    def _build_frozen_trial_from_trial_model(self, trial: models.TrialModel) -> FrozenTrial:
        """Optuna's, but each text of a distribution is read once, and what cannot be read is left out."""
        try:
            return _frozen(trial)
        except (*_UNREADABLE, Unfit) as error:
            if not isinstance(trial.number, int) or isinstance(trial.number, bool):
                raise
            said = str(error) if isinstance(error, Unfit) else "an attribute or a parameter cannot be read"
            return _stand_in(trial.number, trial.trial_id, said)

    def _set_trial_param(self, *args: Any, **kwargs: Any) -> None:
        """Optuna's, which compares a parameter with the first that the study has of it.

        Raises:
            StudyError: That one's distribution cannot be read, or is another.
        """
        try:
            super()._set_trial_param(*args, **kwargs)
        except UpdateFinishedTrialError:
            raise
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            if isinstance(error, KeyError) and "Record does not exist" in str(error):
                raise
            raise StudyError("the study is damaged: the distribution of a parameter is not the space's") from error

    # --- the study -------------------------------------------------------------------------------

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Optuna's.

        Raises:
            StudyError: One of them is none.
        """
        try:
            return super().get_study_directions(study_id)
        except LookupError as error:
            if isinstance(error, KeyError) and "Record does not exist" in str(error):
                raise
            raise StudyError("the study is damaged: its direction is none of Optuna's") from error

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies; those of which something cannot be read one by one, with what can be.

        Raises:
            StudyError: Not even their names can be read.
        """
        try:
            return super().get_all_studies()
        except _UNREADABLE:
            pass
        query = "SELECT study_id, study_name FROM studies ORDER BY study_id"
        with _create_scoped_session(self.scoped_session) as session:
            rows = [tuple(row) for row in session.execute(sqlalchemy.text(query))]
        if not all(isinstance(number, int) and isinstance(name, str) for number, name in rows):
            raise StudyError("the database is damaged: the name of a study is no text")
        found = []
        for study_id, name in rows:
            with suppress(StudyError):
                directions = self.get_study_directions(study_id)
                user, system = self.get_study_user_attrs(study_id), self.get_study_system_attrs(study_id)
                found.append(
                    FrozenStudy(
                        name, None, user, system, study_id, directions=directions or [StudyDirection.NOT_SET]
                    )
                )
        return found

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Those that can be read and fit."""
        return self._attributes(study_id, models.StudyUserAttributeModel, check_attribute)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Those that can be read and fit."""
        return self._attributes(study_id, models.StudySystemAttributeModel, check_system_attribute)

    def _attributes(self, study_id: int, model: Any, check: Callable[[str, Any], None]) -> dict[str, Any]:
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            rows = [(row.key, row.value_json) for row in model.where_study_id(study_id, session)]
        found = {}
        for key, text in rows:
            value, fault = self._attribute(study_id, f"{model.__tablename__}/{key}", key, text, check)
            if fault is None:
                found[key] = value
            else:
                self._unfit.setdefault(study_id, {})[f"/{key}"] = f"{harmless(key, 60)}: {fault}"
        return found

    def _attribute(
        self, study_id: int, name: str, key: Any, text: Any, check: Callable[[str, Any], None]
    ) -> tuple[Any, str | None]:
        """An attribute's value, and what is wrong with it; the same text is looked at once."""
        known = self._parsed.get((study_id, name))
        if known is not None and known[0] == text:
            return known[1], known[2]
        value, fault = None, None
        try:
            value = _value(text)
            check(key, value)
        except Unfit as error:
            fault = harmless(error)
        except json.JSONDecodeError:
            if key in (SETTINGS, SKELETONS):
                raise  # nothing of the study can be read without them
            fault = "cannot be read"
        except _UNREADABLE:
            fault = "cannot be read"
        self._parsed[study_id, name] = text, value, fault
        return value, fault

    def _facts_of(self, study_id: int) -> StudyFacts | None:
        """What its trials are held to; None of another program's study, or where settings do not fit.

        Read once: what trials are held to never changes, and a query for each look at them would.
        """
        if study_id not in self._facts:
            found = self.get_study_user_attrs(study_id)
            if SETTINGS not in found or SKELETONS not in found:
                return None
            try:
                self._facts[study_id] = read_facts(found)
            except Unfit:
                return None
        return self._facts[study_id]


def _stand_in(number: int, trial_id: int, reason: str) -> FrozenTrial:
    """A failed trial without anything, in the place of one that does not fit."""
    return FrozenTrial(
        number=number,
        state=TrialState.FAIL,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={attrs.LEFT_OUT: True, attrs.REASON: reason},
        system_attrs={},
        intermediate_values={},
        trial_id=trial_id,
    )


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        raise Unfit("is no text")
    if len(text) > MAX_JSON:
        raise Unfit(f"is longer than {MAX_JSON:,} characters")
    return json.loads(text)


def _distribution(text: Any) -> BaseDistribution:
    found = _DISTRIBUTIONS.get(text)
    if found is None:
        found = json_to_distribution(text)
        if len(_DISTRIBUTIONS) < 10_000:
            _DISTRIBUTIONS[text] = found
    return found


def _frozen(trial: Any) -> FrozenTrial:
    values: list[float] | None = None
    if trial.values:
        values = [0.0] * len(trial.values)
        for row in trial.values:
            values[row.objective] = models.TrialValueModel.stored_repr_to_value(row.value, row.value_type)
    rows = sorted(trial.params, key=lambda row: row.param_id)
    distributions = {row.param_name: _distribution(row.distribution_json) for row in rows}
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=values,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params={row.param_name: distributions[row.param_name].to_external_repr(row.param_value) for row in rows},
        distributions=distributions,
        user_attrs={row.key: _value(row.value_json) for row in trial.user_attributes},
        system_attrs={row.key: _value(row.value_json) for row in trial.system_attributes},
        intermediate_values={
            row.step: models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(
                row.intermediate_value, row.intermediate_value_type
            )
            for row in trial.intermediate_values
        },
        trial_id=trial.trial_id,
    )
