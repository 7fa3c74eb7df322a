"""The app that commands register with, and the options that several of them share.

Heavy imports happen inside the commands, so that `--help` and completion answer at once.
"""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from drill_models.errors import DrillError
from search.cli.completion import among, studies
from search.cli.config_file import read_config
from search.console.console import Screen
from search.names import DEVICE_OPTIONS, PLACE_OPTIONS, PRECISION_OPTIONS
from search.text import is_url

USAGE, INTERRUPTED = 2, 130
"""Exit codes: a user's mistake; interrupted with the work kept. Done is 0."""

COMMANDS, MISTAKE = "search.commands", "search.mistake"
"""Of a file of options, in a context's `meta`: those of the commands, and what is wrong with it."""

T = TypeVar("T")

app = typer.Typer(
    name="drill-search",
    help="Search small CNNs under a hard parameter budget.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def screen_of(context: typer.Context) -> Screen:
    """What the command speaks to; the same for a command and the group above it."""
    screen = context.find_object(Screen)
    if screen is None:
        screen = context.find_root().obj = Screen()
    return screen


def call(function: Callable[..., T], context: typer.Context, **more: Any) -> T:
    """Calls a function with those of the command's options that it names."""
    names = inspect.signature(function).parameters
    given = {name: value for name, value in context.params.items() if name in names}
    return function(**{**given, **more})


def finish(done: bool) -> None:
    """Ends a command that was interrupted with its exit code."""
    if not done:
        raise typer.Exit(INTERRUPTED)


# How a command speaks. The callbacks do what is asked, so commands need not look at the values.


def _json(context: typer.Context, value: bool) -> bool:
    screen_of(context).json |= value
    return value


def _quiet(context: typer.Context, value: bool) -> bool:
    screen_of(context).quiet |= value
    return value


def _verbose(context: typer.Context, value: bool) -> bool:
    screen_of(context).verbose |= value
    return value


def _log(context: typer.Context, value: Path | None) -> Path | None:
    if value is not None:
        screen_of(context).log_to(value)
    return value


def _version(context: typer.Context, value: bool) -> bool:
    if value and not context.resilient_parsing:  # a shell that completes asks nothing
        from importlib.metadata import version

        print(f"drill-search {version('drill-search')}")
        raise typer.Exit
    return value


def no_url(value: Path | None) -> Path | None:
    """Refuses a database's URL as the file to write: its password would be a file's name, and stored."""
    if value is not None and is_url(value):
        raise DrillError("--out is a file, not a URL; --storage takes one")
    return value


def _config(context: typer.Context, value: Path | None) -> Path | None:
    if {"-h", "--help"} & set(sys.argv):  # a file that is wrong is no reason to withhold help
        return value
    try:
        context.default_map, context.meta[COMMANDS] = read_config(value, context)
    except DrillError as error:
        if "doctor" not in sys.argv:  # which goes on and finds what else is wrong
            raise
        context.meta[MISTAKE] = error
    return value


Json = Annotated[bool, typer.Option("--json", callback=_json, help="Results as JSON, all else to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="No progress, no notices.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", callback=_verbose, help="A line for each epoch, too.")]
Log = Annotated[Path | None, typer.Option("--log", callback=_log, help="File to append all lines to.")]
Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version this is.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=_config,
        is_eager=True,
        help="YAML file of options. Default: [tool.drill-search] in ./pyproject.toml. What is typed wins.",
    ),
]

# Training.

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the data sets; else DRILL_DATA, else the user's cache."),
]
Offline = Annotated[bool, typer.Option("--offline", envvar="DRILL_OFFLINE", help="Never download data.")]
Device = Annotated[str, typer.Option("--device", autocompletion=among(DEVICE_OPTIONS), help="auto, cpu or cuda.")]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        autocompletion=among(PLACE_OPTIONS),
        help="auto, native (own kernels, CPU), torch, or ray: on a Ray cluster. auto: native where it covers the "
        "network.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Of the cluster, with --engine ray. Default: RAY_ADDRESS, else this machine's own."),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        autocompletion=among(PRECISION_OPTIONS),
        help="auto, fp32 or bf16 (which PyTorch trains in). auto: fp32.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Networks to train at a time. Default: one a core; CUDA: up to 4 a GPU."),
]
Seeds = Annotated[int, typer.Option(min=1, max=1000, help="How many seeds, side by side.")]
FirstSeed = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The first seed.")]

# Files and studies.

Out = Annotated[Path | None, typer.Option("--out", callback=no_url, help="The file to write.")]
Storage = Annotated[
    str | None,
    typer.Option("--storage", help="Database URL. Default: the last one used, else SQLite in ./studies."),
]
StudyName = Annotated[
    str | None,
    typer.Option("--study", autocompletion=studies, help="Name of the study. Default: the last one used."),
]
