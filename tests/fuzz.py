"""Damaged step, skeleton and option files: whatever stands in them, only a `DrillError` may come out.

    python -m tests.fuzz --inputs 1000000 --processes 2 --out fuzz.json

Each input is a file of the project, damaged by a few random changes of bytes, lines and values; a run with the
same --seed makes the same inputs. What ends otherwise than by a `DrillError` is printed with the number by which
`--only` makes it again, and the exit code is 1. Memory is the largest of a process.
"""

import argparse
import json
import multiprocessing
import random
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import typer

from drill_models import yaml_io
from drill_models.count import count
from drill_models.errors import DrillError
from drill_models.step_io import dump_step, load_step
from search.cli.app import app
from search.cli.config_file import read_config
from spaces.budget import Budget
from spaces.skeletons import Skeleton, check_budget

ROOT = Path(__file__).parent.parent
BUDGET = Budget(max_params=10_000)

OPTIONS = b"""budget: 5000
trials: 30
target: 0.99
dataset: mnist
baselines: [a-runs/5, e-codes]
starts: false
sampler: tpe
confirm:
  seeds: 3
  top: 2
studies:
  storage: sqlite:///x.db
"""

HOSTILE = (
    "-1", "0", "1e999", "-1e999", ".nan", ".inf", "9" * 400, "1000000000", "1e9", "0x7fffffff", "0o17",
    "1_0", "1:30", "true", "no", "~", "null", "''", "'3'", "\"\\0\"", "\"\\ud800\"", "2024-01-01",
    "2024-01-01T00:00:00Z", "\xe9\u202e\U0001f600", "[]", "{}", "[[[[1]]]]", "{a: {b: {c: 1}}}",
    "[1, 2, 3]", "&x 1", "*x", "<<", "!!binary aGk=", "!!set {a, b}",
    "!!python/object/apply:os.system [true]", "!!timestamp 1", "!!omap [a: 1]", "!!float x", "!!int ''",
    "? a", "- a", "|\n  text", ">\n  text", "%YAML 9.9", "---", "...", "#", "x" * 5000, "[" * 60,
    "{a: " * 60, "../../../etc/passwd", "/dev/zero", "\t", "\x85", "\ufeff", "=", "@", "`", "conv", "pool",
    "gap", "full_conv", "adam", "cosine",
)  # fmt: skip
"""Values that readers trip over."""

FAMILIES = ("step", "skeleton", "options")


def corpus() -> dict[str, list[bytes]]:
    """Files that are read without a complaint, by what they are."""
    steps = [path.read_bytes() for path in sorted((ROOT / "studies").glob("*/**/*.yaml"))]
    skeletons = [path.read_bytes() for path in sorted((ROOT / "spaces" / "skeleton_files").glob("*.yaml"))]
    return {"step": steps, "skeleton": skeletons, "options": [OPTIONS]}


