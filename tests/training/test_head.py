"""Heads: what a fit gives, and that it is the same again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.errors import DivergedError
from fmnist_ray.training.checkpoint import Row
from fmnist_ray.training.head import Head, HeadConfig, HeadData, fit_head

CONFIG = HeadConfig(epochs=6, batch_size=32)


@pytest.fixture(scope="module")
def data() -> HeadData:
    """Classes about centres of their own, far from zero and of very different scales."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 10, 600)
    centres = draw.standard_normal((10, 20))
    features = centres[labels] + 0.4 * draw.standard_normal((600, 20))
    features = features * np.geomspace(0.01, 100, 20) + 5
    features[:, 3] = 7  # tells nothing, as the dead channels of a network
    return HeadData(features.astype(np.float32), labels, np.arange(500), np.arange(500, 600))


def test_it_learns_and_tells_each_epoch(data: HeadData) -> None:
    rows: list[Row] = []
    head = fit_head(CONFIG, data, seed=0, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    probability = head.probabilities(data.features, data.validation)
    assert probability.shape == (100, 10)
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-5)
    found = float((probability.argmax(1) == data.labels[data.validation]).mean())
    assert found > 0.9
    assert rows[-1]["validation_accuracy"] == found


def test_the_weights_are_for_features_as_they_are(data: HeadData) -> None:
    head = fit_head(CONFIG, data, seed=0)
    logits = data.features[:50].astype(np.float64) @ head.weight.T + head.bias
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    found = head.probabilities(data.features, np.arange(50))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not head.weight[:, 3].any(), "a feature that never changes has no say"


def test_scales_do_not_matter(data: HeadData) -> None:
    head = fit_head(CONFIG, data, seed=0)
    larger = replace(data, features=data.features * 1000)
    np.testing.assert_allclose(
        fit_head(CONFIG, larger, seed=0).probabilities(larger.features, data.validation),
        head.probabilities(data.features, data.validation),
        atol=1e-3,
    )


def test_the_same_seed_gives_the_same_bits_from_memory_and_from_disk(
    data: HeadData, tmp_path: Path
) -> None:
    half = replace(data, features=data.features.astype(np.float16))
    np.save(tmp_path / "features.npy", half.features)
    mapped = replace(data, features=np.load(tmp_path / "features.npy", mmap_mode="r"))
    one, two = fit_head(CONFIG, half, seed=3), fit_head(CONFIG, mapped, seed=3)
    np.testing.assert_array_equal(one.weight, two.weight)
    np.testing.assert_array_equal(one.bias, two.bias)
    other = fit_head(CONFIG, half, seed=4)
    assert not np.array_equal(one.weight, other.weight)


def test_validation_images_have_no_say(data: HeadData) -> None:
    changed = data.features.copy()
    changed[data.validation] = 0
    one = fit_head(CONFIG, data, seed=0)
    two = fit_head(CONFIG, replace(data, features=changed), seed=0)
    np.testing.assert_array_equal(one.weight, two.weight)


def test_without_validation_images_there_are_no_such_figures(data: HeadData) -> None:
    rows: list[Row] = []
    fit_head(CONFIG, replace(data, validation=np.arange(0)), seed=0, on_epoch=rows.append)
    assert "validation_accuracy" not in rows[0]


def test_weight_decay_keeps_weights_small(data: HeadData) -> None:
    sizes = [
        float(np.abs(fit_head(replace_config(weight_decay=decay), data, 0).weight).sum())
        for decay in (0.0, 1.0)
    ]
    assert sizes[1] < sizes[0]


def test_a_loss_that_is_no_number_is_an_error(data: HeadData) -> None:
    broken = data.features.copy()
    broken[7, 7] = np.nan
    with pytest.raises(DivergedError, match="epoch 1"):
        fit_head(CONFIG, replace(data, features=broken), seed=0)


def test_no_rows_have_no_probabilities() -> None:
    head = Head(np.zeros((10, 4), np.float32), np.zeros(10, np.float32))
    assert head.probabilities(np.zeros((3, 4), np.float32), np.arange(0)).shape == (0, 10)


def replace_config(**changes: float) -> HeadConfig:
    return CONFIG.model_copy(update=changes)
