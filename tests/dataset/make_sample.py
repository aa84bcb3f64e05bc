"""Makes the sample that comes with the package, from the whole release.

    python tests/dataset/make_sample.py

Prints the digest that belongs in `fmnist_ray/dataset/sample.py`.
"""

from fmnist_ray.dataset.arrays import Dataset, Split
from fmnist_ray.dataset.idx import write_idx_folder
from fmnist_ray.dataset.sample import (
    SAMPLE_FOLDER,
    SAMPLE_SEED,
    SAMPLE_TEST_SIZE,
    SAMPLE_TRAIN_SIZE,
    sample_digest,
)
from fmnist_ray.dataset.sources import fetch_release
from fmnist_ray.dataset.splits import stratified_subset


def make_sample(release: Dataset) -> Dataset:
    """Draws the sample: the classes as even as in the release, in the release's order."""

    def drawn(split: Split, size: int) -> Split:
        chosen = stratified_subset(split.labels, size, SAMPLE_SEED)
        return Split(split.images[chosen], split.labels[chosen])

    return Dataset(
        drawn(release.train, SAMPLE_TRAIN_SIZE), drawn(release.test, SAMPLE_TEST_SIZE), "sample"
    )


if __name__ == "__main__":
    sample = make_sample(fetch_release())
    write_idx_folder(sample, SAMPLE_FOLDER, compress=True)
    print(sample_digest(sample))