def damaged(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """A file with one to four random changes; some take a piece of another."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        content = chance.choice(CHANGES)(chance, content, other)
    return content


def _bytes(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """Changes, adds or takes away a few bytes."""
    at = chance.randrange(len(content) + 1)
    end = min(len(content), at + chance.randrange(4))
    return content[:at] + chance.randbytes(chance.randrange(4)) + content[end:]


def _marks(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """Puts one of YAML's marks somewhere."""
    at = chance.randrange(len(content) + 1)
    return (
        content[:at]
        + chance.choice(
            (b":", b"- ", b"[", b"]", b"{", b"}", b",", b"&a ", b"*a", b"!", b"'", b'"', b"|", b"\n", b"  ")
        )
        + content[at:]
    )


def _line(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """Drops, repeats, moves, or indents a line, or takes one of another file."""
    lines = content.split(b"\n")
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(to, lines[at])
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            lines[at] = b" " * chance.randrange(1, 5) + lines[at]
        case _:
            lines.insert(to, chance.choice(other.split(b"\n")))
    return b"\n".join(lines)


def _value(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """Gives a key another value."""
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    pieces = lines[at].split(b": ")
    if len(pieces) > 1:
        piece = chance.randrange(1, len(pieces))
        _, mark, rest = pieces[piece].partition(b",")
        value = chance.choice(HOSTILE).encode("utf-8", "surrogatepass")
        pieces[piece] = value + mark + rest
        lines[at] = b": ".join(pieces)
    return b"\n".join(lines)


def _cut(chance: random.Random, content: bytes, other: bytes) -> bytes:
    """Ends it early."""
    return content[: chance.randrange(len(content) + 1)]


CHANGES: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _bytes,
    _marks,
    _line,
    _value,
    _value,
    _value,
    _cut,
)


def read(family: str, path: Path) -> None:
    """Reads a file as the program does, and does with it what comes before training.

    Raises:
        DrillError: It is not what it should be.
    """
    if family == "step":
        step = load_step(path)
        counted = count(step.model)
        BUDGET.excess(step.model)
        assert counted.n_params >= 0
        written = dump_step(step, "x")
        path.write_text(written, encoding="utf-8")
        assert dump_step(load_step(path), "x") == written
    elif family == "skeleton":
        check_budget([yaml_io.read(path, Skeleton)], BUDGET, 10)
    else:
        read_config(path, typer.Context(_command()))


@cache
def _command() -> Any:
    return typer.main.get_command(app)


def outcome(family: str, path: Path) -> str:
    """How reading a file ended: "read", "refused", or an exception's name and place."""
    try:
        read(family, path)
    except DrillError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"a message of several lines: {error}"
    except Exception as error:
        return (
            f"{type(error).__name__}: {error}"[:300]
            + "\n"
            + "".join(traceback.format_tb(error.__traceback__)[-3:])
        )
    return "read"


def made(number: int, seed: int, files: dict[str, list[bytes]]) -> tuple[str, bytes]:
    """The input of a number: its family and content."""
    chance = random.Random(f"{seed}/{number}")
    family = chance.choice(FAMILIES)
    return family, damaged(chance, chance.choice(files[family]), chance.choice(files[chance.choice(FAMILIES)]))


def fuzz(first: int, last: int, seed: int) -> tuple[Counter[str], list[str], float]:
    """Reads inputs from a number up to another.

    Returns:
        How many ended how; what ended otherwise than it may; the process's largest memory in MB.
    """
    files, ends, wrong = corpus(), Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input.yaml"
        for number in range(first, last):
            family, content = made(number, seed, files)
            path.write_bytes(content)
            end = outcome(family, path)
            ends[f"{family} {end if end in ('read', 'refused') else 'WRONG'}"] += 1
            if end not in ("read", "refused"):
                wrong.append(f"--seed {seed} --only {number} ({family}): {end}")
    return ends, wrong, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this one alone, and what is in it")
    parser.add_argument("--out", type=Path, help="file for the counts (JSON); a run that was interrupted goes on")
    arguments = parser.parse_args()
    if arguments.only is not None:
        family, content = made(arguments.only, arguments.seed, corpus())
        print(family, content.decode("utf-8", "replace"), sep="\n")
        ends, wrong, _ = fuzz(arguments.only, arguments.only + 1, arguments.seed)
        print(dict(ends), *wrong, sep="\n")
        return len(wrong)
    return _all(arguments)


def _all(arguments: argparse.Namespace) -> int:
    """Works through the inputs in parts, of which each is kept once it is done."""
    part = 2_000
    state: dict[str, Any] = {"done": [], "ends": {}, "wrong": [], "megabytes": 0.0, "seconds": 0.0}
    if arguments.out is not None and arguments.out.exists():
        state = json.loads(arguments.out.read_text())
    left = [start for start in range(0, arguments.inputs, part) if start not in state["done"]]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        calls = {
            start: pool.apply_async(fuzz, (start, min(start + part, arguments.inputs), arguments.seed))
            for start in left
        }
        for start, call in calls.items():
            ends, wrong, megabytes = call.get()
            state["done"].append(start)
            state["ends"] = dict(sorted((Counter(state["ends"]) + ends).items()))
            state["wrong"] += wrong
            state["megabytes"] = max(state["megabytes"], megabytes)
            for line in wrong:
                print(line, flush=True)
            if arguments.out is not None:
                now = {**state, "seconds": state["seconds"] + time.monotonic() - began}
                arguments.out.write_text(json.dumps(now))
    total = sum(state["ends"].values())
    print(f"{total:,} inputs: {state['ends']}; {len(state['wrong'])} wrong; at most {state['megabytes']:.0f} MB")
    return 1 if state["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
