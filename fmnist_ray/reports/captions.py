"""What a report says of a figure."""

from typing import NamedTuple


class Caption(NamedTuple):
    """Stands with a figure in a report.

    Attributes:
        title: What it shows, in a few words.
        text: What to look for, in one to three sentences.
    """

    title: str
    text: str
