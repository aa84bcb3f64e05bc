"""Run records: one folder per run under `results/`, in one layout for every verb.

| file | holds |
|---|---|
| `run.json` | verb, configuration, seed, data fingerprint, versions, hardware, times, status |
| `metrics.json` | final figures under flat names such as `test_accuracy` |
| `history.csv` | one row per unit and epoch, columns `HISTORY_COLUMNS` |
| `units/<id>/` | per trial, fold or member: `config.json`, `metrics.json`, `log.txt`, `model.safetensors`, `predictions.npz` |
| `predictions.npz` | `index`, `label`, `probability` of the final model |
| `model.safetensors`, `model.json` | the final model |

Every file is written aside and renamed, so that a reader never sees half of one.
"""

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import numpy.typing as npt

from fmnist_ray.errors import DiskError, RequestError
from fmnist_ray.machine import processor_name, usable_cpus, usable_memory

HISTORY_COLUMNS = (
    "unit",
    "epoch",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "seconds",
    "images_per_second",
)
PREDICTIONS_FILE = "predictions.npz"
TEST_PREDICTIONS_FILE = "test_predictions.npz"
OUT_OF_FOLD_FILE = "out_of_fold.npz"
OUT_OF_BAG_FILE = "out_of_bag.npz"
_SECRET = re.compile(r"secret|password|token|access_?key|signature", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RECORDED_PACKAGES = ("ray", "torch", "torchvision", "numpy", "optuna", "scikit-learn")


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that it appears whole or not at all (written aside, then renamed).

    Raises:
        DiskError: The disk is full, or the folder cannot be written.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise DiskError.about(path, error) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as indented JSON, its values made `plain`."""
    write_whole(path, (json.dumps(plain(content), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        RequestError: The file is missing, damaged or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RequestError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise RequestError(f"{path} must hold a JSON object, not a {type(content).__name__}.")
    return content


def write_predictions(
    path: Path, index: np.ndarray, label: np.ndarray, probability: np.ndarray
) -> None:
    """Writes predictions: `index` and `label` of shape (n,), `probability` of shape (n, 10)."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        index=np.asarray(index, np.int64),
        label=np.asarray(label, np.uint8),
        probability=np.asarray(probability, np.float32),
    )
    write_whole(path, buffer.getvalue())


@dataclass(frozen=True)
class Predictions:
    """What a model says of images.

    Attributes:
        index: Of the images in their split, int64 (n,).
        label: True classes, uint8 (n,).
        probability: float32 (n, 10), rows sum to 1.
    """

    index: npt.NDArray[np.int64]
    label: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32]

    def are_of(self, labels_sha256: str | None) -> bool:
        """Whether they are of a split, all of it, whose labels have this fingerprint."""
        return hashlib.sha256(self.label.tobytes()).hexdigest() == labels_sha256


