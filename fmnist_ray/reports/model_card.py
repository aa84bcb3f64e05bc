"""A model card: what a model is, what it learned from, how good it is, and what it is not for.

The sections are those of Mitchell et al. 2019 (arXiv:1810.03993), as far as they apply.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmnist_ray.evaluation.contenders import Contender
from fmnist_ray.evaluation.provenance import as_mapping, number

CARD_FILE = "MODEL_CARD.md"
_REPORT = "classification_report.csv"

_USE = {
    "onnx": """\
```python
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
images = np.zeros((1, 28, 28), np.uint8)  # 0 is the ground, 255 the brightest
probabilities = session.run(["probabilities"], {"images": images})[0]  # float32, (n, 10)
```""",
    "torchscript": """\
```python
import torch

model = torch.jit.load("model.torchscript.pt")
images = torch.zeros(1, 28, 28, dtype=torch.uint8)  # 0 is the ground, 255 the brightest
probabilities = model(images)  # float32, (n, 10)
```""",
    "safetensors": """\
```python
from pathlib import Path

import numpy as np
from fmnist_ray.models.storage import load_model
from fmnist_ray.training.predict import predict

model, _ = load_model(Path("."))
images = np.zeros((1, 28, 28), np.uint8)  # 0 is the ground, 255 the brightest
probabilities = predict(model, images)  # float32, (n, 10)
```""",
}


def model_card(
    name: str,
    description: Mapping[str, Any],
    contender: Contender | None,
    metrics: Mapping[str, Any],
    classes: Sequence[str],
    formats: Mapping[str, str],
) -> str:
    """The card, in Markdown.

    Args:
        name: What to call the model.
        description: Content of its `model.json`.
        contender: What its record says of it; None for a model without a record.
        metrics: Of its record; empty for one without.
        classes: Names of the classes, in the order of the probabilities.
        formats: File names by format.
    """
    run = {} if contender is None else contender.record.run()
    parts = [f"# {name}", _what(description, contender), *_files(formats)]
    parts += ["## Classes", ", ".join(f"{at} {each}" for at, each in enumerate(classes)) + "."]
    parts += ["## Data", _data(contender, description, run)]
    parts += ["## How good it is", *_figures(description, contender, metrics)]
    parts += ["## What it is not for", _LIMITS]
    parts += ["## Where it comes from", _provenance(contender, description, run)]
    return "\n\n".join(part for part in parts if part) + "\n"


_LIMITS = """\
- It knows ten classes of clothes, and gives every image one of them, also one that shows none.
- It was trained on pictures of single items from one shop of about 2017, in 28 x 28 grey pixels,
  the item bright on black. Photographs have to be brought into that form (`fmnist predict` and
  `fmnist serve` do so), and it is right less often on them.
- Its probabilities are meant for images like those it was trained on.
- It is a benchmark's model. Nothing about persons should be decided by it."""


def _what(description: Mapping[str, Any], contender: Contender | None) -> str:
    architecture = as_mapping(description.get("architecture"))
    members = as_mapping(architecture.get("ensemble"))
    what = contender.what if contender is not None else str(architecture.get("model", "model"))
    text = f"An image classifier for Fashion-MNIST ({what})"
    parameters = description.get("parameters")
    if isinstance(parameters, int):
        text += f" of {parameters:,} parameters"
    text += f", the mean of {len(members)} members' probabilities." if members else "."
    if members or "backbone" in architecture:
        return text
    settings = ", ".join(
        f"{key} {value}" for key, value in architecture.items() if value is not None
    )
    return f"{text} Architecture: {settings}."


def _files(formats: Mapping[str, str]) -> list[str]:
    parts = ["## How to use it"]
    for form, file in formats.items():
        parts += [f"`{file}`:", _USE[form]]
    return parts


def _data(
    contender: Contender | None, description: Mapping[str, Any], run: Mapping[str, Any]
) -> str:
    text = (
        "Fashion-MNIST by Zalando SE (MIT licence, Xiao, Rasul and Vollgraf 2017, "
        "arXiv:1708.07747): 60,000 training and 10,000 test images in ten even classes."
    )
    if contender is None:
        return f"{text} {description.get('provenance', '')}".strip()
    if contender.trained_on:
        text += f" Learned from: {contender.trained_on}."
    data = as_mapping(run.get("data"))
    if data.get("source"):
        text += f" Source: {data['source']}."
    lines = [f"- {key.replace('_', ' ')}: `{value}`" for key, value in contender.sha256.items()]
    return text + ("\n\nSHA-256 of the arrays:\n\n" + "\n".join(lines) if lines else "")


def _figures(
    description: Mapping[str, Any], contender: Contender | None, metrics: Mapping[str, Any]
) -> list[str]:
    accuracy = number(metrics.get("test_accuracy")) or number(description.get("test_accuracy"))
    if accuracy is None:
        return ["It was not scored on test images. `fmnist evaluate` does so."]
    low, high = (number(metrics.get(f"test_accuracy_{end}")) for end in ("low", "high"))
    interval = "" if low is None or high is None else f" (95 % interval {low:.2%} to {high:.2%})"
    images = metrics.get("test_images")
    of = f"{images:,} test images" if isinstance(images, int) else "test images"
    lines = [f"- right on {accuracy:.2%} of the {of}{interval}"]
    if (loss := number(metrics.get("test_loss"))) is not None:
        lines.append(f"- negative log-likelihood {loss:.4f} nats")
    if (ece := number(metrics.get("test_ece"))) is not None:
        lines.append(f"- its probabilities are off by {100 * ece:.2f} points on average (ECE)")
    parts = ["\n".join(lines)]
    if contender is not None:
        parts.append(_by_class(contender.folder / _REPORT))
    return parts


def _by_class(path: Path) -> str:
    if not path.is_file():
        return ""
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    found = [
        (row["class"], *(float(row[key]) for key in ("precision", "recall", "f1")))
        for row in rows
        if all(number(row.get(key)) is not None for key in ("precision", "recall", "f1"))
    ]
    table = ["| class | precision | recall | F1 |", "|---|---|---|---|"]
    table += [f"| {name} | {p:.3f} | {r:.3f} | {f:.3f} |" for name, p, r, f in found]
    return "\n".join(table) if found else ""


def _provenance(
    contender: Contender | None, description: Mapping[str, Any], run: Mapping[str, Any]
) -> str:
    if contender is None:
        return "It comes with the package fmnist_ray."
    command = run.get("command")
    lines = [f"- record: {contender.name}, status {contender.status}"]
    if isinstance(command, list):
        lines.append(f"- command: `{' '.join(map(str, command))}`")
    if run.get("started"):
        lines.append(f"- begun: {run['started']}, seed {run.get('seed')}")
    versions = as_mapping(run.get("versions"))
    if versions:
        lines.append(
            "- versions: " + ", ".join(f"{key} {value}" for key, value in versions.items())
        )
    return "\n".join(lines)
