"""Draws what a model says of photographs, beside what it was shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import COLOURS, new_figure

PREDICTIONS_FIGURE = "predictions.png"
CAPTIONS = {
    PREDICTIONS_FIGURE: Caption(
        "What the network saw",
        "Each photograph, the 28 x 28 pixels that were made of it, and the classes by their "
        "probability. Where the item is not to be told in the small picture, the photograph is at "
        "fault and not the network: a plain background and the whole item in the frame help.",
    )
}
SHOWN = 24
_COLUMNS = 2
_NAME_LENGTH = 36

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    """One photograph's row of the figure.

    Attributes:
        name: Its file's, cut to fit.
        original: uint8, (height, width, 3).
        seen: uint8, (28, 28), as the network was shown it.
        classes: The names of the most probable classes, the first ones first.
        probabilities: Theirs.
    """

    name: str
    original: Images
    seen: Images
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def labelled(
    name: str,
    original: Images,
    seen: Images,
    probability: npt.NDArray[np.floating],
    class_names: Sequence[str],
    classes: int = 4,
) -> Labelled:
    """What the figure shows of one photograph.

    Args:
        name: The file's.
        original: uint8, (height, width, 3).
        seen: uint8, (28, 28).
        probability: (k,).
        class_names: k names.
        classes: How many are shown.
    """
    order = np.argsort(-probability, kind="stable")[:classes]
    cut = name if len(name) <= _NAME_LENGTH else "..." + name[-_NAME_LENGTH + 3 :]
    return Labelled(
        cut,
        original,
        seen,
        tuple(class_names[at] for at in order),
        tuple(float(probability[at]) for at in order),
    )


def draw_predictions(shown: Sequence[Labelled]) -> Figure:
    """A row per photograph, in two columns: it, what the network saw, and the probabilities.

    Args:
        shown: At least one, at most `SHOWN` to stay readable.
    """
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(6.4 * columns, 1.65 * rows + 0.3)
    # Empty columns keep a picture from the names of the classes beside it.
    widths = [1.0, 1.0, 0.1, 1.5, 0.1] * columns
    places = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for axes in places.flat:
        axes.set_axis_off()
    for number, each in enumerate(shown):
        # Down the first column, then the next, as files are listed.
        row, column = number % rows, 5 * (number // rows)
        original, seen, _, bars, _ = places[row, column : column + 5]
        original.imshow(_square(each.original), interpolation="antialiased")
        original.set_title(each.name, fontsize=8, loc="left", parse_math=False)
        seen.imshow(each.seen, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        _draw_bars(bars, each)
    return figure


def _square(picture: Images) -> Images:
    """On a square white ground, so that the names above all pictures are at one height."""
    height, width = picture.shape[:2]
    side = max(height, width)
    result = np.full((side, side, 3), 255, np.uint8)
    row, column = (side - height) // 2, (side - width) // 2
    result[row : row + height, column : column + width] = picture
    return result


def _draw_bars(axes: Axes, each: Labelled) -> None:
    axes.set_axis_on()
    colours = [COLOURS[0], *[COLOURS[-1]] * (len(each.classes) - 1)]
    # By place and not by name, so that names may be the same.
    at = range(len(each.classes))
    drawn = axes.barh(at, each.probabilities, color=colours, height=0.7)
    texts = [f"{share:.0%}" if share >= 0.005 else "<1%" for share in each.probabilities]
    axes.bar_label(drawn, texts, padding=2, fontsize=8)
    axes.set_yticks(at, each.classes, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.25), xticks=[])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
