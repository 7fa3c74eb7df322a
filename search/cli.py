"""The command line: options in, one call, tables out. Heavy imports happen inside the commands."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text
from typer.exceptions import TyperException

from drill_models.datasets import DATASET_NAMES
from drill_models.errors import DrillError
from search.names import FORMAT_NAMES, OBJECTIVE_NAMES, PRUNER_NAMES, SAMPLER_NAMES

if TYPE_CHECKING:
    from search.config import SearchConfig

USAGE, INTERRUPTED = 2, 130
"""Exit codes: a user's mistake; interrupted with the work kept. Done is 0."""

app = typer.Typer(
    name="drill-search",
    help="Search small CNNs under a hard parameter budget.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out, err = Console(), Console(stderr=True)
if not out.is_terminal and "COLUMNS" not in os.environ:
    out.width = 120  # in a pipe or a file, tables need not fit a narrow window

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the data sets; else DRILL_DATA, else the user's cache."),
]
Offline = Annotated[bool, typer.Option("--offline", envvar="DRILL_OFFLINE", help="Never download data.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Engine = Annotated[
    str,
    typer.Option(
        "--engine", help="auto, native (own kernels, CPU) or torch. auto: native where it covers the network."
    ),
]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, fp32 or bf16 (which PyTorch trains in). auto: fp32.")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Networks to train at a time. Default: one a core; CUDA: up to 4 a GPU."),
]
Seeds = Annotated[int, typer.Option(min=1, max=1000, help="How many seeds, side by side.")]
EachEpoch = Annotated[bool, typer.Option("--each-epoch", help="A line for each epoch, too.")]
Out = Annotated[Path | None, typer.Option("--out", help="The file to write.")]
Storage = Annotated[
    str | None,
    typer.Option("--storage", help="Database URL. Default: the last one used, else SQLite in ./studies."),
]
MaxMacs = Annotated[int | None, typer.Option("--max-macs", min=1, help="Multiply-adds an image, at most.")]
MaxActivations = Annotated[
    int | None, typer.Option("--max-activations", min=1, help="Activations alive at once for one image, at most.")
]
Baselines = Annotated[
    list[str] | None,
    typer.Option("--baselines", help="Hand steps to train first: all, none, a ladder or ladder/step; repeatable."),
]
SkeletonFiles = Annotated[
    list[Path] | None, typer.Option("--skeleton", help="Skeleton file to add to the space; repeatable.")
]
Starts = Annotated[
    bool, typer.Option("--starts/--no-starts", help="Train the package's starting points, after hand steps.")
]
SearchStorage = Annotated[
    str | None, typer.Option("--storage", help="Database URL. Default: SQLite in ./studies.")
]
SearchStudy = Annotated[
    str | None, typer.Option("--study", help="Name of the study. Default: data set, budget and space.")
]
StudyName = Annotated[str | None, typer.Option("--study", help="Name of the study. Default: the last one used.")]


@app.callback(invoke_without_command=True)
def search(
    context: typer.Context,
    budget: Annotated[int, typer.Option(min=1, max=10**9, help="Trainable parameters, at most.")] = 10_000,
    trials: Annotated[
        int, typer.Option(min=1, help="Networks to train in total; running the same command again resumes.")
    ] = 100,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Epochs of a trial.")] = 15,
    target: Annotated[float, typer.Option(help="Accuracy to judge by, a fraction.")] = 0.994,
    dataset: Annotated[str, typer.Option(help=f"One of {', '.join(DATASET_NAMES)}.")] = "mnist",
    data: Data = None,
    offline: Offline = False,
    max_macs: MaxMacs = None,
    max_activations: MaxActivations = None,
    baselines: Baselines = None,
    skeleton: SkeletonFiles = None,
    sampler: Annotated[str, typer.Option(help=f"One of {', '.join(SAMPLER_NAMES)}.")] = "tpe",
    pruner: Annotated[
        str,
        typer.Option(help=f"One of {', '.join(PRUNER_NAMES)}."),
    ] = "forecast",
    objective: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(OBJECTIVE_NAMES)}: the best within the budget, or the best of every size."
        ),
    ] = "accuracy",
    starts: Starts = True,
    finalists: Annotated[
        int | None,
        typer.Option(min=0, help="So many of the best train again. Default: a twentieth of the trials, 2 to 5."),
    ] = None,
    finalist_seeds: Annotated[int, typer.Option(min=0, max=100, help="With so many other seeds.")] = 2,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which no further trial starts.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 0,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
    storage: SearchStorage = None,
    study: SearchStudy = None,
    to: Annotated[Path | None, typer.Option("--out", help="The step file to write at the end.")] = None,
) -> None:
    """Search small CNNs under a hard parameter budget.

    Without a command: run the search, or go on with it. An over-budget network is never proposed, built or
    trained; the test set is never used to choose. Studies and exports go to ./studies.

    Example: drill-search --budget 10000 --trials 100
    """
    if context.invoked_subcommand is not None:
        before = [
            word for word in sys.argv[1 : sys.argv.index(context.invoked_subcommand)] if word.startswith("-")
        ]
        if before:
            raise DrillError(
                f"{before[0]} stands before {context.invoked_subcommand}; options follow their command"
            )
        return
    if len(sys.argv) == 1:
        out.print(context.get_help(), highlight=False, markup=False)
        return
    from search.options import search_config, training_options

    config = search_config(
        budget=budget,
        trials=trials,
        epochs=epochs,
        target=target,
        dataset=dataset,
        training=training_options(
            data=data, offline=offline, device=device, engine=engine, precision=precision, workers=workers
        ),
        max_macs=max_macs,
        max_activations=max_activations,
        baselines=baselines,
        skeletons=skeleton or [],
        sampler=sampler,
        pruner=pruner,
        objective=objective,
        starts=starts,
        finalists=finalists,
        finalist_seeds=finalist_seeds,
        timeout=timeout,
        seed=seed,
        storage=storage,
        study=study,
        out=to,
    )
    _run(config)


