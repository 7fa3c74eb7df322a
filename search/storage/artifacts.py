"""Files that belong to trials: in a folder beside the database, listed in the study, shown by optuna-dashboard.

A finished trial takes no more files, so what belongs to one is kept before it ends.
"""

import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL, make_url

from drill_models.errors import DrillError
from search.schema.attribute_checks import read_artifact
from search.schema.checks import Unfit
from search.schema.models import StoredArtifact
from search.storage.url import DEFAULT_STORAGE, sqlite_file

STEP_FILE, CURVE_PICTURE, WEIGHTS = "step.yaml", "curve.png", "weights.safetensors"


def artifact_folder(url: URL) -> Path:
    """Where the files of a storage's trials lie: beside a SQLite file, else in ./studies.

    Each storage has a folder of its own, so that a study that is deleted takes no file of a copy elsewhere along.
    """
    file, usual = sqlite_file(url), Path(str(make_url(DEFAULT_STORAGE).database))
    if file is not None:
        return file.parent / ("artifacts" if file.name == usual.name else f"artifacts-{file.name}")
    if url.get_backend_name() == "sqlite":
        return usual.parent / "artifacts"  # in memory
    place = [url.get_backend_name(), url.host or url.query.get("host"), url.port, url.database]
    return usual.parent / f"artifacts-{blake2b(repr(place).encode(), digest_size=4).hexdigest()}"


def artifact_ids(study: optuna.Study) -> set[str]:
    """Names in the folder of all files of a study and its trials, except what leads out of it."""
    owners: list[FrozenTrial | optuna.Study] = [study, *study.get_trials(deepcopy=False)]
    metas = (meta for owner in owners for meta in _metas(study, owner))
    return {meta.artifact_id for meta in metas if _is_ours(meta.artifact_id)}


def _metas(study: optuna.Study, owner: FrozenTrial | optuna.Study) -> list[StoredArtifact]:
    """What a study keeps of an owner's files; what does not fit is left out."""
    if isinstance(owner, FrozenTrial):
        found = owner.system_attrs
    else:
        found = study._storage.get_study_system_attrs(study._study_id)
    metas = []
    for key, value in found.items():
        if key.startswith("artifacts:"):
            with suppress(Unfit):
                metas.append(read_artifact(value))
    return metas


def _is_ours(name: str) -> bool:
    """Whether it is the name of a file as Optuna makes them: a UUID. A stranger's study may hold any path."""
    try:
        return str(UUID(name)) == name
    except (ValueError, AttributeError, TypeError):
        return False


class Artifacts:
    """The files of one storage's trials.

    Args:
        folder: Made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = FileSystemArtifactStore(base_path=folder)

    def keep(self, owner: optuna.Trial | optuna.Study, name: str, content: bytes) -> None:
        """Keeps a file of a running trial, or of a study.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            upload_artifact(artifact_store=self._store, file_path=str(file), study_or_trial=owner)

    def find(self, study: optuna.Study, owner: FrozenTrial | optuna.Study, name: str) -> bytes | None:
        """The content of a file of a trial or a study with that name, or None where it has none here.

        Files are in no order, so each is to have a name of its own.

        Raises:
            DrillError: It cannot be read.
        """
        for meta in _metas(study, owner):
            if meta.filename == name and _is_ours(meta.artifact_id):
                try:
                    with self._store.open_reader(meta.artifact_id) as reader:
                        return reader.read()
                except ArtifactNotFound:
                    return None
                except OSError as error:
                    file = self.folder / meta.artifact_id
                    raise DrillError(f"{file} ({name}): cannot be read: {error.strerror}") from error
        return None
