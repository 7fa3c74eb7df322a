"""Commands that read the test set: confirm, baselines."""

from pathlib import Path
from typing import Annotated

import typer

from drill_models.errors import DrillError
from search.cli.app import (
    Address,
    Data,
    Device,
    Engine,
    FirstSeed,
    Json,
    Log,
    Offline,
    Out,
    Precision,
    Quiet,
    Seeds,
    Storage,
    StudyName,
    Verbose,
    Workers,
    app,
    call,
    finish,
    screen_of,
)
from search.cli.completion import hand_steps


@app.command()
def confirm(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Step files; each gets its verdict. Without any: the best of a study."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="So many of the study's best trials.")] = 1,
    seeds: Seeds = 5,
    seed: FirstSeed = 0,
    storage: Storage = None,
    study: StudyName = None,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    address: Address = None,
    precision: Precision = "auto",
    workers: Workers = None,
    out: Out = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log: Log = None,
) -> None:
    """Give steps a verdict on the test set, over several seeds.

    Each trains from scratch on all training images. The verdict goes into the step files, and of trials into the
    study, too. Further files are compared with the first. Runs that ended are kept in studies/confirmed.jsonl and
    not repeated.
    """
    from drill_models.step_io import load_step
    from search.options import check_confirm, training_options

    check_confirm(files or [], top, out, study=study is not None or storage is not None)
    training = call(training_options, context)
    steps = [load_step(file) for file in files or []]
    from search.commands.confirm import ConfirmJob, confirm_files, confirm_trials

    job, screen = ConfirmJob(seeds=seeds, seed=seed, training=training), screen_of(context)
    if files:
        finish(confirm_files(steps, files, out, job, screen))
    else:
        finish(confirm_trials(storage, study, top, out, job, screen))


@app.command()
def baselines(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=hand_steps,
            help="Hand steps: all, ladders (a-runs) or steps (b-cyclic/5). Default: all.",
        ),
    ] = None,
    seeds: Seeds = 3,
    seed: FirstSeed = 0,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    address: Address = None,
    precision: Precision = "auto",
    workers: Workers = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log: Log = None,
) -> None:
    """Replay hand steps, beside what they reported.

    They train as published, with several seeds, and their caveats are said. Runs that ended are kept in
    studies/confirmed.jsonl and not repeated.
    """
    from drill_models.hand_steps import choose
    from search.options import training_options

    steps = choose(names or ["all"])
    if not steps:
        raise DrillError("no hand step is named")
    training = call(training_options, context)
    from search.commands.confirm import ConfirmJob, replay_baselines

    finish(replay_baselines(steps, ConfirmJob(seeds=seeds, seed=seed, training=training), screen_of(context)))
