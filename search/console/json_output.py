"""What `--json` prints: the facts of the tables, by their names in code; accuracies are fractions."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from drill_models.count import count
from search.engine.events import Outcome
from search.evaluation.confirm import Confirmed
from search.evaluation.statistics import Comparison
from search.evaluation.verdict_trust import meets_target
from search.schema import attributes as attrs
from search.storage.url import shown
from search.study.phrasing import chain
from search.study.ranking import Standing, front, ranked, standings
from search.study.study import read_settings, read_space
from search.study.trials import accuracy_of, baselines, curve, has_two_values, point_of, tally

Document = dict[str, Any]


def trial_document(trial: FrozenTrial, network: str, standing: Standing | None) -> Document:
    """A trial as far as it came."""
    records = curve(trial)
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "baseline": trial.user_attrs.get(attrs.BASELINE),
        "start": trial.user_attrs.get(attrs.START),
        "network": network,
        "n_params": trial.user_attrs.get(attrs.N_PARAMS),
        "value": None if standing is None else accuracy_of(trial),
        "mean": None if standing is None else standing.mean,
        "seeds": None if standing is None else standing.runs,
        "epochs": len(records),
        "val_accuracy": [record.val_accuracy for record in records],
        "reported": trial.user_attrs.get(attrs.REPORTED),
    }


def trial_documents(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[Document]:
    """Several trials of a study."""
    space, stand = read_space(study), standings(study, trials)
    return [
        trial_document(trial, chain(space.model(point_of(trial))), stand.get(trial.number)) for trial in trials
    ]


def study_document(study: optuna.Study) -> Document:
    """A study: settings, trials of each kind, the best, the front where there is one, and the hand steps."""
    return {
        "study": study.study_name,
        "settings": asdict(read_settings(study)),
        "trials": asdict(tally(study)),
        "best": trial_documents(study, ranked(study)[:5]),
        "front": trial_documents(study, front(study)) if has_two_values(study) else None,
        "baselines": trial_documents(study, baselines(study)),
    }


def search_document(outcome: Outcome, exported: Path | None, said: str | None) -> Document:
    """What a sitting of a search left; of what was looked for, and was found, also whether it holds the target."""
    study, found = outcome.opened.study, [outcome.found] if said is not None and outcome.found is not None else []
    holds = [standing.holds(read_settings(study).target) for standing in standings(study, found).values()]
    return {
        **study_document(study),
        "storage": shown(outcome.opened.url),
        "finished": outcome.finished,
        "exported": None if exported is None else str(exported),
        "found": next(iter(trial_documents(study, found)), None),
        "holds": next(iter(holds), None),
        "said": said,
    }


def confirmed_document(
    confirmed: Sequence[Confirmed], comparisons: Sequence[tuple[str, str, Comparison]]
) -> Document:
    """Verdicts, and how each further step differs from the first."""
    steps = []
    for each in confirmed:
        verdict, target = each.step.verdict, each.step.target.accuracy
        steps.append(
            {
                "name": each.step.name,
                "n_params": count(each.step.model).n_params,
                "target": target,
                "holds": meets_target(each.step),
                "verdict": None if verdict is None else verdict.model_dump(mode="json"),
                "diverged": list(each.diverged),
            }
        )
    return {
        "steps": steps,
        "comparisons": [
            {"step": second, "less": first, **asdict(found), "more_than_noise": found.more_than_noise}
            for first, second, found in comparisons
        ],
    }


def replay_document(confirmed: Sequence[Confirmed], claims: Sequence[str]) -> list[Document]:
    """Hand steps: what they reported, what they do again, and what is to be said of that."""
    documents = []
    for each, claim in zip(confirmed, claims, strict=True):
        result, verdict = each.step.result, each.step.verdict
        reported = None if result is None else result.reported
        documents.append(
            {
                "name": each.step.name,
                "n_params": count(each.step.model).n_params,
                "reported": None if reported is None else reported.test_accuracy,
                "best_epochs": [max(run.accuracies) for run in each.runs if run.accuracies],
                "verdict": None if verdict is None else verdict.model_dump(mode="json"),
                "diverged": list(each.diverged),
                "claim": claim,
                "caveats": [] if result is None else [caveat.model_dump() for caveat in result.caveats],
            }
        )
    return documents
