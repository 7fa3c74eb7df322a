"""Deletes a study by a few statements; Optuna deletes each trial alone, a minute for 3,000 of them."""

import optuna
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from sqlalchemy import delete, select

OF_TRIALS = (
    models.TrialParamModel,
    models.TrialValueModel,
    models.TrialIntermediateValueModel,
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
    models.TrialHeartbeatModel,
)
"""Optuna's tables of what a trial has; a test compares them with those of the installed version."""


def delete_with_trials(storage: RDBStorage, study: optuna.Study) -> None:
    """Deletes a study: first its trials, all of them or none, and then what Optuna knows of the study itself."""
    mine = select(models.TrialModel.trial_id).where(models.TrialModel.study_id == study._study_id)
    storage.remove_session()
    with storage.engine.begin() as connection:
        for table in OF_TRIALS:
            connection.execute(delete(table).where(table.trial_id.in_(mine)))
        connection.execute(delete(models.TrialModel).where(models.TrialModel.study_id == study._study_id))
    optuna.delete_study(study_name=study.study_name, storage=storage)
