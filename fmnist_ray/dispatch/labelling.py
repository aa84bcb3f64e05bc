"""Labels image files: a few in this process, many with Ray Data on all CPUs or GPUs.

Files are labelled in chunks that depend on the files alone, and each chunk in one thread, so that
both ways give the same bits on the same kind of processor.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.dispatch.labels import (
    Batch,
    Collected,
    Labels,
    chunks,
    label_chunks,
    predict_chunk,
    read_chunk,
)
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.errors import WorkError
from fmnist_ray.machine import usable_cpus

# Measured on two cores: what Ray, Ray Data and processes with torch take to start and to stop.
_START_SECONDS = 15.0
_LOOK_SECONDS = 0.5


def worth_ray(seconds_left: float, cpus: float) -> bool:
    """Whether Ray saves more time than it takes to start.

    Args:
        seconds_left: That this process alone would still take.
        cpus: Of this machine.
    """
    return seconds_left * (1 - 1 / max(1.0, cpus)) > _START_SECONDS


def label_files(
    files: Sequence[Path],
    folder: Path,
    address: str | None = None,
    progress: Progress = no_progress,
    run: RunName | None = None,
    console: Console | None = None,
) -> tuple[Labels, str]:
    """Labels files the quicker way, which the first of them tell.

    Args:
        files: At least one.
        folder: Holds the model, `model.json` and `model.safetensors`.
        address: A cluster that is to be used in any case; None to decide by the time it takes.
        progress: Told the files done and all.
        run: Names the work in Ray's tables.
        console: Told where to watch it, if Ray is used.

    Returns:
        The labels, and where they were made: `this process`, `Ray Data` or both.

    Raises:
        RequestError: There is no cluster at the address, or a node of it cannot read the files.
        WorkError: A process of the cluster failed for good, or the model gives no numbers.
    """
    from fmnist_ray.dispatch.session import ray_session, say_where
    from fmnist_ray.models.storage import load_model

    module, _ = load_model(folder)  # first of all, since it may be damaged
    cut, begun = chunks(files), time.monotonic()
    labels = Collected(len(files), progress)
    rest = 0
    if address is None:
        for batch in label_chunks(files, cut, module):
            labels.add(batch)
            rest += 1
            spent = time.monotonic() - begun
            if spent > _LOOK_SECONDS and worth_ray(spent / rest * (len(cut) - rest), usable_cpus()):
                break
    if rest == len(cut):
        return labels.complete(), "this process"
    with ExitStack() as session:
        with _quiet_backend():
            session.enter_context(ray_session(address, run))
        _check_cluster(files, folder)
        say_where(run, console)
        for batch in _label_with_ray(files, cut[rest:], folder, run=run):
            labels.add(batch)
    return labels.complete(), "this process, then Ray Data" if rest else "Ray Data"


def _check_cluster(files: Sequence[Path], folder: Path) -> None:
    """Refuses a cluster of which a node cannot read the files or the model."""
    from fmnist_ray.dispatch.node_checks import check_nodes
    from fmnist_ray.dispatch.session import cluster_nodes
    from fmnist_ray.dispatch.shared_files import check_readable
    from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE

    nodes = cluster_nodes()
    check_nodes(nodes)
    check_readable(nodes, [*files, folder / DESCRIPTION_FILE, folder / WEIGHTS_FILE])


def label_with_ray(
    files: Sequence[Path],
    folder: Path,
    progress: Progress = no_progress,
    apart: bool | None = None,
) -> Labels:
    """Labels files on the connected cluster, by Ray Data.

    Args:
        files: Readable under these paths on every node.
        folder: Holds the model; readable on every node likewise.
        progress: Told the files done and all.
        apart: Whether reading and predicting are stages of their own; None for where there are
            GPUs: the CPUs read then, and each GPU predicts.

    Raises:
        WorkError: A process failed for good, or the model gives no numbers.
    """
    labels = Collected(len(files), progress)
    for batch in _label_with_ray(files, chunks(files), folder, apart):
        labels.add(batch)
    return labels.complete()


def _label_with_ray(
    files: Sequence[Path],
    cut: Sequence[range],
    folder: Path,
    apart: bool | None = None,
    run: RunName | None = None,
) -> Iterator[Batch]:
    import pyarrow as pa
    import ray.data
    from ray.exceptions import RayError

    from fmnist_ray.dispatch.session import cluster_nodes

    _silence_ray_data()
    nodes = cluster_nodes()
    cpus, gpus = (int(sum(getattr(n, what) for n in nodes)) for what in ("cpus", "gpus"))
    # One block for each chunk, which Ray Data hands out whole (batch_size=None). The paths travel
    # and not the files' content: to read a file where it is decoded saves copying it twice.
    tables = [
        pa.table(
            {
                "index": pa.array(list(chunk), pa.int64()),
                "path": [str(files[index].absolute()) for index in chunk],
            }
        )
        for chunk in cut
    ]
    pipeline = ray.data.from_arrow(tables)
    if apart if apart is not None else gpus > 0:
        pipeline = pipeline.map_batches(read_chunk, batch_size=None, num_cpus=1)
        stage: dict[str, Any] = {
            "fn": _named(_Predictor, run),
            "num_cpus": 0.01,
            "num_gpus": min(gpus, 1),
        }
        size, device = max(1, gpus), "cuda" if gpus else "cpu"
    else:
        # In one stage the pictures need not leave the process.
        stage = {"fn": _named(_Labeller, run), "num_cpus": 1}
        size, device = max(1, cpus), "cpu"
    pipeline = pipeline.map_batches(
        **stage,
        fn_constructor_args=[str(folder.absolute()), device],
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=min(size, len(cut))),
    )
    try:
        yield from pipeline.iter_batches(batch_size=None, batch_format="numpy")
    except RayError as error:
        first = str(error).strip().splitlines()[-1]
        raise WorkError(
            f"Ray Data could not label the files: {first}. Look at the memory and disk of the "
            "nodes, and that the files can be read on all of them."
        ) from error


def _named(kind: type, run: RunName | None) -> type:
    """The class under the run's name, by which Ray Data calls its actors."""
    return kind if run is None else type(str(run), (kind,), {})


