"""Colours that tell how good a trial is."""

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from fmnist_ray.reports.search_courses import Aim, sane_limits
from fmnist_ray.reports.search_parameters import Values

_SCALE = colormaps["viridis"]
# Light yellow is hard to see on white, so the scale ends before it.
_BRIGHTEST = 0.93


def value_scale(shown: Values, aim: Aim) -> Normalize:
    """From values as shown to places between 0 and 1; very bad ones lie outside."""
    low, high = sane_limits(shown.tolist(), aim)
    return Normalize(max(low, float(shown.min())), min(high, float(shown.max())))


def value_colours(share: npt.ArrayLike, aim: Aim) -> Values:
    """Colours of values between 0 and 1; the best is the brightest."""
    level = np.clip(np.asarray(share, dtype=np.float64), 0, 1)
    colours: Values = np.asarray(_SCALE(_BRIGHTEST * (level if aim.highest else 1 - level)))
    return colours


def colour_bar(figure: Figure, axes: Axes, scale: Normalize, shown: Values, aim: Aim) -> None:
    colours = ListedColormap(value_colours(np.linspace(0, 1, 256), aim))
    low, high = bool(shown.min() < scale.vmin), bool(shown.max() > scale.vmax)
    extend = {(True, False): "min", (False, True): "max"}.get((low, high), "neither")
    bar = figure.colorbar(
        ScalarMappable(scale, colours), ax=axes, pad=0.02, shrink=0.9, extend=extend
    )
    bar.set_label(aim.label, fontsize=12)
    bar.ax.tick_params(labelsize=11)
