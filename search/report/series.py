"""What figures show of a study, as plain numbers: for the dashboard's and the report's."""

import warnings
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState

from search.schema import attributes as attrs
from search.study.ranking import front, ranked, standings
from search.study.trials import accuracy_of, complete_trials, figures, is_interrupted, name_of

Kind = Literal["trial", "hand step", "starting point"]

MIN_FOR_IMPORTANCE = 20
"""Complete trials without which importance is noise."""
MAX_FOR_IMPORTANCE = 1000
"""Trials, taken evenly over the study, that importance is told from: each one more takes a millisecond."""
MAX_CURVES = 150
"""Curves that one figure shows: the best, and the latest of the others."""


@dataclass(frozen=True)
class Size:
    """A complete trial's place.

    Attributes:
        number: Of the trial.
        name: Of the hand step or starting point that it is, or empty.
        kind: What it is.
        n_params: Trainable parameters.
        accuracy: Mean validation accuracy, over its seeds.
        on_front: Whether none with as few parameters is better.
    """

    number: int
    name: str
    kind: Kind
    n_params: int
    accuracy: float
    on_front: bool


def kind_of(trial: FrozenTrial) -> Kind:
    """What a trial is."""
    if attrs.BASELINE in trial.user_attrs:
        return "hand step"
    return "starting point" if attrs.START in trial.user_attrs else "trial"


def sizes(study: optuna.Study) -> list[Size]:
    """Accuracy against parameters, of the complete trials."""
    trials = complete_trials(study)
    stand = standings(study, trials)
    best = {trial.number for trial in front(study)}
    return [
        Size(
            number=trial.number,
            name=name_of(trial),
            kind=kind_of(trial),
            n_params=trial.user_attrs[attrs.N_PARAMS],
            accuracy=stand[trial.number].mean,
            on_front=trial.number in best,
        )
        for trial in trials
    ]


STATES: dict[TrialState, Literal["complete", "stopped early", "failed"]] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
}
"""What became of a trial that ended."""


@dataclass(frozen=True)
class CurveLine:
    """A trial's validation accuracy after each epoch."""

    number: int
    name: str
    kind: Kind
    state: Literal["complete", "stopped early", "failed"]
    accuracies: tuple[float, ...]


def curve_lines(study: optuna.Study) -> list[CurveLine]:
    """The curves of all trials that trained, or where they are many, of the best and the latest."""
    trials = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in STATES and attrs.CURVE in trial.user_attrs and not is_interrupted(trial)
    ]
    if len(trials) > MAX_CURVES:
        best = {trial.number for trial in ranked(study)[: MAX_CURVES // 3]}
        latest = {trial.number for trial in trials[-(MAX_CURVES - len(best)) :]}
        trials = [trial for trial in trials if trial.number in best | latest]
    return [
        CurveLine(
            number=trial.number,
            name=name_of(trial),
            kind=kind_of(trial),
            state=STATES[trial.state],
            accuracies=tuple(accuracies),
        )
        for trial in trials
        if (accuracies := figures(trial, "val_accuracy"))
    ]


@dataclass(frozen=True)
class Spent:
    """Epochs of one trial: those that it trained, and those that stopping it saved."""

    number: int
    trained: int
    saved: int


def epochs_spent(study: optuna.Study) -> list[Spent]:
    """Of each trial that trained, in their order."""
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
        trained = len(figures(trial, "val_accuracy"))
        if trained:
            saved = trial.user_attrs[attrs.EPOCHS] - trained if trial.state == TrialState.PRUNED else 0
            found.append(Spent(trial.number, trained, saved))
    return found


def importance(study: optuna.Study, top: int = 12) -> list[tuple[str, float]]:
    """The dimensions that tell good trials from others, most important first, by PED-ANOVA; shares sum to 1.

    Source: Watanabe and others, IJCAI 2023. Empty where too few trials are complete. Hand steps and starting
    points are left out: nobody drew their dimensions. Of a long study some trials stand for all.
    """
    drawn = [trial for trial in complete_trials(study) if kind_of(trial) == "trial"]
    if len(drawn) < MIN_FOR_IMPORTANCE:
        return []
    if len(drawn) > MAX_FOR_IMPORTANCE:
        drawn = [drawn[i * len(drawn) // MAX_FOR_IMPORTANCE] for i in range(MAX_FOR_IMPORTANCE)]
    only = optuna.create_study(direction="maximize")
    only.add_trials(
        [
            optuna.create_trial(value=accuracy_of(trial), params=trial.params, distributions=trial.distributions)
            for trial in drawn
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = optuna.importance.get_param_importances(only, evaluator=PedAnovaImportanceEvaluator())
    return list(found.items())[:top]