@contextmanager
def _quiet_backend() -> Iterator[None]:
    """Has Ray, which starts within, keep from printing an error of its core that is none.

    Ray 2.60 says of each pool of Ray Data that its processes cannot be restarted if their arguments
    are lost, which Ray Data itself keeps (https://github.com/ray-project/ray/issues/53727). Only
    the core's log level silences that, and then the core prints the level when it starts: so what
    it writes past Python is held back meanwhile. Errors come as exceptions all the same.
    """
    name = "RAY_BACKEND_LOG_LEVEL"
    before = os.environ.get(name)
    os.environ.setdefault(name, "fatal")
    sys.stderr.flush()
    printed, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(printed, 2)
        os.close(printed)
        os.close(nowhere)
        if before is None:
            del os.environ[name]


def _silence_ray_data() -> None:
    """The verbs have a bar and a summary of their own."""
    from ray.data import DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


class _Predictor:
    """Loads the model into a process of its own, and says what it thinks of pictures.

    Args:
        folder: Holds the model.
        device: Where it is to run.
    """

    def __init__(self, folder: str, device: str) -> None:
        import torch

        from fmnist_ray.models.storage import load_model

        torch.set_num_threads(1)
        self._module = load_model(Path(folder))[0].to(device)
        self._device = device

    def __call__(self, batch: Batch) -> Batch:
        return predict_chunk(self._module, batch, self._device)


class _Labeller(_Predictor):
    """Reads the pictures as well."""

    def __call__(self, batch: Batch) -> Batch:
        return super().__call__(read_chunk(batch))
