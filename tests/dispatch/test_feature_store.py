"""Features on disk: their key, their blocks, and files that are not whole."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.dispatch.feature_store import FeatureSet, FeatureSource, features_precision
from fmnist_ray.errors import WorkError
from fmnist_ray.models.vgg import TransferConfig
from fmnist_ray.training.precision import resolve_precision


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FeatureSet:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("fmnist_ray.dispatch.feature_store._BLOCK_IMAGES", 4)
    images = np.arange(10 * 28 * 28).reshape(10, 28, 28).astype(np.uint8)
    return FeatureSet.of("train", TransferConfig(backbone="vgg16"), "ab" * 32, images, "bf16")


def _fill(features: FeatureSet) -> np.ndarray:
    draw = np.random.default_rng(0).standard_normal((10, 512)).astype(features.dtype)
    for number, (first, last) in enumerate(features.blocks):
        features.keep(number, draw[first:last])
    return draw


def test_everything_that_features_depend_on_is_in_the_key(features: FeatureSet) -> None:
    others = [
        replace(features, config=TransferConfig(backbone="vgg19")),
        replace(features, config=TransferConfig(backbone="vgg16", input_size=64)),
        replace(features, weights_sha256="cd" * 32),
        replace(features, images_sha256="ef" * 32),
        replace(features, precision="fp32"),
    ]
    assert len({each.folder for each in (features, *others)}) == 6
    assert replace(features, split="other").folder == features.folder


def test_blocks_are_made_one_file(features: FeatureSet) -> None:
    assert features.blocks == [(0, 4), (4, 8), (8, 10)]
    assert features.missing() == [0, 1, 2]
    made = _fill(features)
    assert features.missing() == []
    assert not features.is_complete()
    features.join()
    assert features.is_complete()
    assert features.missing() == []
    found = features.open()
    assert isinstance(found, np.memmap)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, made)
    np.testing.assert_array_equal(FeatureSource.of(features, here=True).open(), made)
    assert not (features.folder / "blocks").exists()
    features.join()  # once more changes nothing
    np.testing.assert_array_equal(features.open(), made)


@pytest.mark.parametrize("damage", ["cut short", "no array", "other shape", "other type", "gone"])
def test_a_block_that_is_not_whole_is_missing(features: FeatureSet, damage: str) -> None:
    _fill(features)
    path = features.folder / "blocks" / "0001.npy"
    match damage:
        case "cut short":
            path.write_bytes(path.read_bytes()[:-1])
        case "no array":
            path.write_bytes(b"half")
        case "other shape":
            np.save(path, np.zeros((3, 512), np.float16))
        case "other type":
            np.save(path, np.zeros((4, 512), np.float32))
        case "gone":
            path.unlink()
    assert features.missing() == [1]


def test_a_file_that_is_not_whole_is_made_anew(features: FeatureSet) -> None:
    _fill(features)
    features.join()
    path = features.folder / "features.npy"
    path.write_bytes(path.read_bytes()[:-10])
    assert features.missing() == [0, 1, 2]
    with pytest.raises(WorkError, match="are gone"):
        features.open()
    made = _fill(features)
    features.join()
    np.testing.assert_array_equal(features.open(), made)


def test_seconds_add_up(features: FeatureSet) -> None:
    assert features.seconds() == 0
    features.add_seconds(1.5)
    features.add_seconds(2)
    assert features.seconds() == 3.5


def test_large_features_come_in_smaller_blocks() -> None:
    large = TransferConfig(backbone="vgg16", input_size=224)
    features = FeatureSet("train", large, "", "", 60_000, "fp32")
    assert large.features == 25_088
    first, last = features.blocks[0]
    assert 1 <= last - first <= 700
    assert features.blocks[-1][1] == 60_000


def test_the_precision_is_the_one_that_torch_would_be_given() -> None:
    assert features_precision("auto", 0) == resolve_precision("auto", "cpu")
    assert features_precision("auto", 0.5) == "bf16"
    assert features_precision("fp32", 1) == "fp32"
