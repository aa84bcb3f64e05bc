"""The small sample of real images that comes with the package.

2,000 training and 500 test images, drawn with the classes even from Fashion-MNIST (MIT licence,
https://github.com/zalandoresearch/fashion-mnist). `tests/dataset/make_sample.py` made it.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from fmnist_ray.dataset.arrays import Dataset, fingerprint
from fmnist_ray.dataset.idx import ReleaseCheck, read_idx_folder
from fmnist_ray.errors import RequestError

SAMPLE_FOLDER = Path(__file__).parent / "sample"
SAMPLE_TRAIN_SIZE = 2_000
SAMPLE_TEST_SIZE = 500
SAMPLE_SEED = 2017
SAMPLE_SHA256 = "4857824cbccc04201b8ae70bb5ffaa67b4176d1ae99856b38e75a39dc9790185"
"""Of the four arrays' own SHA-256, one after the other in hexadecimal."""


def load_sample() -> Dataset:
    """Reads the shipped sample.

    Raises:
        RequestError: The files of the installed package are missing or were altered.
    """
    dataset = read_idx_folder(SAMPLE_FOLDER, ReleaseCheck.SAME_SHAPE)
    found = sample_digest(dataset)
    if found != SAMPLE_SHA256:
        raise RequestError(
            f"the sample in {SAMPLE_FOLDER} was altered: the SHA-256 of its arrays is {found}, "
            f"expected {SAMPLE_SHA256}. Install the package again."
        )
    return replace(dataset, source="sample")


def sample_digest(dataset: Dataset) -> str:
    """One digest over the arrays of a data set, as `SAMPLE_SHA256` is made."""
    return hashlib.sha256("".join(fingerprint(dataset).values()).encode()).hexdigest()
