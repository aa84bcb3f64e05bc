"""Figures of a classifier, against values worked out by hand."""

import math

import numpy as np
import pytest

from fmnist_ray.evaluation import metrics

# Six images of three classes. Predicted: 0 0 1 | 1 2 | 1, so one image of class 0 is taken for 1,
# one of class 1 for 2, and the only image of class 2 for 1.
LABELS = np.array([0, 0, 0, 1, 1, 2], dtype=np.uint8)
PROBABILITIES = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.5, 0.3, 0.2],
        [0.2, 0.6, 0.2],
        [0.1, 0.8, 0.1],
        [0.1, 0.4, 0.5],
        [0.0, 0.9, 0.1],
    ],
    dtype=np.float32,
)
COUNTS = np.array([[2, 1, 0], [0, 1, 1], [0, 1, 0]])


def test_accuracy_is_the_share_of_most_probable_classes_that_are_right() -> None:
    assert metrics.accuracy(LABELS, PROBABILITIES) == pytest.approx(3 / 6)


def test_the_first_of_tied_classes_is_predicted() -> None:
    assert metrics.predicted_classes(np.array([[0.4, 0.4, 0.2]])).tolist() == [0]


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_bounds(
    correct: int, total: int, low: float, high: float
) -> None:
    assert metrics.wilson_interval(correct, total) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_within_0_and_1_and_widens_with_confidence() -> None:
    assert metrics.wilson_interval(10_000, 10_000)[1] == 1.0
    narrow, wide = metrics.wilson_interval(9, 10, 0.8), metrics.wilson_interval(9, 10, 0.99)
    assert wide[0] < narrow[0] < 0.9 < narrow[1] < wide[1]


def test_loss_is_the_mean_log_of_what_the_true_class_was_given() -> None:
    expected = -np.mean(np.log([0.8, 0.5, 0.2, 0.8, 0.4, 0.1]))
    assert metrics.negative_log_likelihood(LABELS, PROBABILITIES) == pytest.approx(expected)


def test_an_image_that_is_entirely_wrong_costs_much_but_not_infinity() -> None:
    loss = metrics.negative_log_likelihood(np.array([1]), np.array([[1.0, 0.0]]))
    assert 80 < loss < 100


def test_class_scores() -> None:
    scores = metrics.class_scores(LABELS, PROBABILITIES)
    assert [score.label for score in scores] == [0, 1, 2]
    assert [score.support for score in scores] == [3, 2, 1]
    assert [score.precision for score in scores] == pytest.approx([1, 1 / 3, 0])
    assert [score.recall for score in scores] == pytest.approx([2 / 3, 1 / 2, 0])
    assert [score.f1 for score in scores] == pytest.approx([0.8, 0.4, 0])


def test_a_class_without_images_has_scores_of_0(recwarn: pytest.WarningsRecorder) -> None:
    scores = metrics.class_scores(np.array([0]), np.array([[0.9, 0.1]]))
    assert scores[1] == metrics.ClassScore(1, 0.0, 0.0, 0.0, 0)
    assert not recwarn.list


def test_macro_averages_weigh_every_class_alike() -> None:
    averages = metrics.macro_average(metrics.class_scores(LABELS, PROBABILITIES))
    assert averages == {
        "macro_precision": pytest.approx(4 / 9),
        "macro_recall": pytest.approx(7 / 18),
        "macro_f1": pytest.approx(0.4),
    }


def test_confusion_counts_have_true_classes_as_rows() -> None:
    assert metrics.confusion_counts(LABELS, PROBABILITIES).tolist() == COUNTS.tolist()


def test_confusion_counts_keep_classes_that_do_not_occur() -> None:
    counts = metrics.confusion_counts(np.array([0]), np.array([[0.1, 0.9, 0.0]]))
    assert counts.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_row_shares_have_recall_on_the_diagonal_and_leave_empty_rows_0() -> None:
    shares = metrics.row_shares(COUNTS)
    recalls = [score.recall for score in metrics.class_scores(LABELS, PROBABILITIES)]
    assert np.diag(shares) == pytest.approx(recalls)
    assert shares.sum(axis=1) == pytest.approx(np.ones(3))
    assert metrics.row_shares(np.zeros((2, 2), dtype=np.int64)).tolist() == [[0, 0], [0, 0]]


def test_most_confused_pairs_add_both_directions_and_name_the_worse_first() -> None:
    counts = np.array([[90, 3, 0, 1], [9, 80, 0, 0], [0, 0, 70, 13], [0, 0, 0, 60]])
    first, second, third = metrics.most_confused_pairs(counts)
    assert first == metrics.ConfusedPair(2, 3, 13, 0)
    assert second == metrics.ConfusedPair(1, 0, 9, 3)
    assert (third.first, third.second, third.errors) == (0, 3, 1)


def test_most_confused_pairs_are_as_many_as_asked_for() -> None:
    assert len(metrics.most_confused_pairs(np.ones((5, 5), dtype=np.int64), most=4)) == 4
    assert metrics.most_confused_pairs(np.diag([5, 5, 5])) == ()


def test_summary_has_flat_names_and_an_interval_around_the_accuracy() -> None:
    summary = metrics.summarise(LABELS, PROBABILITIES, "test")
    assert list(summary) == [
        "test_images",
        "test_accuracy",
        "test_accuracy_low",
        "test_accuracy_high",
        "test_loss",
        "test_macro_precision",
        "test_macro_recall",
        "test_macro_f1",
    ]
    assert summary["test_images"] == 6
    assert (summary["test_accuracy_low"], summary["test_accuracy_high"]) == pytest.approx(
        metrics.wilson_interval(3, 6)
    )
    assert all(math.isfinite(value) for value in summary.values())


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        (np.zeros(0, dtype=np.uint8), np.zeros((0, 3))),
        (np.zeros(2, dtype=np.uint8), np.zeros((3, 3))),
        (np.zeros((2, 1), dtype=np.uint8), np.zeros((2, 3))),
    ],
)
def test_shapes_that_do_not_agree_are_refused(
    labels: np.ndarray, probabilities: np.ndarray
) -> None:
    with pytest.raises(ValueError, match=r"shape|no images"):
        metrics.accuracy(labels, probabilities)
