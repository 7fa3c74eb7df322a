"""One session of a search, from its settings to the trial that was looked for."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from drill_models.data import validation_data
from drill_models.errors import DrillError, Interrupted
from drill_models.hand_steps import choose
from drill_models.resolve import DataSource, resolve
from drill_models.starting_points import all_starts
from search.config import SearchConfig
from search.context import RunContext
from search.deadline import Deadline, TimeIsUp
from search.engine.events import Observer, Opened, Outcome
from search.engine.job import Job
from search.engine.proposals import SIZES, make_sampler
from search.engine.reevaluation import Finals, runs_at_once
from search.engine.trial_loop import run_trials
from search.engine.warm_start import seed_baselines, seed_starts
from search.executors.machines import Machines, open_machines
from search.pruning.pruners import make_pruner
from search.storage.advisory_locks import LockLost
from search.storage.batched import TogetherStorage
from search.storage.retry import Patience
from search.storage.storage import open_storage, quick_writes, storage_errors
from search.storage.url import DEFAULT_STORAGE, parse
from search.study.coordination import Peers, open_peers
from search.study.last_used import remember
from search.study.ranking import ranked
from search.study.session_log import keep_sitting
from search.study.study import StudySettings, left_out, open_study, read_space, settings_of, study_name
from search.study.trials import tally
from spaces.budget import Budget
from spaces.skeletons import check_budget

START_SIZES = (1, 3, SIZES)
"""Where every size is sought, starting points are made small enough for the budget, a third and a ninth of it, and
what is proposed for sizes from a ninth of it on."""


def search(config: SearchConfig, observer: Observer, should_stop: Callable[[], bool]) -> Outcome:
    """Runs a search, or goes on with it.

    Args:
        config: What to do.
        observer: What is told.
        should_stop: Asked before each batch.

    Raises:
        DrillError: Something that the user can mend, in one sentence.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    context = RunContext(should_stop, observer.notice, Deadline.after(config.timeout))
    with open_machines(config.training) as machines:
        return _search(config, machines, observer, context)


def _search(config: SearchConfig, machines: Machines, observer: Observer, context: RunContext) -> Outcome:
    training = config.training
    url = parse(config.storage or DEFAULT_STORAGE)
    resolved = resolve(
        config.dataset, DataSource(folder=training.data, offline=training.offline, say=context.notify)
    )
    check_budget(config.skeletons, config.budget, resolved.facts.num_classes)
    observer.data_found(resolved)
    data = validation_data(resolved)
    settings = settings_of(config, resolved.facts.name)
    name = config.study or study_name(settings, config.own_skeletons)
    patience = Patience(context)
    storage = open_storage(url, create=True, patience=patience)
    with (
        storage_errors(url),
        open_peers(url, name, patience) as peers,
        quick_writes(storage, url),
    ):
        opened = _in_a_turn(peers, partial(_open, config, settings, name, storage, url, machines, peers, context))
        remember(url, name)
        for line in left_out(opened.study):
            observer.notice(line)
        observer.opened(opened)
        with machines.executor(data, opened.workers, context.should_stop) as executor:
            try:
                finished = run_trials(_job(config, opened, peers, observer, storage), executor, observer, context)
            finally:
                observer.trials_over()
            held = None
            looked = finished and tally(opened.study).trained >= config.trials
            if looked:
                try:
                    held = _finals(Finals(config, opened, executor, observer, context), peers)
                except Interrupted:
                    finished = looked = False
                except TimeIsUp:
                    looked = False
        smallest = config.hold_seeds is not None
        outcome = Outcome(
            finished=finished,
            opened=opened,
            trials=config.trials,
            # Once: other processes may end trials from here on.
            found=held if smallest else next(iter(ranked(opened.study)), None),
            smallest=smallest,
            looked=looked,
        )
        observer.closing(outcome)
        return outcome


def _in_a_turn(peers: Peers, action: Callable[[], Opened]) -> Opened:
    """Does something in a turn, and does it once more where the turn was lost."""
    while True:
        try:
            with peers.turn():
                opened = action()
        except LockLost:
            continue  # another process may have been at it; what is there is not done again
        return opened


def _open(
    config: SearchConfig,
    settings: StudySettings,
    name: str,
    storage: RDBStorage,
    url: URL,
    machines: Machines,
    peers: Peers,
    context: RunContext,
) -> Opened:
    """Creates or joins the study, and queues what comes first: in a turn."""
    study = open_study(
        storage,
        name,
        settings,
        config.skeletons,
        sampler=optuna.samplers.RandomSampler(),
        pruner=make_pruner(config.pruner, config.epochs),
    )
    space = read_space(study)
    study.sampler = make_sampler(config, space, context.should_stop)
    requeued = peers.requeue_dead(study)
    seeded = seed_baselines(study, choose(config.baselines), space, config.budget, epochs=config.epochs)
    started = seed_starts(study, all_starts(), space, _start_budgets(config)) if config.starts else ()
    already = tally(study).trained
    # More than there are networks to train would only take threads from the others.
    workers = max(1, min(machines.places, max(config.trials - already, runs_at_once(config))))
    keep_sitting(study, config, machines.backend, workers)
    return Opened(
        study=study,
        url=url,
        settings=settings,
        space=space,
        seeded=seeded,
        started=started,
        requeued=requeued,
        already=already,
        sampler=config.sampler,
        backend=machines.backend,
        where=machines.where,
        workers=workers,
        unless_another=peers.unless_another,
    )


def _finals(stage: Finals, peers: Peers) -> FrozenTrial | None:
    """Has the best trained again, by one process; the others find it done. Returns the smallest that holds.

    Raises:
        DrillError: None could be found, where the smallest is looked for.
        Interrupted: The context said so.
    """

    def waits() -> None:
        stage.context.notify("another process of this search trains the best again; waiting for it")

    context = stage.context
    with peers.alone("finals", lambda: context.should_stop() or not context.may_start(), waits) as came:
        if not came:
            raise Interrupted if context.should_stop() else TimeIsUp
        if stage.config.hold_seeds:
            return stage.smallest()
        try:
            stage.best()
        except DrillError as error:
            stage.context.notify(f"the best were not all trained again: {error}")
        return None


def _job(
    config: SearchConfig,
    opened: Opened,
    peers: Peers,
    observer: Observer,
    storage: TogetherStorage,
) -> Job:
    return Job(
        study=opened.study,
        space=opened.space,
        budget=config.budget,
        epochs=config.epochs,
        trials=config.trials,
        seed=config.seed,
        peers=peers,
        keep=observer.ending,
        together=storage.params_together,
        proposed=observer.proposed,
    )


def _start_budgets(config: SearchConfig) -> list[Budget]:
    """What starting points are made small enough for."""
    sizes = START_SIZES if config.objective == "pareto" else (1,)
    return [replace(config.budget, max_params=max(1, config.budget.max_params // size)) for size in sizes]
