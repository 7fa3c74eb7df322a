"""The main job as a person meets it: display while it runs, tables and the exported file at the end."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from drill_models.errors import DrillError, Interrupted
from search.commands.attached import Exporting, Publishing, Tracking
from search.commands.interrupt import stop_on_signals
from search.config import SearchConfig
from search.console.console import Screen
from search.console.json_output import search_document
from search.console.progress import SearchDisplay
from search.console.tables import percent
from search.console.trial_tables import baseline_table, best_table, front_table
from search.deadline import Deadline
from search.engine.events import Outcome
from search.engine.observers import Observers
from search.engine.reevaluation import trainings_left
from search.engine.run_search import search
from search.evaluation.verdict_trust import whose
from search.export.rescue import step_6_saved
from search.export.step import verdict_in
from search.schema import attributes as attrs
from search.storage.storage import storage_errors
from search.storage.url import parse, shown
from search.study.ranking import front, ranked, standing_of
from search.study.study import kept_verdict, read_settings
from search.study.trials import baselines, has_two_values, origin_of, tally
from search.text import PROGRAM, counted, typed


def run_main_job(config: SearchConfig, screen: Screen, command: Sequence[str]) -> bool:
    """Searches and shows it.

    Args:
        config: What to do.
        screen: Where to say it.
        command: The words that were typed, to be repeated.

    Returns:
        Whether the search came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    words = [PROGRAM, *map(_without_password, command[1:])]
    again = typed(shlex.join(words[1:]))
    hard = Deadline.after(config.hard_timeout)
    with (
        stop_on_signals() as signalled,
        SearchDisplay(
            screen,
            trials=config.trials,
            epochs=config.epochs,
            target=config.target,
            follow=partial(trainings_left, config),
        ) as display,
    ):
        exporting = Exporting(config)
        observers = Observers(display, exporting, Tracking(config, display.notice), Publishing(display.notice))
        try:
            with step_6_saved(config, lambda: exporting.study):
                outcome = search(
                    replace(config, command=tuple(words)), observers, lambda: signalled() or not hard.may_start()
                )
        except Interrupted:
            screen.notice(
                "interrupted while it waited for the database, or for another process of this search; what was "
                f"running is queued again. Go on with:\n  {again}"
            )
            return False
    with storage_errors(outcome.opened.url), step_6_saved(config, lambda: exporting.study):
        _summary(config, outcome, exporting.exported, screen)
    if not outcome.finished:
        counts = tally(outcome.opened.study)
        several = outcome.opened.workers > 1
        running = "the ones that were running are" if several else "the one that was running is"
        kept = f"{counts.trained} of {config.trials} trials are kept, and {running} queued again"
        if counts.trained >= config.trials:
            kept = "all trials are kept, and what the best reached with other seeds so far"
        why = "interrupted" if hard.may_start() else "--hard-timeout is over"
        screen.notice(f"{why}; {kept}. Go on with:\n  {again}")
    return outcome.finished


def _without_password(word: str) -> str:
    """A word of the command line; a storage URL loses its password, which the user types again."""
    option, url = ("--storage=", word.removeprefix("--storage=")) if word.startswith("--storage=") else ("", word)
    if "://" not in url:
        return word
    try:
        return option + shown(parse(url))
    except DrillError:
        return option + "..."  # no URL, but it may hold a password


def _target_line(study: optuna.Study, trial: FrozenTrial) -> str:
    """Whether the one that was looked for holds the target where it was searched."""
    settings = read_settings(study)
    standing = standing_of(study, trial)
    holds = "holds" if standing.holds(settings.target) else "does not hold"
    return (
        f"the target of {percent(settings.target)} {holds} on the validation images of {settings.dataset}: "
        f"{percent(standing.mean)}, {standing.of}"
    )


def _judgement(config: SearchConfig, outcome: Outcome) -> str | None:
    """Whether what was looked for holds the target, or that there is none; None where it is not known yet."""
    if outcome.found is not None:
        return _target_line(outcome.opened.study, outcome.found)
    if not outcome.smallest or not outcome.looked:
        return None
    seeds = config.hold_seeds or 1
    each = "its own run" if seeds == 1 else f"every one of {seeds} seeds"
    return f"no network of this study holds {percent(config.target)} with {each}; more --trials may find one"


def _next_line(outcome: Outcome, exported: Path | None, study: optuna.Study, trial: FrozenTrial) -> str:
    """What a person may do with the one that was looked for."""
    # The report is on the most accurate one.
    page = "" if outcome.smallest else " (a page on it)"
    verdict = kept_verdict(study, trial.number)
    if verdict is None and exported is not None:
        verdict = verdict_in(exported)  # of the same recipe, else it would not have been carried over
    if verdict is not None:
        mean = f"{percent(verdict.mean)}, mean of {counted(verdict.seeds, 'seed')}"
        return f"its verdict on the test set: {mean}, {whose(verdict)}; next: {typed('report')}{page}"
    file = f" {shlex.quote(str(exported))}" if outcome.smallest else ""
    return f"next: {typed('report')}{page}, {typed(f'confirm{file}')} (its verdict on the test set)"


def _summary(config: SearchConfig, outcome: Outcome, exported: Path | None, screen: Screen) -> None:
    study = outcome.opened.study
    counts = tally(study)
    if ranked(study):
        screen.table(front_table(study) if has_two_values(study) else best_table(study))
    if any(attrs.OVER_BUDGET not in trial.user_attrs for trial in baselines(study)):
        screen.table(baseline_table(study))
    failed = f", {counts.failed} failed" if counts.failed else ""
    over = f"; hand steps over the budget, not trained: {counts.over_budget}" if counts.over_budget else ""
    trials = counted(counts.trained, "trial")
    screen.result(f"{trials}: {counts.complete} complete, {counts.pruned} stopped early{failed}{over}")
    if outcome.finished and counts.trained < outcome.trials:
        screen.result(
            f"--timeout is over with {counts.trained} of {outcome.trials} trials; the same command goes on"
        )
    elif outcome.finished and not outcome.looked:
        screen.result("--timeout is over before the best were all trained again; the same command goes on")
    if has_two_values(study) and ranked(study) and outcome.finished and exported is None:
        size = front(study)[0].user_attrs[attrs.N_PARAMS]
        screen.result(
            f"next: {typed('export --front')} writes each of these, --at-most {size} for example the best with at "
            "most so many parameters"
        )
    if exported is not None and outcome.found is not None:
        screen.result(f"step 6 written to {exported}: trial {outcome.found.number}, {origin_of(outcome.found)}")
    said = _judgement(config, outcome) if outcome.finished else None
    if said is not None:
        screen.result(said)
    if outcome.finished and outcome.found is not None:
        screen.result(_next_line(outcome, exported, study, outcome.found))
    screen.document(search_document(outcome, exported, said))
