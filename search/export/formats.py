"""What the ending of a file's name says of its format. No torch, so that a mistake in `--out` answers at once."""

from pathlib import Path

from drill_models.errors import DrillError
from search.names import FormatName

ENDINGS: dict[FormatName, tuple[str, ...]] = {
    "yaml": (".yaml", ".yml"),
    "python": (".py",),
    "notebook": (".ipynb",),
    "weights": (".safetensors",),
    "onnx": (".onnx",),
    "torch": (".pt2",),
}
"""Of each format, the one that it is given first."""


def format_of(asked: FormatName | None, out: Path | None) -> FormatName:
    """The format that is written.

    Args:
        asked: The one that was named, if any.
        out: The file that was named, if any.

    Raises:
        DrillError: The file's ending is another format's, or no format is named and it is none's.
    """
    ending = "" if out is None else out.suffix.lower()
    meant = next((form for form, endings in ENDINGS.items() if ending in endings), None)
    if asked is not None and meant is not None and asked != meant:
        raise DrillError(
            f"--out {out} ends as {meant} does, not {asked}; give it another ending or another --format"
        )
    if asked is None and meant is None and ending:
        known = ", ".join(one for endings in ENDINGS.values() for one in endings)
        raise DrillError(f"--out {out} ends as no format does ({known}); give it another ending, or a --format")
    return asked or meant or "yaml"
