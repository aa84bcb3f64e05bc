"""What our callbacks of Ray Tune share."""

from typing import Any

from ray.tune import Callback


class StatelessCallback(Callback):  # type: ignore[misc]
    """A callback of which Tune's snapshots hold nothing: the journal has it all.

    Tune pickles its callbacks into a snapshot that we never read, and what ours hold cannot be
    pickled.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {}
