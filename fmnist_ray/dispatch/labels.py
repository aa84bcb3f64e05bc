"""What is common to labelling files here and on a cluster: chunks of files, and their labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import CLASS_NAMES, IMAGE_SIZE, Bytes
from fmnist_ray.dataset.image_files import PhotographError
from fmnist_ray.dataset.photographs import read_photograph
from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.errors import WorkError

if TYPE_CHECKING:
    from torch import nn

# A chunk is as much as a process does in about a second: enough that handing it out costs little,
# and little enough that all processes end together.
_CHUNK_FILES = 500
_CHUNK_BYTES = 8 * 2**20

Batch = dict[str, Any]
"""A chunk on its way: columns by name, each with an entry for every file."""


@dataclass(frozen=True)
class Labels:
    """What a model says of files, in their order.

    Attributes:
        probability: float32, (n, 10); not a number where a file was skipped.
        reasons: Why files were skipped, by their index.
    """

    probability: npt.NDArray[np.float32]
    reasons: Mapping[int, str]


def chunks(files: Sequence[Path]) -> list[range]:
    """Cuts the files into chunks of 500 files or 8 MiB, whichever is less."""
    cut, start, size = [], 0, 0
    for index, path in enumerate(files):
        try:
            size += path.stat().st_size
        except OSError:  # its reading will say what is wrong
            size += 0
        if size >= _CHUNK_BYTES or index + 1 - start == _CHUNK_FILES:
            cut.append(range(start, index + 1))
            start, size = index + 1, 0
    if start < len(files):
        cut.append(range(start, len(files)))
    return cut


class Collected:
    """Puts batches, which come in any order, in that of the files."""

    def __init__(self, count: int, progress: Progress) -> None:
        self._probability = np.full((count, len(CLASS_NAMES)), np.nan, np.float32)
        self._reasons: dict[int, str] = {}
        self._done, self._progress = 0, progress

    def add(self, batch: Batch) -> None:
        self._probability[batch["index"]] = batch["probability"]
        for index, reason in zip(batch["index"], batch["reason"], strict=True):
            if reason:
                self._reasons[int(index)] = str(reason)
        self._done += len(batch["index"])
        self._progress(self._done, len(self._probability))

    def complete(self) -> Labels:
        broken = int(np.isnan(self._probability).any(axis=1).sum()) - len(self._reasons)
        if broken:
            raise WorkError(
                f"The model gives no numbers (NaN) for {broken} of {len(self._probability)} "
                "files: its training diverged. Name another with --record."
            )
        return Labels(self._probability, dict(sorted(self._reasons.items())))


def read_chunk(batch: Batch) -> Batch:
    """A chunk's pictures: adds `image`, uint8 (n, 28, 28), and `reason`, empty where there is one."""
    images = np.zeros((len(batch["path"]), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    reasons = []
    for place, path in enumerate(batch["path"]):
        try:
            images[place] = read_photograph(Path(path))
            reasons.append("")
        except PhotographError as error:
            reasons.append(str(error))
    return {"index": batch["index"], "image": images, "reason": np.array(reasons, str)}


def predict_chunk(module: "nn.Module", batch: Batch, device: str = "cpu") -> Batch:
    """A chunk's probabilities in the place of its pictures."""
    from fmnist_ray.training.predict import predict

    images: Bytes = np.asarray(batch["image"], np.uint8)
    probability = predict(module, images, device=device)
    probability[np.asarray(batch["reason"]) != ""] = np.nan
    return {"index": batch["index"], "probability": probability, "reason": batch["reason"]}


def label_chunks(
    files: Sequence[Path], cut: Sequence[range], module: "nn.Module"
) -> Iterator[Batch]:
    import torch

    threads = torch.get_num_threads()
    for chunk in cut:
        paths = [str(files[index]) for index in chunk]
        batch = read_chunk({"index": np.array(chunk), "path": paths})
        torch.set_num_threads(1)
        try:
            labelled = predict_chunk(module, batch)
        finally:
            torch.set_num_threads(threads)
        yield labelled


def label_here(files: Sequence[Path], folder: Path, progress: Progress = no_progress) -> Labels:
    """Labels files in this process, one after the other.

    Raises:
        RequestError: The model is missing or damaged.
        WorkError: The model gives no numbers.
    """
    from fmnist_ray.models.storage import load_model

    module, _ = load_model(folder)
    labels = Collected(len(files), progress)
    for batch in label_chunks(files, chunks(files), module):
        labels.add(batch)
    return labels.complete()
