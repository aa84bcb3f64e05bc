"""What earlier projects reported on Fashion-MNIST, to stand beside one's own figures.

They come without an interval, a number of seeds or the split they were chosen on; so they are
figures to reproduce, not ones to test against.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A figure that was reported.

    Attributes:
        technique: What it is of, in a few words.
        low: Accuracy between 0 and 1; of a range its lower end.
        high: The upper end; `low` where one figure was reported.
        detail: What is known of it besides.
        parameters: Of the model; None if not reported.
    """

    technique: str
    low: float
    high: float
    detail: str = ""
    parameters: int | None = None

    @property
    def middle(self) -> float:
        """Of the range, to sort by."""
        return (self.low + self.high) / 2


PUBLISHED: tuple[Published, ...] = (
    Published("small residual network, 296 K", 0.947, 0.947, "about 296,000 parameters", 296_000),
    Published("fine-tuned VGG", 0.93, 0.94, "the last blocks trained with the new output layer"),
    Published("small network, up to 130 K", 0.925, 0.925, "at most 130,000 parameters"),
    Published("SVM", 0.897, 0.897),
    Published(
        "searched network",
        0.89579,
        0.89579,
        "tanh, Adam, learning rate 0.001, batch 500, 30 epochs; 92.23 % on training images",
    ),
    Published("searched CNN", 0.895, 0.896, "best reported; 92.3 % on validation images"),
    Published("random forest", 0.873, 0.885),
    Published("5 folds", 0.8725, 0.8725, "88.167 % on training images"),
    Published("VGG19, new output layer", 0.8294, 0.8294, "82.95 % on training images"),
    Published("VGG16, new output layer", 0.82678, 0.82678, "82.6 % on training images"),
)
"""Accuracy on test images, as far as their sources say; the highest first."""
