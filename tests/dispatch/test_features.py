"""Features made as Ray tasks: the right ones, once, and only what is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fmnist_ray.dataset.arrays import Bytes
from fmnist_ray.dispatch.feature_store import FeatureSet, FeatureSource
from fmnist_ray.dispatch.features import block_count, make_features
from fmnist_ray.errors import WorkError
from fmnist_ray.models.config import Weights
from fmnist_ray.models.vgg import TransferConfig, convolution_shapes
from fmnist_ray.models.vgg_torch import build_features, to_backbone_input
from fmnist_ray.training.contract import FitData

pytestmark = pytest.mark.ray
CONFIG = TransferConfig(backbone="vgg16")


@pytest.fixture(scope="module")
def convolutions() -> Weights:
    draw = np.random.default_rng(0)
    return {
        name: draw.standard_normal(shape, np.float32) / np.float32(np.sqrt(4.5 * shape[0]))
        for name, shape in convolution_shapes("vgg16").items()
    }


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_data: FitData) -> Bytes:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fmnist_ray.dispatch.feature_store._BLOCK_IMAGES", 20)
    return small_data.images[:50]


def _set(images: Bytes, precision: Any = "fp32") -> FeatureSet:
    split = "train" if precision == "fp32" else "rough"
    return FeatureSet.of(split, CONFIG, "ab" * 32, images, precision)


def test_they_are_what_the_backbone_gives(
    ray_cluster: None, images: Bytes, convolutions: Weights
) -> None:
    steps: list[tuple[int, int]] = []
    sets = [_set(images), _set(images, "bf16")]
    make_features(
        [(features, images) for features in sets],
        convolutions,
        slots=2,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    pixels = torch.from_numpy(images.copy()).unsqueeze(1).float() / 255
    with torch.inference_mode():
        module = build_features("vgg16", convolutions)
        expected = module(to_backbone_input(pixels, 32)).flatten(1).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(sets[0].open(), expected, rtol=1e-3, atol=1e-4)
    assert sets[1].open().dtype == np.float16
    assert np.abs(sets[1].open() - expected).max() < 0.05 * expected.max()
    assert steps[-1] == (100, 100)
    assert sets[0].seconds() > 0
    np.testing.assert_array_equal(FeatureSource.of(sets[0], here=False).open(), sets[0].open())


def test_what_was_cut_off_goes_on_with_the_blocks_that_are_missing(
    ray_cluster: None, images: Bytes, convolutions: Weights
) -> None:
    features = _set(images)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_features([(features, images)], convolutions, slots=1, on_progress=stop)
    assert block_count([features]) == 2
    (kept,) = (features.folder / "blocks").iterdir()
    content = np.load(kept)
    steps: list[tuple[int, int]] = []
    make_features(
        [(features, images)],
        convolutions,
        slots=1,
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert [total for _, total in steps] == [30, 30], "the first block is not made again"
    np.testing.assert_array_equal(features.open()[:20], content)


def test_what_cannot_be_held_fails_once_and_says_so(
    ray_cluster: None, images: Bytes, convolutions: Weights
) -> None:
    huge = {name: value * np.float32(10) for name, value in convolutions.items()}
    features, retried = _set(images[:5], "bf16"), []
    with pytest.raises(WorkError, match=r"features-rough-01: .*float16.*--precision fp32"):
        make_features(
            [(features, images[:5])], huge, slots=1, on_retry=lambda name, _: retried.append(name)
        )
    assert not retried
    assert not features.is_complete()
