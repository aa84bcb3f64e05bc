"""Learning-rate schedules as functions of progress, so that they have no state to save."""

import math

from fmnist_ray.training.config import ScheduleName

_WARM_UP_SHARE = 0.3
_INITIAL_FACTOR = 1 / 25
_FINAL_FACTOR = 1 / 250_000


def learning_rate_factor(schedule: ScheduleName, step: int, steps: int) -> float:
    """What the configured learning rate is multiplied by.

    Args:
        schedule: `constant`, `cosine` or `one_cycle` (defaults of Smith & Topin as in torch's
            `OneCycleLR`: from 1/25 to 1 in 30 % of the steps, then to 1/250,000).
        step: Steps taken so far, 0 to `steps` - 1.
        steps: Steps in all.

    Returns:
        A factor in (0, 1].
    """
    if schedule == "constant":
        return 1.0
    progress = step / max(steps, 1)
    if schedule == "cosine":
        return _between(1.0, 0.0, progress)
    if progress < _WARM_UP_SHARE:
        return _between(_INITIAL_FACTOR, 1.0, progress / _WARM_UP_SHARE)
    return _between(1.0, _FINAL_FACTOR, (progress - _WARM_UP_SHARE) / (1 - _WARM_UP_SHARE))


def _between(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
