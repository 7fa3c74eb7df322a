"""`drill-search frontier` as a person meets it: a search for every size, then the smallest network that holds."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from drill_models.data import validation_data
from drill_models.device import default_workers, resolve_backend
from drill_models.resolve import DataSource, resolve
from drill_models.step_io import save_step
from drill_models.train import Interrupted
from search import attrs
from search.config import SearchConfig
from search.export import numbered_file, step_six
from search.frontier import SLACK, Candidate, smallest_that_holds
from search.interrupt import stop_on_signals
from search.main_job import run_main_job
from search.reading import open_to_read
from search.study import read_space
from search.tables import percent
from search.trial_tables import trial_name
from search.workers import open_executor


def run_frontier_job(
    config: SearchConfig, seeds: int, to: Path | None, out: Console, err: Console, command: Sequence[str]
) -> bool:
    """Searches, or goes on, and then looks for the smallest network that holds the target.

    Args:
        config: Of the search; its objective is `pareto`.
        seeds: With how many a network must hold the target.
        to: The file of that network, or None for one named by study and parameters.
        out: For results.
        err: For how to go on after an interruption.
        command: The words that were typed, to be repeated.

    Returns:
        Whether it came to its end.

    Raises:
        DrillError: One sentence for the user.
    """
    if not run_main_job(config, out, err, command):
        return False

    def say(line: str) -> None:
        out.print(line, highlight=False, markup=False, soft_wrap=True)

    def told(candidate: Candidate) -> None:
        n_params = candidate.trial.user_attrs[attrs.N_PARAMS]
        values = ", ".join(map(percent, candidate.values))
        verdict = "holds" if candidate.holds else "does not hold"
        say(
            f"trial {trial_name(candidate.trial)}, {n_params:,} parameters: {verdict} {percent(config.target)} "
            f"({values})"
        )

    training = config.training
    backend = resolve_backend(training.device, training.engine, training.precision)
    data = validation_data(resolve(config.dataset, DataSource(folder=training.data, offline=training.offline)))
    at_a_time = max(1, min(seeds - 1, training.workers or default_workers(backend.device)))
    # The search has just made it the last one used.
    with (
        stop_on_signals() as should_stop,
        open_to_read(None, None) as study,
        open_executor(data, backend, at_a_time, should_stop) as executor,
    ):
        try:
            found = smallest_that_holds(
                study,
                config.target,
                read_space(study),
                seeds=seeds,
                executor=executor,
                told=told,
                say=say,
                should_stop=should_stop,
            )
        except Interrupted:
            err.print("interrupted; what was trained is kept, and the same command goes on", highlight=False)
            return False
        if found is None:
            say(
                f"no network of this study holds {percent(config.target)} with {seeds} seeds (those more than "
                f"{percent(SLACK)} below were not looked at); more --trials may find one"
            )
            return True
        path = to or numbered_file(study.study_name, found)
        save_step(path, step_six(study, found))
        say(f"the smallest that holds {percent(config.target)} is written to {path}")
    return True
