"""What the figures share: how they are made, their colours, and how they are saved."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from fmnist_ray.records import write_whole

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7F7F7F",
)
"""Told apart by colour-blind people too: Okabe and Ito, https://jfly.uni-koeln.de/color/, with
grey in the place of their yellow, which is too pale for a line on white."""

_DOTS_PER_INCH = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts are kept from overlapping.

    It is made without `pyplot`, so that no window system is looked for and matplotlib's global
    list of open figures, and with it a notebook's, stays as it is.
    """
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    return figure


def write_png(path: Path, figure: Figure) -> None:
    """Saves a figure as PNG, whole or not at all; missing folders are made."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=_DOTS_PER_INCH)
    write_whole(path, content.getvalue())