def _run(config: "SearchConfig") -> None:
    from search.early import check_early

    check_early(config)
    from search.main_job import run_main_job

    if not run_main_job(config, out, err, sys.argv):
        raise typer.Exit(INTERRUPTED)


@app.command()
def show(files: Annotated[list[Path], typer.Argument(help="Step files.")]) -> None:
    """Print the layer table, totals and page of step files."""
    from drill_models.count import count
    from drill_models.step_io import load_step
    from search.tables import layer_table, step_lines, totals_line

    for step in [load_step(file) for file in files]:
        counted = count(step.model)
        out.print(Text.assemble((step.name, "bold"), f" ({step.provenance}, {step.dataset})"))
        out.print(layer_table(counted))
        out.print(totals_line(counted), highlight=False)
        for line in step_lines(step):
            out.print(line, highlight=False, markup=False)
        out.print()


@app.command()
def train(
    file: Annotated[Path, typer.Argument(help="The step file to train.")],
    full: Annotated[
        bool, typer.Option("--full", help="Train on all training images, measure on the test set each epoch.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Default: the recorded run's seed, else 0.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1, max=1000, help="So many seeds, side by side: --seed and the next. --out has the first."
        ),
    ] = 1,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
    to: Out = None,
) -> None:
    """Train a step file again, and compare with what it says."""
    from drill_models.step_io import load_step
    from drill_models.yaml_io import check_writable
    from search.options import training_options

    step = load_step(file)
    if to is not None:
        check_writable(to)
    from search.train_job import run_train_job

    finished = run_train_job(
        step,
        full=full,
        seed=seed,
        seeds=seeds,
        training=training_options(
            data=data, offline=offline, device=device, engine=engine, precision=precision, workers=workers
        ),
        to=to,
        out=out,
        err=err,
    )
    if not finished:
        raise typer.Exit(INTERRUPTED)


@app.command()
def confirm(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Step files; each gets its verdict. Without any: the best of a study."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="So many of the study's best trials.")] = 1,
    seeds: Seeds = 5,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The first seed.")] = 0,
    epochs: EachEpoch = False,
    storage: Storage = None,
    study: StudyName = None,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
    to: Out = None,
) -> None:
    """Give steps a verdict: train from scratch on all images with several seeds, and read the test set.

    The verdict goes into the step files, and of trials into the study, too. Further files are compared with the
    first. Runs that ended are kept in studies/confirmed.jsonl and not repeated.
    """
    from drill_models.step_io import load_step
    from search.options import check_confirm, training_options

    check_confirm(files or [], top, to, study=study is not None or storage is not None)
    training = training_options(
        data=data, offline=offline, device=device, engine=engine, precision=precision, workers=workers
    )
    steps = [load_step(file) for file in files or []]
    from search.confirm_job import ConfirmJob, confirm_files, confirm_trials

    job = ConfirmJob(seeds=seeds, seed=seed, training=training, epochs=epochs)
    if files:
        finished = confirm_files(steps, files, to, job, out, err)
    else:
        finished = confirm_trials(storage, study, top, to, job, out, err)
    if not finished:
        raise typer.Exit(INTERRUPTED)


@app.command()
def baselines(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Hand steps: all, ladders (a-runs) or steps (b-cyclic/5). Default: all."),
    ] = None,
    seeds: Seeds = 3,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The first seed.")] = 0,
    epochs: EachEpoch = False,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
) -> None:
    """Replay hand steps as published, with several seeds, beside what they report, with the caveats.

    Runs that ended are kept in studies/confirmed.jsonl and not repeated.
    """
    from drill_models.hand_steps import choose
    from search.options import training_options

    steps = choose(names or ["all"])
    if not steps:
        raise DrillError("no hand step is named")
    training = training_options(
        data=data, offline=offline, device=device, engine=engine, precision=precision, workers=workers
    )
    from search.confirm_job import ConfirmJob, replay_baselines

    job = ConfirmJob(seeds=seeds, seed=seed, training=training, epochs=epochs)
    if not replay_baselines(steps, job, out, err):
        raise typer.Exit(INTERRUPTED)


