"""Commands on studies: list, delete, copy."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from drill_models.errors import DrillError
from search.cli import completion as complete
from search.cli.app import Json, Log, Quiet, Storage, app, screen_of

studies = typer.Typer(help="List, delete and copy studies.", invoke_without_command=True, rich_markup_mode=None)
app.add_typer(studies, name="studies")


@studies.callback()
def every(
    context: typer.Context, storage: Storage = None, json: Json = False, quiet: Quiet = False, log: Log = None
) -> None:
    """List the studies of a storage, or delete or copy one."""
    below = context.invoked_subcommand
    if below is None:
        _show(context, storage, None)
    elif storage is not None and storage != (context.default_map or {}).get("storage"):  # of a file of options
        raise DrillError(f"--storage stands before {below}; options follow their command")


@studies.command("list")
def listed(
    context: typer.Context,
    study: Annotated[
        str | None,
        typer.Argument(autocompletion=complete.studies, help="One study, with all settings of each sitting."),
    ] = None,
    storage: Storage = None,
    json: Json = False,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """List all studies, or show the settings of one."""
    _show(context, storage, study)


def _show(context: typer.Context, storage: str | None, name: str | None) -> None:
    from search.console.trial_tables import study_table
    from search.storage.url import shown
    from search.study.manage import all_studies
    from search.study.open import which_storage
    from search.study.session_log import option_of, shown_command

    screen = screen_of(context)
    url = which_storage(storage)
    found = all_studies(url, name, screen.warning)
    if found:
        screen.table(study_table(found))
    else:
        screen.result(f"there are no studies in {shown(url)}")
    for sitting in found[0].sittings if name is not None else ():
        screen.result(f"{sitting['began']}  {shown_command(sitting)}")
        asked = dict(sitting["asked"])
        limits = asked.pop("budget", {})  # several options
        # Said above, and named by the files of --skeleton.
        every = {
            option_of(name): value
            for name, value in {**limits, **asked}.items()
            if name not in ("command", "own_skeletons")
            and not (name == "objective" and asked.get("hold_seeds") is not None)  # which `frontier` implies
        }
        screen.result(f"  in full: {_pairs(every)}")
        if sitting["asked"]["dataset"] != found[0].settings.dataset:
            screen.result(f"  used: {found[0].settings.dataset}, in place of data that were not there")
        for key in ("backend", "versions"):
            screen.result(f"  {key}: {_pairs(sitting[key])}")
        screen.result(f"  {sitting['workers']} at a time, Python {sitting['python']}, {sitting['system']}")
    screen.document([one.document() for one in found])


def _pairs(values: Mapping[str, Any]) -> str:
    """Settings in a line, without those that are at nothing."""
    words = []
    for key, value in values.items():
        if value is True:
            words.append(key)
        elif value is False and key == "--starts":
            words.append("--no-starts")
        elif value is not False and value not in (None, []):  # 0 is a value
            words.append(f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}")
    return ", ".join(words)


@studies.command()
def delete(
    context: typer.Context,
    study: Annotated[str, typer.Argument(autocompletion=complete.studies, help="Its name.")],
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Delete a study, its trials and their files. Exported step files stay."""
    from search.storage.url import shown
    from search.study.manage import all_studies, delete_study
    from search.study.open import which_storage

    url = which_storage(storage)
    (found,) = all_studies(url, study)
    question = f"delete study {study} with {found.counts.trained} trials from {shown(url)}?"
    if not yes and not _agreed(question):
        raise DrillError("nothing was deleted")
    delete_study(url, study)
    screen_of(context).result(f"deleted study {study}")


def _agreed(question: str) -> bool:
    """Asks.

    Raises:
        DrillError: Nobody can answer.
    """
    try:
        return typer.confirm(question, err=True)
    except typer.Abort as error:
        if not isinstance(error.__context__, EOFError):  # but Ctrl-C
            raise
        typer.echo(err=True)  # after the question
        raise DrillError("nothing was deleted: there was no answer; --yes deletes without a question") from error


@studies.command()
def copy(
    context: typer.Context,
    study: Annotated[str, typer.Argument(autocompletion=complete.studies, help="Its name.")],
    name: Annotated[str | None, typer.Argument(help="The copy's name. Default: the same.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Another storage's database URL.")] = None,
    storage: Storage = None,
    json: Json = False,
    quiet: Quiet = False,
    log: Log = None,
) -> None:
    """Copy a study, its trials and their files.

    Under another name, or into another storage.
    """
    from search.report.dashboard import publish
    from search.storage.url import parse, shown
    from search.study.manage import copy_study
    from search.study.open import which_storage

    url = which_storage(storage)
    target = url if to is None else parse(to)
    copy_study(url, study, target, name or study, publish)
    screen_of(context).result(f"copied study {study} to {name or study} in {shown(target)}")
