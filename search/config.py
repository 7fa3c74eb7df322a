"""What one search is asked to do."""

from dataclasses import dataclass
from pathlib import Path

from drill_models.backend import DeviceOption, EngineOption, PrecisionOption
from drill_models.datasets import DatasetName
from search.names import DEFAULT_BASELINES, ObjectiveName, PrunerName, SamplerName, TrackerName
from spaces.budget import Budget
from spaces.skeletons import Skeleton

DEFAULT_EPOCHS = 15


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """A Ray cluster.

    Attributes:
        address: Where it is, or None for RAY_ADDRESS, else one that runs on this machine, or is started for it.
    """

    address: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Where data are, and what trains; the same for every command that trains a step.

    Attributes:
        data: Folder of the data sets, or None for `DRILL_DATA` or the cache.
        offline: Never download.
        device: `auto`, `cpu` or `cuda`.
        engine: `auto`, `native` or `torch`.
        precision: `auto`, `fp32` or `bf16`.
        workers: Runs at a time, or None for one a usable core, on CUDA up to four a GPU.
        cluster: Where networks train, if not on this machine.
    """

    data: Path | None = None
    offline: bool = False
    device: DeviceOption = "auto"
    engine: EngineOption = "auto"
    precision: PrecisionOption = "auto"
    workers: int | None = None
    cluster: ClusterOptions | None = None


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One search.

    Attributes:
        budget: The hard limits.
        trials: Networks to train in total, over all sittings.
        epochs: Epochs of a trial.
        target: Accuracy (fraction) that the display and step 6 judge by.
        dataset: What to train on.
        training: Where data are, what trains, and how many trials at a time.
        timeout: Seconds after which nothing further starts to train, or None.
        hard_timeout: Seconds after which what trains ends, too, as at SIGTERM, or None.
        seed: Decides proposals and trainings.
        sampler: What proposes.
        pruner: What stops weak trials.
        objective: The highest accuracy, or every trade of accuracy against parameters.
        baselines: Hand steps that come first: ladders (`a-runs`) and single steps (`b-cyclic/5`).
        starts: Whether the package's starting points follow, made as small as the budget asks.
        finalists: So many of the best trials are trained again at the end, with other seeds;
            None for a twentieth of the trials, at most 5.
        finalist_seeds: How many other seeds.
        hold_seeds: With so many seeds must the smallest network hold the target, which is then looked for at the
            end, in place of finalists; None for none.
        skeletons: Those of the package and the user's own.
        storage: SQLAlchemy URL, or None for SQLite under `./studies`.
        study: Name of the study, or None for one that says data set, budget and space.
        out: The step file to write at the end, or None for one named as the study.
        own_skeletons: Names of those skeletons that are the user's.
        skeleton_files: Where those were read.
        trackers: Which trackers are told of each trial.
        command: The words that were typed, without passwords; kept in the study.
    """

    budget: Budget
    skeletons: tuple[Skeleton, ...]
    trials: int = 100
    epochs: int = DEFAULT_EPOCHS
    target: float = 0.994
    dataset: DatasetName = "mnist"
    training: TrainingOptions = TrainingOptions()
    timeout: float | None = None
    hard_timeout: float | None = None
    seed: int = 0
    sampler: SamplerName = "tpe"
    pruner: PrunerName = "forecast"
    objective: ObjectiveName = "accuracy"
    baselines: tuple[str, ...] = DEFAULT_BASELINES
    starts: bool = True
    finalists: int | None = None
    finalist_seeds: int = 2
    hold_seeds: int | None = None
    storage: str | None = None
    study: str | None = None
    out: Path | None = None
    own_skeletons: tuple[str, ...] = ()
    skeleton_files: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    trackers: tuple[TrackerName, ...] = ()