@app.command()
def schema(
    skeletons: Annotated[bool, typer.Option("--skeletons", help="Of skeleton files instead.")] = False,
    to: Out = None,
) -> None:
    """Print or write the JSON Schema of step files."""
    from drill_models.yaml_io import write_text

    if skeletons:
        from spaces.skeletons import schema_text
    else:
        from drill_models.step_io import schema_text
    if to is None:
        out.print(schema_text(), end="", highlight=False, markup=False, soft_wrap=True)
    else:
        write_text(to, schema_text())


@app.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(help="A step file to export. Without it: the best of a study.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMAT_NAMES)}.")] = "yaml",
    at_most: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Instead the most accurate with at most so many parameters; repeatable."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--front", help="Instead every network that none with as few parameters beats.")
    ] = False,
    storage: Storage = None,
    study: StudyName = None,
    data: Data = None,
    offline: Offline = False,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    to: Out = None,
) -> None:
    """Write the best trial of a study as step 6, or others of its front, each into a file of its own.

    Or for other programs: python and notebook train it without drill-search; onnx, weights (safetensors) and
    torch (an exported program) hold the trained network. Weights that a search did not keep are trained again.
    """
    from search.options import one_of, training_options

    chosen = one_of("--format", form, FORMAT_NAMES)
    if (whole or at_most) and (to is not None or (whole and at_most)):
        raise DrillError("--front, --at-most and --out do not go together")
    if file is not None and (whole or at_most or storage is not None or study is not None):
        raise DrillError("export takes a step file, or trials of a study, not both")
    training = training_options(
        data=data, offline=offline, device=device, engine=engine, precision=precision, workers=None
    )
    from search.export_job import ExportJob, export_file, export_trials

    job = ExportJob(form=chosen, training=training, to=to, out=out, err=err)
    if file is not None:
        from drill_models.step_io import load_step

        finished = export_file(job, load_step(file), file)
    else:
        finished = export_trials(job, storage, study, at_most or (), front=whole)
    if not finished:
        raise typer.Exit(INTERRUPTED)


@app.command()
def frontier(
    target: Annotated[float, typer.Option(help="Accuracy to hold, a fraction.")] = 0.994,
    budget: Annotated[int, typer.Option(min=1, max=10**9, help="Trainable parameters, at most.")] = 10_000,
    trials: Annotated[int, typer.Option(min=1, help="Networks to train in total, as in a search.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Epochs of a trial.")] = 15,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="With so many seeds must it hold.")] = 3,
    dataset: Annotated[str, typer.Option(help=f"One of {', '.join(DATASET_NAMES)}.")] = "mnist",
    data: Data = None,
    offline: Offline = False,
    max_macs: MaxMacs = None,
    max_activations: MaxActivations = None,
    baselines: Baselines = None,
    skeleton: SkeletonFiles = None,
    starts: Starts = True,
    seed: Annotated[int, typer.Option(min=0, max=2**31)] = 0,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    workers: Workers = None,
    storage: SearchStorage = None,
    study: SearchStudy = None,
    to: Out = None,
) -> None:
    """Find the smallest network that holds a target on the validation images.

    Searches with --objective pareto, for sizes from a ninth of the budget on, or goes on with that search; then
    trains the smallest networks that reached the target again, until one holds it with every seed, and writes it
    as step 6. The test set is not read.
    """
    from search.options import search_config, training_options

    config = search_config(
        budget=budget,
        trials=trials,
        epochs=epochs,
        target=target,
        dataset=dataset,
        training=training_options(
            data=data, offline=offline, device=device, engine=engine, precision=precision, workers=workers
        ),
        max_macs=max_macs,
        max_activations=max_activations,
        baselines=baselines,
        skeletons=skeleton or [],
        starts=starts,
        objective="pareto",
        hold_seeds=seeds,
        seed=seed,
        storage=storage,
        study=study,
        out=to,
    )
    _run(config)


@app.command()
def dashboard(
    storage: Storage = None,
    study: StudyName = None,
    host: Annotated[str, typer.Option(help="It has no authentication: mind who can reach it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
) -> None:
    """Open optuna-dashboard on the studies."""
    from search.reading import serve_dashboard

    serve_dashboard(storage, study, host, port, err.print)


def main() -> None:
    """Entry point of the console script."""
    try:
        code = app(standalone_mode=False)
    except DrillError as error:
        err.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(USAGE)
    except TyperException as error:
        err.print(error.format_message(), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(USAGE)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)
