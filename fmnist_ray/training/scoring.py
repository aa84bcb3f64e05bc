"""What a saved model says of images: the same figures on every machine."""

from pathlib import Path

import numpy as np

from fmnist_ray.dataset.progress import Progress, no_progress
from fmnist_ray.errors import WorkError

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
    from fmnist_ray.models.storage import load_model
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
