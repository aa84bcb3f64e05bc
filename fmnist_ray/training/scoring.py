"""What a saved model says of images: the same figures on every machine."""

import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.evaluation.provenance import read_if_there
from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE, load_model
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from fmnist_ray.records import Record

_BATCH = 1000


def score_model(
    folder: Path, images: np.ndarray, progress: Progress = no_progress
) -> tuple[np.ndarray, str]:
    """Probabilities of the model in a folder, in fp32 on the CPU.

    Args:
        folder: Holds `model.json` and `model.safetensors`: a record's or a unit's.
        images: uint8, (n, 28, 28).
        progress: Called with the images done and all.

    Returns:
        float32 (n, 10), and the model's name.

    Raises:
        RequestError: The model is missing or damaged.
        WorkError: Its output is no number.
    """
    from fmnist_ray.training.predict import predict

    module, config = load_model(folder)
    parts = []
    for start in range(0, len(images), _BATCH):
        parts.append(predict(module, images[start : start + _BATCH]))
        progress(start + len(parts[-1]), len(images))
    probabilities = np.concatenate(parts)
    broken = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if broken:
        raise WorkError(
            f"The model gives no numbers (NaN) for {broken} of {len(images)} images: its training "
            "diverged. Train again with a lower learning rate."
        )
    return probabilities, config.model


class KeptAnswers(NamedTuple):
    """What a classical model, which is not kept itself, said of the test images.

    Attributes:
        model: Its name, such as `svm`.
        label: True classes, uint8 (n,).
        probability: float32 (n, 10); of an SVM, scores.
    """

    model: str
    label: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32]


def kept_answers(run: Record, unit: str | None = None) -> KeptAnswers | None:
    """The predictions that a record of `baselines` keeps in place of models; None of others.

    Raises:
        RequestError: A file is damaged.
    """
    if run.run().get("verb") != "baselines":
        return None
    found = run.test_predictions(unit)
    if found is None:
        return None
    if unit is None:
        model = read_if_there(run.path / "metrics.json").get("best_model", "?")
    else:
        model = read_if_there(run.unit(unit) / "config.json").get("model", unit)
    return KeptAnswers(str(model), found.label, found.probability)


def model_folder(record: str | Path | None) -> Path:
    """The folder that holds a model: a record's, a unit's or that of the package's own.

    Args:
        record: `results/NAME` or `results/NAME/units/ID`; None for the model that comes along.

    Raises:
        RequestError: There is none; the message says how to come by one.
    """
    if record is None:
        return PRETRAINED_FOLDER
    folder = Path(record)
    if all((folder / file).is_file() for file in (DESCRIPTION_FILE, WEIGHTS_FILE)):
        return folder
    if (folder / "run.json").is_file():
        require_model(Record(folder))
    elif folder.absolute().parent.name == "units" and folder.is_dir():
        require_model(Record(folder.absolute().parent.parent), folder.name)
    elif not folder.is_dir():
        raise RequestError(
            f"There is no record at {folder}: the folder does not exist. Name results/NAME or "
            "results/NAME/units/ID, or none for the model that comes with the package."
        )
    raise RequestError(
        f"{folder} holds no model ({DESCRIPTION_FILE} and {WEIGHTS_FILE}). Name a record that "
        "does, such as results/NAME or results/NAME/units/ID."
    )


def require_model(run: Record, unit: str | None = None) -> None:
    """Refuses, and says how to come by a model, where there is none.

    Raises:
        RequestError: The record, or the unit, keeps no model.
    """
    folder = run.path if unit is None else run.unit(unit)
    if (folder / DESCRIPTION_FILE).exists() or (folder / WEIGHTS_FILE).exists():
        return
    kept = sorted(path.parent.name for path in (run.path / "units").glob(f"*/{WEIGHTS_FILE}"))
    names = ", ".join(kept[:10]) + (f" and {len(kept) - 10} more" if len(kept) > 10 else "")
    if unit is not None:
        problem = "keeps no model" if folder.is_dir() else "does not exist"
        having = f"Units with a model: {names}." if kept else "None of its units has one."
        raise RequestError(f"Unit {unit} of {run.path} {problem}. {having}")
    content = run.run()
    verb, status = content.get("verb", "?"), content.get("status", "?")
    if verb == "baselines":
        raise RequestError(
            f"{run.path} is a record of `baselines`, which keeps predictions and no models. Its "
            "figures are in metrics.json, its predictions in predictions.npz."
        )
    if verb in ("explore", "compare", "predict"):
        raise RequestError(
            f"{run.path} is a record of `{verb}`, which trains nothing. Name that of a run which "
            "does, such as `tune` or `train`."
        )
    resume = f"`{_go_on_command(verb, run)}`"
    if status == "running":
        remedy = f"Wait for `{verb}` to end; if it was killed, go on with it: {resume}."
    elif status in ("interrupted", "failed"):
        remedy = f"Go on with it: {resume}."
    else:
        remedy = f"Run `{verb}` again under another --name."
    also = (
        f" Its units with a model ({run.path}/units/ID; for evaluate, --unit ID): {names}."
        if kept
        else ""
    )
    raise RequestError(f"{run.path} holds no model yet, its status is `{status}`. {remedy}{also}")


def _go_on_command(verb: str, run: Record) -> str:
    if verb in ("train", "tune"):
        return f"python -m fmnist_ray.{verb} --resume {shlex.quote(str(run.path))}"
    folder, name = shlex.quote(str(run.path.parent)), shlex.quote(run.name)
    return f"python -m fmnist_ray.{verb} --name {name} --results {folder}"
