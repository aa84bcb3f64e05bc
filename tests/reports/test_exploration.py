"""The figures of an exploration, on real images."""

import numpy as np

from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.dataset.statistics import pixel_statistics
from fmnist_ray.reports.exploration import (
    draw_class_counts,
    draw_class_images,
    draw_correlations,
    draw_embedding,
    draw_intensities,
    draw_pairs,
    draw_samples,
)

DATASET = load_dataset("sample")
TRAIN = DATASET.train


def test_samples_are_ten_of_each_class_named() -> None:
    figure = draw_samples(TRAIN.images, TRAIN.labels, CLASS_NAMES)
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 100
    assert [axes.get_ylabel() for axes in figure.axes[::10]] == list(CLASS_NAMES)
    bag = np.flatnonzero(TRAIN.labels == 8)[0]
    assert (drawn[80].images[0].get_array() == TRAIN.images[bag]).all()


def test_a_class_without_images_leaves_its_row_empty() -> None:
    figure = draw_samples(TRAIN.images[:3], np.zeros(3, int), CLASS_NAMES)
    assert sum(bool(axes.images) for axes in figure.axes) == 3


def test_bars_are_as_high_as_the_counts() -> None:
    counts = {"train": np.arange(10), "test": np.full(10, 7)}
    above, below = draw_class_counts(counts, CLASS_NAMES).axes
    assert [bar.get_height() for bar in above.patches] == list(range(10))
    assert {bar.get_height() for bar in below.patches} == {7}
    assert above.get_ylabel() == "Images, train"


def test_intensities_are_shares() -> None:
    histograms = {
        name: pixel_statistics(split.images).histogram for name, split in DATASET.splits().items()
    }
    (axes,) = draw_intensities(histograms).axes
    for line in axes.lines:
        assert np.isclose(np.sum(line.get_ydata()), 1)
    assert [line.get_label() for line in axes.lines] == ["train", "test"]
    assert axes.get_yscale() == "log"


def test_images_of_classes_share_a_scale_that_is_named() -> None:
    means = np.stack([TRAIN.images[TRAIN.labels == label].mean(0) for label in range(10)])
    figure = draw_class_images(means, CLASS_NAMES, "Mean pixel value")
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown[:10]] == list(CLASS_NAMES)
    assert {axes.images[0].get_clim() for axes in shown[:10]} == {(0.0, float(means.max()))}
    assert "Mean pixel value" in {axes.get_ylabel() for axes in figure.axes}


def test_correlations_are_drawn_from_minus_one_to_one() -> None:
    figure = draw_correlations({"train": np.eye(785), "test": np.eye(785)})
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["train", "test"]
    assert panels[0].images[0].get_clim() == (-1, 1)
    assert panels[0].get_xticklabels()[0].get_text() == "label"


def test_pairs_stand_side_by_side() -> None:
    figure = draw_pairs([(TRAIN.images[0], TRAIN.images[1], "a pair")] * 5)
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 5
    assert drawn[0].images[0].get_array().shape == (28, 58)
    assert drawn[0].get_title() == "a pair"


def test_classes_are_named_on_the_map() -> None:
    labels = np.repeat(np.arange(10), 3)
    places = np.random.default_rng(0).normal(size=(30, 2))
    (axes,) = draw_embedding(places, labels, CLASS_NAMES).axes
    assert {text.get_text() for text in axes.texts} == set(CLASS_NAMES)
    assert sum(len(points.get_offsets()) for points in axes.collections) == 30
