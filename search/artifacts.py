"""Files that belong to trials: in a folder beside the database, listed in the study, shown by optuna-dashboard.

A finished trial takes no more files, so what belongs to one is kept before it ends.
"""

import tempfile
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial
from sqlalchemy.engine import URL

from search.storage import sqlite_file

STEP_FILE, CURVE_PICTURE, WEIGHTS = "step.yaml", "curve.png", "weights.safetensors"


def artifact_folder(url: URL) -> Path:
    """Where the files of a storage's trials lie: beside a SQLite file, else in ./studies."""
    file = sqlite_file(url)
    return (Path("studies") if file is None else file.parent) / "artifacts"


def artifact_ids(study: optuna.Study) -> set[str]:
    """Names in the folder of all files of a study's trials."""
    return {
        meta.artifact_id
        for trial in study.get_trials(deepcopy=False)
        for meta in get_all_artifact_meta(trial, storage=study._storage)
    }


class Artifacts:
    """The files of one storage's trials.

    Args:
        folder: Made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._store = FileSystemArtifactStore(base_path=folder)

    def keep(self, trial: optuna.Trial, name: str, content: bytes) -> None:
        """Keeps a file of a running trial.

        Raises:
            OSError: It cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            upload_artifact(artifact_store=self._store, file_path=str(file), study_or_trial=trial)

    def find(self, study: optuna.Study, trial: FrozenTrial, name: str) -> bytes | None:
        """The content of a trial's file, or None where it has none here."""
        for meta in get_all_artifact_meta(trial, storage=study._storage):
            if meta.filename == name:
                try:
                    with self._store.open_reader(meta.artifact_id) as reader:
                        return reader.read()
                except ArtifactNotFound:
                    return None
        return None
