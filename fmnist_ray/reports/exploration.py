"""Draws what `dataset.statistics` found."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure

CAPTIONS = {
    "samples.png": Caption("Samples", "Ten images of each class, as they come."),
    "classes.png": Caption(
        "Images of each class", "Equal bars mean that accuracy is a fair figure here."
    ),
    "intensities.png": Caption(
        "Pixel values",
        "Share of the pixels of each value, on a logarithm. Half of them are background; train "
        "and test should lie on each other.",
    ),
    "mean_images.png": Caption(
        "Mean image of each class",
        "Sharp means that the images of a class are alike; two classes with one mean image will be "
        "confused.",
    ),
    "deviation_images.png": Caption(
        "Where images of a class differ", "Bright pixels vary most from image to image."
    ),
    "correlations.png": Caption(
        "Correlation of label and pixels",
        "The 785 x 785 correlations of the label and all pixels; neighbours go together, left and "
        "right mirror each other. The first row and column are the label's.",
    ),
    "near_duplicates.png": Caption(
        "Near-duplicates",
        "Pairs of images that are nearly the same, the closest first. Pairs across train and test "
        "flatter a test figure; pairs of two classes show doubtful labels.",
    ),
    "map.png": Caption(
        "A map of the images",
        "Images that look alike lie together (t-SNE). Classes that run into each other are those "
        "that classifiers confuse; distances between far groups mean nothing.",
    ),
}

Images = npt.NDArray[np.number]


def draw_samples(images: Images, labels: npt.NDArray[np.integer], names: Sequence[str]) -> Figure:
    """Ten images of each class, a row each, those with the lowest indices."""
    columns = 10
    figure = new_figure(8.5, 0.8 * len(names) + 0.6)
    places = figure.subplots(len(names), columns, squeeze=False)
    for row, name in enumerate(names):
        found = np.flatnonzero(labels == row)[:columns]
        for column in range(columns):
            axes = places[row, column]
            axes.set_axis_off()
            if column < len(found):
                axes.imshow(images[found[column]], cmap="gray_r", vmin=0, vmax=255)
        places[row, 0].set_axis_on()
        places[row, 0].set(xticks=[], yticks=[])
        places[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
        places[row, 0].spines[:].set_visible(False)
    return figure


def draw_class_counts(counts: dict[str, npt.NDArray[np.int64]], names: Sequence[str]) -> Figure:
    """Images of each class, a panel per split."""
    figure = new_figure(8.0, 1.0 + 2.4 * len(counts))
    places = figure.subplots(len(counts), 1, squeeze=False)[:, 0]
    for axes, (split, each), colour in zip(places, counts.items(), COLOURS, strict=False):
        bars = axes.bar(names, each, color=colour)
        axes.bar_label(bars, [f"{count:,}" for count in each], fontsize=8)
        axes.set_ylabel(f"Images, {split}")
        axes.margins(y=0.15)
        axes.tick_params(axis="x", rotation=30)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_intensities(histograms: dict[str, npt.NDArray[np.int64]]) -> Figure:
    """Share of the pixels of each value; on a logarithm, since half of them are background."""
    figure = new_figure(8.0, 3.6)
    axes = figure.subplots()
    for (split, histogram), colour in zip(histograms.items(), COLOURS, strict=False):
        share = histogram / histogram.sum()
        axes.step(np.arange(256), share, where="mid", label=split, color=colour, linewidth=1)
    axes.set(yscale="log", xlabel="Pixel value (0: background, 255: brightest)")
    axes.set_ylabel("Share of pixels")
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_class_images(images: Images, names: Sequence[str], what: str) -> Figure:
    """One image per class, such as its mean, with a common scale.

    Args:
        images: (classes, height, width), in steps of 255.
        names: Of the classes.
        what: Names the scale, such as `Mean pixel value`.
    """
    figure = new_figure(8.0, 4.0)
    places = figure.subplots(2, (len(names) + 1) // 2).reshape(-1)
    highest = float(images.max())
    shown = None
    for axes, image, name in zip(places, images, names, strict=False):
        shown = axes.imshow(image, cmap="viridis", vmin=0, vmax=highest)
        axes.set_title(name, fontsize=9)
        axes.set(xticks=[], yticks=[])
    if shown is not None:
        figure.colorbar(shown, ax=places, label=what, shrink=0.8)
    return figure


def draw_correlations(matrices: dict[str, npt.NDArray[np.float64]]) -> Figure:
    """Heat maps of `label, pixel1 .. pixel784`, a panel per split."""
    figure = new_figure(5.0 * len(matrices) + 1, 5.0)
    places = figure.subplots(1, len(matrices), squeeze=False)[0]
    shown = None
    for axes, (split, matrix) in zip(places, matrices.items(), strict=True):
        shown = axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        ticks = np.arange(0, len(matrix), 28 * 7)
        axes.set_xticks(ticks, ["label" if at == 0 else f"pixel{at}" for at in ticks], rotation=30)
        axes.set_yticks(ticks, ["label" if at == 0 else f"pixel{at}" for at in ticks])
        axes.set_title(split)
    if shown is not None:
        figure.colorbar(shown, ax=places, label="Pearson correlation", shrink=0.8)
    return figure


def draw_pairs(pairs: Sequence[tuple[Images, Images, str]]) -> Figure:
    """Images that are nearly the same, side by side, each pair with its caption."""
    figure = new_figure(8.5, 1.9 * ((len(pairs) + 3) // 4) + 0.4)
    places = figure.subplots((len(pairs) + 3) // 4, 4, squeeze=False).reshape(-1)
    for axes in places:
        axes.set_axis_off()
    for axes, (first, second, caption) in zip(places, pairs, strict=False):
        gap = np.zeros((first.shape[0], 2))
        axes.imshow(np.hstack([first, gap, second]), cmap="gray_r", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=8)
    return figure


def draw_embedding(
    places: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], names: Sequence[str]
) -> Figure:
    """Images as points of a plane, each class with a marker and a colour of its own."""
    figure = new_figure(8.0, 6.4)
    axes = figure.subplots()
    markers = "oosss^^DDv"
    for label, name in enumerate(names):
        chosen = places[labels == label]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=9,
            alpha=0.6,
            linewidths=0,
            color=COLOURS[label % len(COLOURS)],
            marker=markers[label % len(markers)],
            label=name,
        )
    # Eight colours are told apart for ten classes: names stand where their images are.
    for label, name in enumerate(names):
        chosen = places[labels == label]
        if len(chosen):
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
            across, up = np.median(chosen, 0)
            axes.text(across, up, name, ha="center", va="center", fontsize=9, bbox=box)
    axes.set(xticks=[], yticks=[], xlabel="First dimension", ylabel="Second dimension")
    axes.legend(markerscale=3, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
