"""What the figures of a search share: the colours of its trials, and their axes."""

from matplotlib.axes import Axes

from fmnist_ray.reports.figures import COLOURS

STATUS_COLOURS = {
    "complete": COLOURS[0],
    "stopped": COLOURS[4],
    "diverged": COLOURS[3],
    "failed": COLOURS[6],
    "paused": COLOURS[5],
    "running": COLOURS[5],
}
STATUS_NAMES = {
    "complete": "ran to the end",
    "stopped": "stopped early",
    "diverged": "diverged",
    "failed": "failed",
    "paused": "paused",
    "running": "not finished",
}


def dress(axes: Axes) -> None:
    """Gives a panel its grid and ticks."""
    axes.tick_params(labelsize=11)
    axes.grid(color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
