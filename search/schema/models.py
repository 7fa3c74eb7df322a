"""What a study may hold, as strict models: its settings, and the attributes of its trials.

A study is a file that may come from anybody. Bounds stand here, once; `search.schema.checks` holds a trial to them
and to what follows from its network and its curve.
"""

from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, TypeAdapter, ValidationError

from drill_models.backend import DeviceName, EngineName, PrecisionName
from drill_models.datasets import DatasetName
from drill_models.part import Accuracy
from search.names import ObjectiveName
from search.text import is_harmless

MAX_PARAMS = 10**9
"""Parameters of a network, or of a budget: no number that is read is larger."""
MAX_EPOCHS = 1000
MAX_SEED = 2**63 - 1
MAX_NAME = 200
"""Characters of a name that a study holds."""
MAX_JSON = 4_000_000
"""Characters of one attribute; a curve of 1,000 epochs has 150,000."""

Whole = Annotated[int, Strict()]
Count = Annotated[int, Strict(), Field(ge=0, le=MAX_PARAMS)]
Times = Annotated[int, Strict(), Field(ge=0, le=10**6)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
Loss = Annotated[float, Strict(), Field(gt=float("-inf"))]
"""May be infinite; never NaN, which is above nothing."""
Name = Annotated[str, Strict(), Field(max_length=MAX_NAME)]
Epoch = Annotated[int, Strict(), Field(ge=1, le=MAX_EPOCHS)]
Seed = Annotated[int, Strict(), Field(ge=0, le=MAX_SEED)]
Positive = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]

Row = tuple[Epoch, Positive, Loss, Share, Loss, Share, Positive]
"""An epoch of a curve, in the order of `search.study.trials`."""
Curve = Annotated[list[Row], Field(max_length=MAX_EPOCHS)]

ModelT = TypeVar("ModelT", bound=BaseModel)


class _Stored(BaseModel):
    """A frozen value read from a study; keys of other versions are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class StoredSettings(_Stored):
    """The settings that a study was made with."""

    dataset: DatasetName
    max_params: Annotated[int, Strict(), Field(ge=1, le=MAX_PARAMS)]
    max_macs: Annotated[int, Strict(), Field(ge=1, le=10**12)] | None = None
    max_activations: Annotated[int, Strict(), Field(ge=1, le=10**12)] | None = None
    epochs: Epoch
    space: Name
    target: Share
    objective: ObjectiveName = "accuracy"


class StoredEnvironment(_Stored):
    """What a trial ran on: `drill_models.backend.Environment`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    device: DeviceName
    threads: Annotated[int, Strict(), Field(ge=1, le=10_000)]
    torch: Name
    program: Name | None = None
    engine: EngineName = "torch"
    precision: PrecisionName = "fp32"
    gpu: Name | None = None


class TrialAttributes(_Stored):
    """User attributes of a trial, by their names in `search.schema.attributes`. None: not set yet."""

    baseline: Name | None = None
    start: Name | None = None
    reported_test_accuracy: Share | None = None
    n_params: Count | None = None
    epochs: Epoch | None = None
    seed: Seed | None = None
    curve: Curve | None = None
    environment: StoredEnvironment | None = None
    over_budget: Annotated[bool, Strict()] | None = None
    interrupted: Annotated[bool, Strict()] | Name | None = None
    owner: Name | None = None
    retry_of: Times | None = None
    crashes: Times | None = None
    kills: Times | None = None
    began: Annotated[bool, Strict()] | None = None
    deaths: Times | None = None
    reason: Annotated[str, Strict(), Field(max_length=20_000)] | None = None


class StoredFinals(_Stored):
    """Which trials were trained again."""

    trials: Annotated[list[Times], Field(max_length=10_000)]
    complete: Times
    top: Times = 0
    seeds: Times = 0


class StoredSitting(_Stored):
    """What a session was asked, and ran on."""

    began: Name
    command: list[str] | None = None
    asked: dict[str, Any]
    backend: dict[str, Any]
    workers: Times
    python: Name
    system: Name
    versions: dict[Name, Name]


class StoredArtifact(_Stored):
    """Of a file that belongs to a trial or a study."""

    artifact_id: Name
    filename: Name
    mimetype: Name
    encoding: Name | None = None


CURVE: TypeAdapter[list[Row]] = TypeAdapter(Curve)
ACCURACY: TypeAdapter[float] = TypeAdapter(Accuracy)


def first_problem(error: ValidationError) -> str:
    """Field and fault of the first thing that does not fit: `environment.threads: should be ...`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"][:4])
    fault = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    said = f"{where} {fault[:1].lower()}{fault[1:]}" if where else fault
    return said if is_harmless(said) else "a key that is no plain text"


@cache
def _text_fields(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(model.model_fields)


def names_in(model: BaseModel) -> list[tuple[str, str]]:
    """The texts of a model, with the names of their fields."""
    return [(name, value) for name in _text_fields(type(model)) if isinstance(value := getattr(model, name), str)]
