"""What the model's process says of images."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[np.float32]


class Classified(NamedTuple):
    """Answers to images, and who gave them: a new model may be rolled out at any time.

    Attributes:
        model: Name of the model's record.
        members: Of an ensemble: the names of its members; empty for a single model.
        probability: Of each member, or of the model alone: float32 (members, n, 10).
    """

    model: str
    members: tuple[str, ...]
    probability: Probabilities
