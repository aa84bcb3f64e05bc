"""Which errors are shown first."""

import numpy as np

from fmnist_ray.evaluation.metrics import ConfusedPair
from fmnist_ray.evaluation.mistakes import confident_mistakes, examples_of_pair

LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.6, 0.3, 0.1],  # right
        [0.2, 0.7, 0.1],  # 0 given 1
        [0.9, 0.1, 0.0],  # 1 given 0, the surest
        [0.7, 0.2, 0.1],  # 1 given 0, as sure as the second
        [0.1, 0.5, 0.4],  # 2 given 1
    ]
)


def test_mistakes_come_by_confidence_and_equal_ones_by_index() -> None:
    assert confident_mistakes(LABELS, PROBABILITIES, 10).tolist() == [2, 1, 3, 4]
    assert confident_mistakes(LABELS, PROBABILITIES, 2).tolist() == [2, 1]


def test_no_mistakes_give_no_indices() -> None:
    assert confident_mistakes(np.array([0]), np.array([[0.9, 0.1]]), 5).tolist() == []


def test_a_pair_gives_examples_of_both_directions() -> None:
    pair = ConfusedPair(first=1, second=0, first_as_second=2, second_as_first=1)
    there, back = examples_of_pair(LABELS, PROBABILITIES, pair, 4)
    assert there.tolist() == [2, 3]
    assert back.tolist() == [1]
    assert examples_of_pair(LABELS, PROBABILITIES, pair, 1)[0].tolist() == [2]