def read_predictions(path: Path) -> Predictions:
    """Reads what `write_predictions` wrote.

    Raises:
        RequestError: The file is missing, damaged or of another layout.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Predictions(stored["index"], stored["label"], stored["probability"])
    except FileNotFoundError:
        raise RequestError(f"{path} does not exist.") from None
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        NotImplementedError,  # a damaged entry may name another compression
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        # NumPy's own words would send a person to unpickle the file.
        raise RequestError(f"{path} is damaged or holds no predictions.") from error
    count = found.label.size
    if (
        found.label.shape != (count,)
        or found.index.shape != (count,)
        or found.probability.shape[:1] != (count,)
    ):
        raise RequestError(f"{path} is damaged: its arrays differ in length.")
    return found


class Record:
    """One run's folder.

    Args:
        path: The folder, `results/<name>`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        return self.path.name

    @classmethod
    def create(cls, results: str | Path, name: str | None, verb: str, label: str) -> "Record":
        """Makes a new, empty record folder.

        Args:
            results: Folder that holds the records; made when missing.
            name: The record's name, or None for `<verb>-<label>-<month><day>-<hour><minute>`.
            verb: The verb that makes the record.
            label: What the made-up name says, such as the model.

        Raises:
            RequestError: The name is not a plain file name or is taken, or the folder cannot
                be written or will be deleted.
        """
        results = Path(results)
        made_up = f"{verb}-{label}-{datetime.now():%m%d-%H%M}"
        check_name(name or made_up)
        _refuse_jobs_copy(results)
        try:
            results.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=results):
                pass
        except OSError as error:
            raise RequestError(
                f"The results folder {results} cannot be written ({error.strerror or error}). "
                "Name another with --results DIR."
            ) from None
        for attempt in range(1, 1000):
            path = results / (name or (made_up if attempt == 1 else f"{made_up}-{attempt}"))
            try:
                path.mkdir()
            except FileExistsError:
                if name is not None:
                    if not any(each.is_file() for each in path.rglob("*")):
                        return cls(path)  # of a run that was killed before it was begun
                    raise RequestError(
                        f"The record {path} exists already. Choose another --name, or go on with "
                        "that run where its verb offers --resume."
                    ) from None
                continue
            return cls(path)
        raise RequestError(f"{results} holds too many records named {made_up}; use --name.")

    @classmethod
    def open(cls, path: str | Path) -> "Record":
        """Opens an existing record.

        Raises:
            RequestError: The folder is missing or holds no `run.json`.
        """
        path = Path(path)
        if not path.is_dir():
            raise RequestError(f"There is no record at {path}: the folder does not exist.")
        if not (path / "run.json").is_file():
            raise RequestError(
                f"{path} is no record: it holds no run.json. Name a folder that a verb of "
                "fmnist_ray wrote, such as results/NAME."
            )
        return cls(path)

    @property
    def begun(self) -> bool:
        """Whether `start` was called, by this process or an earlier one."""
        return (self.path / "run.json").is_file()

    @contextmanager
    def gone_if_refused(self) -> Iterator[None]:
        """Takes a new record's folder away again if the work ends before it is begun.

        Ray is told a record's name as it starts, and only then can tell whether there is room.
        """
        try:
            yield
        except BaseException:
            if not self.begun:
                shutil.rmtree(self.path)
                with suppress(OSError):  # it holds other records
                    self.path.parent.rmdir()
            raise

    def unit(self, unit: str) -> Path:
        """The folder of one trial, fold or member."""
        return self.path / "units" / check_name(unit)

    def run(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return read_json(self.path / "run.json")

    def start(
        self, verb: str, config: Mapping[str, Any], seed: int, data: Mapping[str, Any]
    ) -> None:
        """Writes `run.json` with status `running`."""
        write_json(
            self.path / "run.json",
            {
                "verb": verb,
                "name": self.name,
                "status": "running",
                "config": config,
                "seed": seed,
                "data": data,
                "started": now(),
                "ended": None,
                "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
                "versions": versions(),
                "hardware": hardware(),
            },
        )

    def update(self, **fields: Any) -> None:
        """Changes fields of `run.json`."""
        write_json(self.path / "run.json", {**self.run(), **fields})

    def end(self, status: str) -> None:
        """Marks the run as `complete`, `failed` or `interrupted`, with the time."""
        self.update(status=status, ended=now())

    def test_predictions(self, unit: str | None = None) -> Predictions | None:
        """What the run's model, or a unit's, says of the test images; None if that is not kept.

        A file of predictions is of the test images if its labels are: `predictions.npz` of a
        training holds those of its validation images until it is evaluated.

        Raises:
            RequestError: A file is damaged.
        """
        facts = self.run().get("data")
        known = facts.get("sha256") if isinstance(facts, dict) else None
        sha256 = known.get("test_labels") if isinstance(known, dict) else None
        folder = self.path if unit is None else self.unit(unit)
        for file in (TEST_PREDICTIONS_FILE, PREDICTIONS_FILE):
            if (folder / file).is_file():
                found = read_predictions(folder / file)
                if found.are_of(sha256):
                    return found
        return None

    def write_metrics(self, metrics: Mapping[str, Any], unit: str | None = None) -> None:
        """Writes `metrics.json` of the run, or of one unit."""
        folder = self.path if unit is None else self.unit(unit)
        write_json(folder / "metrics.json", metrics)

    def write_history(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes `history.csv`; a figure that a row lacks stays an empty cell."""
        buffer = io.StringIO()
        writer = csv.DictWriter(
            buffer, HISTORY_COLUMNS, extrasaction="ignore", restval="", lineterminator="\n"
        )
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _rounded(value) for key, value in row.items()})
        write_whole(self.path / "history.csv", buffer.getvalue().encode())


def _refuse_jobs_copy(results: Path) -> None:
    """Refuses the copy of a person's folder in which `ray job submit --working-dir` runs a verb."""
    if "working_dir_files" in results.absolute().parts:
        raise RequestError(
            f"--results {results} lies in the copy of your folder that Ray made for this job and "
            "deletes later. Name a folder that stays, such as --results ~/results, or one that "
            "all nodes share."
        )


def check_name(name: str) -> str:
    """Returns the name, or refuses one that could leave its folder.

    Raises:
        RequestError: The name is not made of letters, digits, `.`, `_` and `-`, or too long.
    """
    if not _NAME.fullmatch(name):
        raise RequestError(
            f"{name!r} cannot be a name. Use letters, digits, '.', '_' and '-', starting with "
            "a letter or digit, at most 100 of them."
        )
    return name


def check_no_secret(uri: str, option: str) -> str:
    """Returns a URI, or refuses one that holds a password or key: it would be in the record.

    Raises:
        RequestError: It has a user's password, or a parameter that is named like a secret.
    """
    parts = urlsplit(uri)
    named = [key for key, _ in parse_qsl(parts.query) if _SECRET.search(key)]
    if parts.password or named:
        raise RequestError(
            f"{option} holds {named[0] if named else 'a password'}, which would be written into "
            "the record. Leave it out and give it by the environment or a file of your account, "
            "such as AWS_SECRET_ACCESS_KEY, ~/.aws/credentials or MLFLOW_TRACKING_PASSWORD."
        )
    return uri


def now() -> str:
    """The present time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those whose change could change a result."""
    found = {"python": platform.python_version()}
    for package in ("fmnist_ray", *_RECORDED_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, usable CPUs and memory of the machine that runs the driver."""
    memory = usable_memory()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "cpus": usable_cpus(),
        "memory_gib": None if memory is None else round(memory / 2**30, 1),
    }


def plain(value: Any) -> Any:
    """The value as JSON knows it: NumPy's values become numbers and lists, paths become text.

    A number that is not finite becomes None, since JSON has no NaN and most readers refuse it.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _rounded(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
