import numpy as np
import pytest

from fmnist_ray.evaluation.calibration import (
    brier_score,
    fit_temperature,
    reliability,
    with_temperature,
)


def drawn(count: int, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and those probabilities at another temperature."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (count, 10))
    truth = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (truth.cumsum(1) < generator.random((count, 1))).sum(1)
    return labels, with_temperature(truth, temperature)


def test_true_probabilities_are_calibrated() -> None:
    found = reliability(*drawn(200_000))
    assert found.error < 0.005
    assert found.counts.sum() == 200_000
    filled = found.counts > 1_000
    np.testing.assert_allclose(found.accuracy[filled], found.confidence[filled], atol=0.02)


def test_a_model_that_is_too_sure_is_found_out_and_mended() -> None:
    labels, sure = drawn(50_000, temperature=0.5)
    assert reliability(labels, sure).error > 0.1
    temperature = fit_temperature(labels, sure)
    assert temperature == pytest.approx(2.0, rel=0.05)
    assert reliability(labels, with_temperature(sure, temperature)).error < 0.01


def test_one_bin_by_hand() -> None:
    probability = np.full((4, 10), 0.02)
    probability[:, 3] = 0.82
    found = reliability(np.array([3, 3, 3, 5]), probability)
    assert found.error == pytest.approx(0.82 - 0.75)
    assert found.greatest == pytest.approx(found.error)
    assert (found.counts > 0).sum() == 1
    assert found.counts[12] == 4  # 0.8 to 0.867
    assert np.isnan(found.accuracy[0])


def test_certainty_falls_into_the_last_bin() -> None:
    assert reliability(np.array([1]), np.eye(10)[[1]]).counts[-1] == 1


def test_the_brier_score_of_certainty_and_of_ignorance() -> None:
    labels = np.array([1, 2])
    assert brier_score(labels, np.eye(10)[[1, 2]]) == 0
    assert brier_score(labels, np.eye(10)[[2, 1]]) == 2
    assert brier_score(labels, np.full((2, 10), 0.1)) == pytest.approx(0.9)
