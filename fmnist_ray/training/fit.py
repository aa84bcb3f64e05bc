"""One fit, pure: a configuration, arrays, a callback per epoch. It knows nothing of Ray."""

from collections.abc import Callable

from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import Device, EpochEnd, FitData, FitResult
from fmnist_ray.training.loop import run_fit
from fmnist_ray.training.torch_engine import TorchEngine


def fit(
    config: FitConfig,
    data: FitData,
    seed: int,
    device: Device | None = None,
    on_epoch: Callable[[EpochEnd], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Trains a model.

    The same seed, threads, precision and build give the same weights bit for bit, also when
    training goes on from a checkpoint: what is random in an epoch depends on (seed, epoch) only.

    Args:
        config: The model and its training.
        data: Images and indices.
        seed: Of initial weights, shuffles, dropout and augmentation.
        device: Where to compute; the CPU with one thread by default.
        on_epoch: Called after each epoch in every worker.
        checkpoint: State to go on from; its configuration should be this one.

    Raises:
        DivergedError: The training loss became infinite or no number.
    """
    engine = TorchEngine(config, data, seed, device or Device())
    return run_fit(engine, config, data, seed, on_epoch, checkpoint)
