"""Seeds of units: each its own, and none changed by how many there are."""

import numpy as np

# One use, one stream of a run's seed.
RETRAIN, FOLDS, FOLD_FITS, MEMBER_FITS, BOOTSTRAP, CLASSICAL_FITS = 1, 2, 3, 4, 5, 6
HEAD_SEARCH, HEAD_FITS, FINETUNE_FIT = 7, 8, 9


def unit_seed(seed: int, use: int, *numbers: int) -> int:
    """The seed of one unit, derived from the run's.

    Args:
        seed: The run's.
        use: What it is for, one of this module's constants.
        numbers: Which unit it is.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(use, *numbers))
    return int(sequence.generate_state(1)[0])
