"""The search itself, and the search for the smallest network that holds a target."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drill_models.datasets import DATASET_NAMES
from drill_models.errors import DrillError
from search.cli.app import (
    COMMANDS,
    MISTAKE,
    Address,
    Config,
    Data,
    Device,
    Engine,
    Json,
    Log,
    Offline,
    Precision,
    Quiet,
    Verbose,
    Version,
    Workers,
    app,
    call,
    finish,
    no_url,
    screen_of,
)
from search.cli.completion import among, hand_steps_or_none, studies
from search.console.console import Screen
from search.names import DEFAULT_BASELINES, OBJECTIVE_NAMES, PRUNER_NAMES, SAMPLER_NAMES, TRACKER_NAMES

if TYPE_CHECKING:
    from search.config import SearchConfig

Budget = Annotated[int, typer.Option("--budget", min=1, max=10**9, help="Trainable parameters, at most.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, max=1000, help="Epochs of a trial.")]
Dataset = Annotated[
    str, typer.Option("--dataset", autocompletion=among(DATASET_NAMES), help=f"One of {', '.join(DATASET_NAMES)}.")
]
MaxMacs = Annotated[int | None, typer.Option("--max-macs", min=1, help="Multiply-adds an image, at most.")]
MaxActivations = Annotated[
    int | None, typer.Option("--max-activations", min=1, help="Activations alive at once for one image, at most.")
]
Baselines = Annotated[
    list[str] | None,
    typer.Option(
        "--baselines",
        autocompletion=hand_steps_or_none,
        help="Hand steps to train first: all, none, a ladder or ladder/step; repeatable. "
        f"Default: {', '.join(DEFAULT_BASELINES)}.",
    ),
]
SkeletonFiles = Annotated[
    list[Path] | None, typer.Option("--skeleton", help="Skeleton file to add to the space; repeatable.")
]
Starts = Annotated[
    bool,
    typer.Option(
        "--starts/--no-starts",
        help="Train the package's starting points (networks of today, made narrow enough), after hand steps.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", help="Seconds after which nothing further starts to train; what trains goes on."),
]
HardTimeout = Annotated[
    float | None,
    typer.Option("--hard-timeout", help="Seconds after which what trains ends, too; the same command goes on."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31, help="Decides proposals and trainings.")]
SearchStorage = Annotated[
    str | None, typer.Option("--storage", help="Database URL. Default: SQLite in ./studies.")
]
SearchStudy = Annotated[
    str | None,
    typer.Option(
        "--study",
        autocompletion=studies,
        help="Name of the study. Default: data set, budget, space, and epochs where not 15.",
    ),
]
Trackers = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        autocompletion=among(TRACKER_NAMES),
        help=f"{' or '.join(TRACKER_NAMES)}: each trial is a run of it, too; repeatable.",
    ),
]
StepFile = Annotated[
    Path | None, typer.Option("--out", callback=no_url, help="The step file to write at the end.")
]


@app.callback(invoke_without_command=True)
def search(
    context: typer.Context,
    budget: Budget = 10_000,
    trials: Annotated[
        int, typer.Option(min=1, help="Networks to train in total; running the same command again resumes.")
    ] = 100,
    epochs: Epochs = 15,
    target: Annotated[float, typer.Option(help="Accuracy to judge by, a fraction.")] = 0.994,
    dataset: Dataset = "mnist",
    data: Data = None,
    offline: Offline = False,
    max_macs: MaxMacs = None,
    max_activations: MaxActivations = None,
    baselines: Baselines = None,
    skeletons: SkeletonFiles = None,
    sampler: Annotated[
        str,
        typer.Option(
            autocompletion=among(SAMPLER_NAMES),
            help=f"One of {', '.join(SAMPLER_NAMES)}. gp may take minutes a proposal, the others milliseconds.",
        ),
    ] = "tpe",
    pruner: Annotated[
        str, typer.Option(autocompletion=among(PRUNER_NAMES), help=f"One of {', '.join(PRUNER_NAMES)}.")
    ] = "forecast",
    objective: Annotated[
        str,
        typer.Option(
            autocompletion=among(OBJECTIVE_NAMES),
            help=f"One of {', '.join(OBJECTIVE_NAMES)}: the best within the budget, or the best of every size.",
        ),
    ] = "accuracy",
    starts: Starts = True,
    finalists: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="So many of the best train again. Default: a twentieth of the trials, at most 5; with "
            "--objective pareto a sixth, at most 12; none where that is 1.",
        ),
    ] = None,
    finalist_seeds: Annotated[int, typer.Option(min=0, max=100, help="With so many other seeds.")] = 2,
    timeout: Timeout = None,
    hard_timeout: HardTimeout = None,
    seed: Seed = 0,
    device: Device = "auto",
    engine: Engine = "auto",
    address: Address = None,
    precision: Precision = "auto",
    workers: Workers = None,
    storage: SearchStorage = None,
    study: SearchStudy = None,
    out: StepFile = None,
    trackers: Trackers = None,
    config: Config = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log: Log = None,
    version: Version = False,
) -> None:
    """Search small CNNs under a hard parameter budget.

    Without a command: run the search, or go on with it. An over-budget network is never proposed, built or
    trained; the test set is never used to choose. Studies and exports go to ./studies.

    Example: drill-search --budget 10000 --trials 100
    """
    if context.invoked_subcommand is not None:
        before = [
            word
            for word in sys.argv[1 : sys.argv.index(context.invoked_subcommand)]
            if word.startswith("-") and not word.startswith("--config")
        ]
        if before:
            raise DrillError(
                f"{before[0]} stands before {context.invoked_subcommand}; options follow their command"
            )
        if context.invoked_subcommand != "doctor" and MISTAKE in context.meta:
            raise context.meta[MISTAKE]
        context.default_map = context.meta.get(COMMANDS)
        return
    if MISTAKE in context.meta:
        raise context.meta[MISTAKE]
    screen = screen_of(context)
    if len(sys.argv) == 1:
        screen.out.print(context.get_help(), highlight=False, markup=False)
        return
    from search.options import search_config, training_options

    _run(call(search_config, context, training=call(training_options, context)), screen)


@app.command()
def frontier(
    context: typer.Context,
    target: Annotated[float, typer.Option(help="Accuracy to hold, a fraction.")] = 0.994,
    budget: Budget = 10_000,
    trials: Annotated[int, typer.Option(min=1, help="Networks to train in total, as in a search.")] = 100,
    epochs: Epochs = 15,
    hold_seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=1000, help="With so many seeds must it hold.")
    ] = 3,
    dataset: Dataset = "mnist",
    data: Data = None,
    offline: Offline = False,
    max_macs: MaxMacs = None,
    max_activations: MaxActivations = None,
    baselines: Baselines = None,
    skeletons: SkeletonFiles = None,
    starts: Starts = True,
    timeout: Timeout = None,
    hard_timeout: HardTimeout = None,
    seed: Seed = 0,
    device: Device = "auto",
    engine: Engine = "auto",
    address: Address = None,
    precision: Precision = "auto",
    workers: Workers = None,
    storage: SearchStorage = None,
    study: SearchStudy = None,
    out: StepFile = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    log: Log = None,
) -> None:
    """Find the smallest network that holds a target.

    It is judged on the validation images; the test set is not read. Searches with --objective pareto, for sizes
    from a ninth of the budget on, or goes on with that search; then trains the smallest networks that reached the
    target again, until one holds it with every seed, and writes it as step 6.
    """
    from search.options import search_config, training_options

    training = call(training_options, context)
    _run(call(search_config, context, training=training, objective="pareto"), screen_of(context))


def _run(config: "SearchConfig", screen: Screen) -> None:
    from search.commands.early import check_early

    check_early(config)
    from search.commands.search import run_main_job

    finish(run_main_job(config, screen, sys.argv))
