"""A step as a notebook in the form of a drill: target, result, analysis, and then code that runs."""

from drill_models.count import count
from drill_models.errors import DrillError
from drill_models.step import Step
from search.export import code
from search.export.training_code import trained_in_full
from search.text import counted, lines_of, mean_of_last

SAYS = {
    "Settings": "What decides the training, each number once.",
    "Network": "Shapes after each block are channels x height x width.",
    "Data": "Five sixths of the training images train and one sixth validates, each label in proportion, always "
    "the same ones. The test set is read only where `full` is set.",
    "Augmentation": "Anew for each image in each epoch.",
    "Averaged weights": "What is measured is not the last weights, but their moving average.",
    "Training": "Cross-entropy, one line an epoch.",
}


def notebook(step: Step, made_by: str) -> str:
    """The notebook's text (JSON, format 4).

    Args:
        step: What it trains.
        made_by: How it was made, in a sentence.

    Raises:
        DrillError: nbformat is not installed.
    """
    try:
        from nbformat import v4, validate, writes
    except ImportError as error:
        raise DrillError("a notebook needs nbformat: pip install nbformat") from error
    run = None if step.result is None else step.result.run
    cells = [
        v4.new_markdown_cell(f"# {step.name}\n\n{made_by}"),
        v4.new_markdown_cell(f"## Target\n\n{_target(step)}"),
        v4.new_markdown_cell(f"## Result\n\n{_result(step)}"),
        v4.new_markdown_cell("\n\n".join(["## Analysis", *(lines_of(step.analysis) or ["None was written."])])),
        v4.new_code_cell(code.imports(step).strip()),
    ]
    for title, piece in code.pieces(step).items():
        cells.append(v4.new_markdown_cell(f"## {title}\n\n{SAYS[title]}"))
        cells.append(v4.new_code_cell(piece.strip()))
    seed = 0 if run is None else run.seed
    full = trained_in_full(step)
    how = "\n\nOn all training images, with the test set held out, as the recorded run was." if full else ""
    cells += [
        v4.new_markdown_cell(f"## Run{how}"),
        v4.new_code_cell(f'net, accuracies = train("data", seed={seed}{", full=True" if full else ""})'),
    ]
    if run is not None:
        recorded = ", ".join(f"{record.val_accuracy:.4f}" for record in run.epochs)
        cells.append(v4.new_markdown_cell(f"The recorded run, {run.held_out} accuracy after each epoch:"))
        cells.append(
            v4.new_code_cell(
                f"recorded = [{recorded}]\n"
                "for epoch, (then, now) in enumerate(zip(recorded, accuracies), start=1):\n"
                '    print(f"{epoch:3}  recorded {then:.2%}  here {now:.2%}")'
            )
        )
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # not drawn at random, so that the same step gives the same file
    made = v4.new_notebook(
        cells=cells,
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    validate(made)
    return str(writes(made)) + "\n"


def _target(step: Step) -> str:
    target = step.target
    return (
        f"{target.purpose}\n\n- accuracy of {target.accuracy:.2%}\n- at most {target.max_params:,} parameters\n"
        f"- at most {counted(target.epochs, 'epoch')}"
    )


def _result(step: Step) -> str:
    lines = [f"- {count(step.model).n_params:,} parameters"]
    result = step.result
    if result is not None and result.reported is not None:
        lines.append(
            f"- reported: train {result.reported.train_accuracy:.2%}, test {result.reported.test_accuracy:.2%}"
        )
    if result is not None and result.run is not None:
        run = result.run
        lines.append(
            f"- one run (seed {run.seed}): {run.value:.2%} {run.held_out} accuracy, "
            f"{mean_of_last(len(run.epochs))}, best in epoch {run.best_epoch}"
        )
    if step.verdict is not None:
        lines.append(f"- {code.verdict_words(step.verdict)}")
    for caveat in () if result is None else result.caveats:
        lines.append(f"- {caveat.kind}: {caveat.text}")
    return "\n".join(lines)
