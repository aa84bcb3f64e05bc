"""Makes the features of images under a frozen backbone, in blocks, as Ray tasks.

The driver writes each block as it ends, wherever it was computed, so that memory stays flat and
nothing that is done is lost.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.dispatch.feature_store import FeatureSet
from fmnist_ray.dispatch.plan import GIB
from fmnist_ray.dispatch.room import Room
from fmnist_ray.dispatch.run_name import RunName
from fmnist_ray.dispatch.tasks import Task, Tell, run_tasks
from fmnist_ray.errors import WorkError
from fmnist_ray.machine import keep_freed_memory
from fmnist_ray.models.config import Weights

# Measured with torch 2.15 on Linux: a process that computes features, shared memory apart.
PROCESS_MEMORY = 1.2 * GIB
_BATCH_PIXELS = 125 * 32 * 32  # more at a time is not quicker, and takes more memory


def make_features(
    wanted: Sequence[tuple[FeatureSet, Bytes]],
    convolutions: Weights,
    slots: int | Room,
    *,
    run: RunName | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    retries: int = 2,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_retry: Callable[[str, str], None] | None = None,
) -> None:
    """Makes the features that are not on disk, a Ray task for each block.

    Args:
        wanted: Sets, their splits named differently, and their images, uint8 (n, 28, 28).
        convolutions: The backbone's.
        slots: How many blocks run at once, see `run_tasks`.
        run: That they belong to, as for `run_tasks`.
        cpus: Of each; it runs as many threads.
        gpus: Of each.
        retries: Times a block that fails is tried again.
        on_progress: Called with the number of images done and of those to do.
        on_retry: Called with the name of a block that is tried again, and why.

    Raises:
        WorkError: A block failed for good, or the disk is full. What is done is kept.
    """
    import ray

    todo: dict[str, tuple[FeatureSet, int]] = {}
    tasks = []
    weights = ray.put(convolutions)
    for features, images in wanted:
        missing = features.missing()
        shared = ray.put(images) if missing else None
        for number in missing:
            name = f"features-{features.split}-{number + 1:02}"
            todo[name] = features, number
            tasks.append(
                Task(name, (features, features.blocks[number], [weights, shared], int(cpus), gpus))
            )
    sizes = {name: _length(features.blocks[number]) for name, (features, number) in todo.items()}
    done, failures, noted = 0, [], time.monotonic()
    for outcome in run_tasks(
        _compute,
        tasks,
        slots,
        run=run,
        cpus=cpus,
        gpus=gpus,
        retries=retries,
        hopeless=(WorkError,),
        on_retry=on_retry,
    ):
        features, number = todo[outcome.name]
        if outcome.failed:
            failures.append(f"{outcome.name}: {outcome.failures[-1]}")
            continue
        features.keep(number, outcome.value)
        # Blocks of several sets run at once; the time goes to the one whose block has ended.
        features.add_seconds(time.monotonic() - noted)
        noted = time.monotonic()
        done += sizes[outcome.name]
        on_progress(done, sum(sizes.values()))
    if failures:
        raise WorkError(
            f"{len(failures)} of {len(tasks)} blocks of features failed, the others are kept. "
            f"{'; '.join(failures[:3])}."
        )
    for features, _ in wanted:
        features.join()


def block_count(wanted: Sequence[FeatureSet]) -> int:
    """How many blocks are to be made."""
    return sum(len(features.missing()) for features in wanted)


def _length(block: tuple[int, int]) -> int:
    return block[1] - block[0]


def _compute(
    features: FeatureSet,
    block: tuple[int, int],
    shared: list[Any],
    threads: int,
    gpus: float,
    tell: Tell,
) -> np.ndarray:
    """What runs in the task: one block's features."""
    import ray
    import torch

    from fmnist_ray.models.vgg_torch import build_features, to_backbone_input

    del tell
    keep_freed_memory()
    torch.set_num_threads(max(1, threads))
    device = "cuda" if gpus else "cpu"
    dtype = torch.bfloat16 if features.precision == "bf16" else torch.float32
    config = features.config
    module = build_features(config.backbone, ray.get(shared[0])).to(device, dtype)
    images = ray.get(shared[1])[block[0] : block[1]]
    batch = max(1, _BATCH_PIXELS // config.input_size**2)
    result = np.empty((len(images), config.features), features.dtype)
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            pixels = torch.from_numpy(images[start : start + batch].copy()).to(device)
            inputs = to_backbone_input(pixels.unsqueeze(1).float() / 255, config.input_size)
            values = module(inputs.to(dtype)).flatten(1).float().cpu().numpy()
            with np.errstate(over="ignore"):
                result[start : start + batch] = values
    if not np.isfinite(result).all():
        raise WorkError(
            f"the weights give features that {features.dtype} cannot hold; try --precision fp32"
        )
    return result
