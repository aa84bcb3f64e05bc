"""How a run and its units are called in Ray: in its tables of jobs, actors and tasks, and metrics."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class RunName:
    """What a run is found by.

    Attributes:
        verb: What it does, such as `tune`.
        name: Its record's name.
        model: The model, or `mixed` for several.
    """

    verb: str
    name: str
    model: str

    def __str__(self) -> str:
        return f"{self.verb}/{self.name}"

    def of(self, unit: str) -> str:
        """The full name of a trial, fold, member or other unit: `VERB/NAME/UNIT`."""
        return f"{self}/{unit}"

    @property
    def metadata(self) -> dict[str, str]:
        """For Ray's table of jobs."""
        return asdict(self)
