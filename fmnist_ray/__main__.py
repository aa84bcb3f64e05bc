"""`fmnist VERB ...` and `python -m fmnist_ray VERB ...`: finds the verb and hands over to it."""

import importlib
import sys
from collections.abc import Sequence

from fmnist_ray import __version__

# Told here, and not by the verbs' modules, so that the list needs none of them imported.
VERBS = {
    "data": "fetch, verify, clean and export the data",
    "explore": "look at the data: classes, pixels, duplicates, correlations",
    "train": "train one model with Ray Train",
    "tune": "the main job: search with Ray Tune, retrain the best, score it",
    "cross_validate": "k-fold cross-validation, folds in parallel as Ray tasks",
    "ensemble": "bootstrap and seed ensembles, members in parallel as Ray tasks",
    "baselines": "tune and score SVM, random forest and logistic regression for comparison",
    "transfer": "VGG16 or VGG19 with a new output layer, or its last blocks trained on",
    "evaluate": "score a record's model on the test set",
    "compare": "set several records side by side: a table, figures, tests of every pair",
    "report": "make a record's report.html again",
    "predict": "label your own photographs",
    "serve": "the web app and the REST service: label images, look at experiments",
    "export": "write a model as ONNX, TorchScript or safetensors, with a model card",
    "doctor": "show what this machine offers and what would stop the verbs",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: What follows the program's name; None takes it from `sys.argv`.

    Raises:
        SystemExit: Always, with the exit code: the verb's, 0 after help, 2 without a known verb.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    match words:
        case []:
            print(usage(), file=sys.stderr)
            sys.exit(2)
        case ["-h" | "--help", *_] | ["help"]:
            print(usage())
        case ["--version", *_]:
            print(f"fmnist {__version__}")
        case ["help", verb] if verb in VERBS:
            _run(verb, ["--help"])
        case [verb, *rest] if verb in VERBS:
            _run(verb, rest)
        case ["help", unknown, *_] | [unknown, *_]:
            print(f"error: there is no verb {unknown!r}.\n\n{usage()}", file=sys.stderr)
            sys.exit(2)
    sys.exit(0)


def usage() -> str:
    """The list of verbs, a line each."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {purpose}" for verb, purpose in VERBS.items()]
    return "\n".join(
        [
            "Usage: fmnist VERB [OPTIONS]",
            "",
            "Distributed experiments on image classifiers with Ray, on Fashion-MNIST.",
            "",
            "Verbs:",
            *lines,
            "",
            "`fmnist VERB --help` tells a verb's options, `fmnist --version` the version.",
        ]
    )


def _run(verb: str, arguments: list[str]) -> None:
    module = importlib.import_module(f"fmnist_ray.{verb}")
    module.app(args=arguments, prog_name=f"fmnist {verb}")


if __name__ == "__main__":
    main()
