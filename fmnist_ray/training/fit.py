"""One fit, pure: a configuration, arrays, a callback per epoch. It knows nothing of Ray.

Of the two frameworks only the one that a configuration names is imported.
"""

from collections.abc import Callable

import numpy as np

from fmnist_ray.machine import keep_freed_memory
from fmnist_ray.models.config import Weights
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.contract import Device, EpochEnd, FitData, FitResult
from fmnist_ray.training.loop import Engine, run_fit


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
    keep_freed_memory()
    engine = _engine(config, data, seed, device or Device())
    return run_fit(engine, config, data, seed, on_epoch, checkpoint)


def predict_with(config: FitConfig, weights: Weights, images: np.ndarray) -> np.ndarray:
    """Class probabilities of a trained model in the framework that trained it, in fp32 on the CPU.

    Args:
        config: The model and its training.
        weights: By their names in torch's state dict.
        images: uint8, (n, 28, 28).

    Returns:
        float32, (n, 10).
    """
    if config.framework == "tensorflow":
        from fmnist_ray.models.keras_models import build_keras_model, load_torch_weights
        from fmnist_ray.training.keras_predict import keras_predict

        model = build_keras_model(config.architecture, seed=0)
        load_torch_weights(config.architecture, model, weights)
        return keras_predict(model, images)
    from fmnist_ray.models.storage import build_with
    from fmnist_ray.training.predict import predict

    return predict(build_with(config.architecture, weights), images)


def _engine(config: FitConfig, data: FitData, seed: int, device: Device) -> Engine:
    if config.framework == "tensorflow":
        from fmnist_ray.training.keras_engine import KerasEngine

        return KerasEngine(config, data, seed, device)
    from fmnist_ray.training.torch_engine import TorchEngine

    return TorchEngine(config, data, seed, device)
