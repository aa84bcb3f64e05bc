"""Generators of batches over a split, from whichever source it came: for torch and TensorFlow."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from fmnist_ray.dataset.arrays import Bytes, Split
from fmnist_ray.dataset.augmentation import Augmentation, augment_array
from fmnist_ray.dataset.preparation import normalise, to_nchw, to_nhwc
from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    import tensorflow as tf
    import torch
    from torch.utils.data import DataLoader, Dataset

    Batch = tuple[torch.Tensor, torch.Tensor]


def data_loader(
    split: Split,
    indices: npt.NDArray[np.integer] | None = None,
    *,
    batch_size: int = 128,
    shuffle: bool = False,
    seed: int = 0,
    augmentation: Augmentation | None = None,
) -> "DataLoader[Batch]":
    """A loader that gives whole batches, prepared for a model; the last may be smaller.

    Two loaders made alike give the same batches; each further pass over one of them shuffles and
    augments anew.

    Args:
        split: The images.
        indices: Which of them, shape (n,); None for all.
        batch_size: Images in a batch.
        shuffle: Whether every pass has an order of its own; without it, that of `indices`.
        seed: Of the order and of the augmentation.
        augmentation: Changes to make at random; None for none, as validation and test want it.

    Returns:
        A loader of pairs: images, float32, (batch, 1, 28, 28), normalised as
        `preparation.normalise` does; labels, int64, (batch,).

    Raises:
        RequestError: `batch_size` is below 1, or an index is outside the split.
    """
    import torch
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

    batches = _Batches(split, _chosen(split, indices, batch_size), augmentation, seed)
    order = (
        RandomSampler(batches, generator=torch.Generator().manual_seed(seed))
        if shuffle
        else SequentialSampler(batches)
    )
    # The sampler gives whole batches of indices and `batch_size=None` passes them on, so that a
    # batch is sliced, normalised and augmented at once and not image by image.
    return DataLoader(
        cast("Dataset[Batch]", batches),
        sampler=BatchSampler(order, batch_size, drop_last=False),
        batch_size=None,
    )


def tensorflow_dataset(
    split: Split,
    indices: npt.NDArray[np.integer] | None = None,
    *,
    batch_size: int = 128,
    shuffle: bool = False,
    seed: int = 0,
    augmentation: Augmentation | None = None,
) -> "tf.data.Dataset":
    """As `data_loader`, for TensorFlow.

    Returns:
        A `tf.data.Dataset` of pairs: images, float32, (batch, 28, 28, 1), normalised; labels,
        int64, (batch,).

    Raises:
        RequestError: As `data_loader`.
    """
    from fmnist_ray.tensorflow_setup import tf

    batches = _Batches(split, _chosen(split, indices, batch_size), augmentation, seed)
    orders = np.random.default_rng(seed)

    def generate() -> Iterator[tuple[npt.NDArray[np.generic], npt.NDArray[np.int64]]]:
        order = orders.permutation(len(batches)) if shuffle else np.arange(len(batches))
        for start in range(0, len(order), batch_size):
            pixels, labels = batches.arrays(order[start : start + batch_size])
            yield to_nhwc(normalise(pixels)), labels

    height, width = split.images.shape[1:]
    images = tf.TensorSpec((None, height, width, 1), tf.float32)
    return tf.data.Dataset.from_generator(
        generate, output_signature=(images, tf.TensorSpec((None,), tf.int64))
    )


def _chosen(
    split: Split, indices: npt.NDArray[np.integer] | None, batch_size: int
) -> npt.NDArray[np.integer]:
    if batch_size < 1:
        raise RequestError(f"batch size {batch_size} is impossible: choose 1 or more.")
    chosen = np.arange(len(split)) if indices is None else np.asarray(indices)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(split):
        raise RequestError(
            f"indices from {chosen.min()} to {chosen.max()} were given for {len(split)} images. "
            "Use the indices of this split."
        )
    return chosen


class _Batches:
    """What `DataLoader` asks for batches: a data set indexed by several positions at once."""

    def __init__(
        self,
        split: Split,
        indices: npt.NDArray[np.integer],
        augmentation: Augmentation | None,
        seed: int,
    ) -> None:
        self._split = split
        self._indices = indices
        self._augmentation = augmentation
        # Not the seed itself: the order is drawn from that, and the two must not go together.
        self._generator = np.random.default_rng([seed, 1])

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, positions: Sequence[int]) -> "Batch":
        import torch

        pixels, labels = self.arrays(positions)
        return torch.from_numpy(to_nchw(normalise(pixels))), torch.from_numpy(labels)

    def arrays(
        self, positions: Sequence[int] | npt.NDArray[np.integer]
    ) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """Pixels, changed if so asked, and labels."""
        chosen = self._indices[np.asarray(positions)]
        pixels = self._split.images[chosen]
        if self._augmentation is not None and self._augmentation.any:
            pixels = augment_array(pixels, self._augmentation, self._generator)
        return pixels, self._split.labels[chosen].astype(np.int64)
