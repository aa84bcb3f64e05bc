"""How far a model's probabilities can be trusted."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fmnist_ray.evaluation.metrics import negative_log_likelihood

Floats = npt.NDArray[np.floating]

BINS = 15
"""As in Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599."""


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, by bins of equal width of the confidence.

    Attributes:
        edges: Of the bins, (bins + 1,).
        counts: Images in each bin, int64 (bins,).
        confidence: Mean of the highest probability, (bins,); NaN for an empty bin.
        accuracy: Share that is right, (bins,); NaN for an empty bin.
        error: Expected calibration error: the mean gap between the two over the images.
        greatest: The greatest gap of a bin.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    error: float
    greatest: float


def reliability(
    labels: npt.NDArray[np.integer], probability: Floats, bins: int = BINS
) -> Reliability:
    """Bins images by how sure the model is of its answer."""
    confidence = probability.max(1).astype(np.float64)
    right = probability.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(places, confidence, bins) / counts
        accuracy = np.bincount(places, right, bins) / counts
    gaps = np.where(counts > 0, np.abs(mean - accuracy), 0.0)
    error = float((gaps * counts).sum() / max(counts.sum(), 1))
    return Reliability(edges, counts.astype(np.int64), mean, accuracy, error, float(gaps.max()))


def brier_score(labels: npt.NDArray[np.integer], probability: Floats) -> float:
    """Mean squared distance between probabilities and the truth, 0 to 2 (Brier 1950)."""
    difference = probability.astype(np.float64).copy()
    difference[np.arange(len(labels)), labels] -= 1
    return float(np.square(difference).sum(1).mean())


def with_temperature(probability: Floats, temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities whose logits are divided by a temperature; above 1 makes them less sure."""
    logits = np.log(np.maximum(probability.astype(np.float64), 1e-30)) / temperature
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    scaled: npt.NDArray[np.float64] = exponentials / exponentials.sum(1, keepdims=True)
    return scaled


def fit_temperature(labels: npt.NDArray[np.integer], probability: Floats) -> float:
    """The temperature of the lowest negative log-likelihood (Guo et al. 2017), 0.05 to 20.

    Fit it on validation images only: fitted on the test images it would flatter itself.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(logarithm: float) -> float:
        scaled = with_temperature(probability, float(np.exp(logarithm)))
        return float(-np.log(np.maximum(scaled[rows, labels], 1e-30)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def calibration_summary(
    labels: npt.NDArray[np.integer], probability: Floats, temperature: float | None
) -> dict[str, float | None]:
    """Calibration of the test images' probabilities under flat names.

    Args:
        labels: Shape (n,).
        probability: Shape (n, k).
        temperature: Fitted on held-out images, or None.

    Returns:
        `test_ece` (15 bins), `test_brier`, `temperature`, and with a temperature
        `test_ece_with_temperature` and `test_loss_with_temperature` (nats).
    """
    summary: dict[str, float | None] = {
        "test_ece": reliability(labels, probability).error,
        "test_brier": brier_score(labels, probability),
        "temperature": temperature,
    }
    if temperature is not None:
        scaled = with_temperature(probability, temperature)
        summary["test_ece_with_temperature"] = reliability(labels, scaled).error
        summary["test_loss_with_temperature"] = negative_log_likelihood(labels, scaled)
    return summary
