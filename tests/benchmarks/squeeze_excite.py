"""Whether squeeze-and-excite pays in networks this small: with it and without it, at the same parameters.

    python tests/benchmarks/squeeze_excite.py studies/best/3000.yaml --seeds 3 --epochs 8 --lines se.jsonl

A block's channels are averaged over the image, go through two dense layers, the first `--reduction` times as
narrow, and weigh that block's output (Hu and others, CVPR 2018). The network gets as much narrower as that costs,
so every row has about the same parameters. Both sides are trained by PyTorch's layers on one thread, from the same
seeds, on the training split; values are as in `ablation.py`. Finished trainings are lines of `--lines`; the same
command goes on after them.
"""

import argparse
import json
import math
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import torch
from bench import add_shared_options, find_mnist, fresh_environment, one_sentence, versions, write_json
from torch import Tensor, nn

from drill_models.backend import Backend
from drill_models.build import build, n_params
from drill_models.count import count
from drill_models.data import validation_data
from drill_models.device import default_workers
from drill_models.errors import DrillError
from drill_models.json_lines import append_line, read_lines
from drill_models.resolve import Resolved
from drill_models.result import last_three_mean
from drill_models.step import ConvBlock, ModelConfig, Recipe
from drill_models.step_io import load_step
from drill_models.train import train
from spaces.budget import Budget
from spaces.drill import DrillSpace
from spaces.skeletons import load_skeletons


class SqueezeExcite(nn.Module):
    """Weighs a block's channels by what they are on average: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, body: nn.Module, channels: int, hidden: int) -> None:
        super().__init__()
        self.body = body
        self.weigh = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        after: Tensor = self.body(x)
        weights: Tensor = self.weigh(after.mean((2, 3)))
        return after * weights[:, :, None, None]


@dataclass(frozen=True)
class Case:
    """A recipe, and how many of its last convolution blocks are followed by squeeze-and-excite."""

    recipe: Recipe
    last: int
    reduction: int

    def build(self, model: ModelConfig) -> nn.Sequential:
        """The network, from torch's global random state; the plain layers get the same weights either way."""
        net = build(model)
        places = [i for i, block in enumerate(model.blocks) if isinstance(block, ConvBlock)]
        for i in places[len(places) - self.last :]:
            block = model.blocks[i]
            assert isinstance(block, ConvBlock)
            net[i] = SqueezeExcite(net[i], block.channels, max(1, block.channels // self.reduction))
        return net

    def key(self) -> str:
        """What a line of finished trainings says of it."""
        return f"{self.recipe.model_dump_json()} {self.last} {self.reduction}"

    def n_params(self) -> int:
        """Counted after building."""
        with torch.device("meta"):
            return n_params(self.build(self.recipe.model))


def as_large(recipe: Recipe, last: int, reduction: int) -> Case:
    """The widest network with squeeze-and-excite that has no more parameters than the recipe's has without it."""
    space = DrillSpace(load_skeletons(), num_classes=recipe.model.num_classes)
    point, most = space.encode(recipe), count(recipe.model).n_params
    for limit in range(most, 0, -1):
        smaller = space.decode(space.shrink(point, Budget(max_params=limit)), epochs=recipe.training.epochs)
        case = Case(smaller, last, reduction)
        if case.n_params() <= most:
            return case
    raise DrillError("no network of the space is small enough")


def trained(case: Case, found: Resolved, seed: int) -> float:
    """Its mean validation accuracy of the last three epochs."""
    torch.set_num_threads(1)
    with patch("drill_models.networks.build", case.build):
        records = list(train(case.recipe, validation_data(found), seed=seed, backend=Backend(engine="torch")))
    return last_three_mean([record.val_accuracy for record in records])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="step file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: the step's")
    parser.add_argument(
        "--last", type=int, nargs="*", default=[1, 3, 6], help="so many of the last blocks have it"
    )
    parser.add_argument("--reduction", type=int, default=4)
    parser.add_argument("--lines", type=Path, required=True, help="file of finished trainings")
    add_shared_options(parser)
    arguments = parser.parse_args()
    with one_sentence():
        recipe = load_step(arguments.file).recipe
        epochs = arguments.epochs or recipe.training.epochs
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": epochs})})
        cases = {"without": Case(recipe, 0, arguments.reduction)}
        for last in arguments.last:
            cases[f"after the last {last}"] = as_large(recipe, last, arguments.reduction)
        keys = {
            name: f"{each.recipe.model_dump_json()} {each.last} {each.reduction}" for name, each in cases.items()
        }
        done: dict[tuple[str, int], float] = {}
        for line in read_lines(arguments.lines):
            row = json.loads(line)
            done[row["case"], row["seed"]] = row["value"]
        left = [(n, s) for s in range(arguments.seeds) for n in cases if (keys[n], s) not in done]
        if left:
            found = find_mnist(arguments.data)
            spawn = get_context("spawn")
            with fresh_environment(1), ProcessPoolExecutor(default_workers("cpu"), mp_context=spawn) as pool:
                running = {pool.submit(trained, cases[n], found, s): (keys[n], s) for n, s in left}
                for future in as_completed(running):
                    key, seed = running[future]
                    done[key, seed] = future.result()
                    ended = {"case": key, "seed": seed, "value": done[key, seed]}
                    append_line(arguments.lines, json.dumps(ended))
        rows = []
        print(f"{'':20} parameters   mean %   less that without, points (standard error), n={arguments.seeds}")
        base = [done[keys["without"], seed] for seed in range(arguments.seeds)]
        for name, case in cases.items():
            values = [done[keys[name], seed] for seed in range(arguments.seeds)]
            off = [value - other for value, other in zip(values, base, strict=True)]
            error = statistics.stdev(off) / math.sqrt(len(off)) if len(off) > 1 else float("nan")
            said = "" if case.last == 0 else f"{100 * statistics.mean(off):+.3f} ({100 * error:.3f})"
            rows.append({"case": name, "n_params": case.n_params(), "values": values})
            print(f"{name:20} {case.n_params():10,}   {100 * statistics.mean(values):.3f}   {said}")
        write_json(arguments.out, {"file": str(arguments.file), "epochs": epochs, "rows": rows, **versions()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
