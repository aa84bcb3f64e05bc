"""Ensembles of classifiers, against values worked out by hand."""

from itertools import permutations

import numpy as np
import pytest

from fmnist_ray.evaluation import ensembles, metrics

# Three members, four images, three classes. Votes: 0 0 1 | 0 1 2 | 2 2 2 | 0 0 1.
MEMBERS = np.array(
    [
        [[0.5, 0.4, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8], [0.5, 0.5, 0.0]],
        [[0.5, 0.4, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]],
        [[0.0, 0.9, 0.1], [0.1, 0.4, 0.5], [0.3, 0.3, 0.4], [0.3, 0.7, 0.0]],
    ],
    dtype=np.float32,
)
LABELS = np.array([1, 1, 2, 1])


def random_members(members: int, images: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(4), size=(members, images)).astype(np.float32)


def test_average_is_the_mean_over_members() -> None:
    mean = ensembles.average(MEMBERS)
    assert mean.dtype == np.float32
    assert mean[0] == pytest.approx([1 / 3, 1.7 / 3, 0.1])
    assert metrics.accuracy(LABELS, mean) == 0.75


def test_average_of_many_members_does_not_lose_small_probabilities() -> None:
    # Added up one by one in float32, 3000 times 0.1 is 300.009.
    many = np.full((3000, 1, 10), 0.1, dtype=np.float32)
    assert ensembles.average(many) == pytest.approx(np.full((1, 10), 0.1), rel=1e-7)


def test_votes_are_shares_of_the_members() -> None:
    shares = ensembles.majority_vote(MEMBERS)
    assert shares.dtype == np.float32
    assert shares[0] == pytest.approx([2 / 3, 1 / 3, 0])
    assert shares[2] == pytest.approx([0, 0, 1])
    assert shares[3] == pytest.approx([2 / 3, 1 / 3, 0])


def test_vote_and_average_may_differ() -> None:
    assert metrics.predicted_classes(ensembles.average(MEMBERS))[0] == 1
    assert metrics.predicted_classes(ensembles.majority_vote(MEMBERS))[0] == 0


def test_tied_votes_go_to_the_highest_mean_probability_and_stay_shares() -> None:
    shares = ensembles.majority_vote(MEMBERS)
    # One vote each; means 0.8, 1.5 and 0.7 thirds.
    assert metrics.predicted_classes(shares)[1] == 1
    assert shares[1] == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=2e-4)
    assert shares.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_only_classes_that_tie_for_most_votes_can_win() -> None:
    # Classes 0 and 1 have two votes each; class 2 has one, yet by far the highest mean.
    rows = [[0.4, 0.2, 0.4], [0.4, 0.2, 0.4], [0.1, 0.5, 0.4], [0.1, 0.5, 0.4], [0.0, 0.0, 1.0]]
    shares = ensembles.majority_vote(np.array(rows)[:, None, :])
    assert metrics.predicted_classes(shares).tolist() == [1]


def test_a_hair_of_mean_probability_decides_a_tie_of_many_members() -> None:
    members = np.tile(np.array([[0.9, 0.1], [0.1, 0.9]]), (30, 1))[:, None, :]
    members[1] += [-1e-6, 1e-6]
    assert metrics.predicted_classes(ensembles.majority_vote(members)).tolist() == [1]


def test_one_member_votes_as_it_predicts() -> None:
    shares = ensembles.majority_vote(MEMBERS[:1])
    assert shares.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_disagreement_is_the_share_of_images_judged_differently() -> None:
    shares = ensembles.disagreement(MEMBERS)
    assert shares.tolist() == [[0, 0.25, 0.75], [0.25, 0, 0.75], [0.75, 0.75, 0]]
    assert shares.dtype == np.float64


def test_accuracy_by_size_covers_the_orders_of_three_members() -> None:
    curve = ensembles.accuracy_by_size(LABELS, MEMBERS, orders=400)
    averages, votes = [], []
    for order in permutations(range(3)):
        joined = [MEMBERS[list(order[:size])] for size in (1, 2, 3)]
        averages.append([metrics.accuracy(LABELS, ensembles.average(each)) for each in joined])
        votes.append([metrics.accuracy(LABELS, ensembles.majority_vote(each)) for each in joined])
    assert curve.size.tolist() == [1, 2, 3]
    # 400 random orders of six: means are near, quantiles of these few values are the same.
    assert curve.average_mean == pytest.approx(np.mean(averages, axis=0), abs=0.03)
    assert curve.vote_mean == pytest.approx(np.mean(votes, axis=0), abs=0.03)
    low, high = np.quantile(averages, [0.1, 0.9], axis=0)
    assert curve.average_low == pytest.approx(low)
    assert curve.average_high == pytest.approx(high)


def test_accuracy_by_size_has_the_middle_80_percent_of_the_orders() -> None:
    # Member i is right on i of 20 images, so single members are spread evenly over 0..1.
    right = np.tri(21, 20, -1)
    members = np.stack([right, 1 - right], axis=2)
    curve = ensembles.accuracy_by_size(np.zeros(20, dtype=np.uint8), members, orders=1000)
    assert curve.average_low[0] == pytest.approx(0.1, abs=0.051)
    assert curve.average_high[0] == pytest.approx(0.9, abs=0.051)


def test_accuracy_by_size_ends_at_the_whole_ensemble_whatever_the_order() -> None:
    members = random_members(7, 200)
    labels = np.argmax(random_members(1, 200, seed=0)[0], axis=1)
    curve = ensembles.accuracy_by_size(labels, members, orders=9)
    whole = metrics.accuracy(labels, ensembles.average(members))
    assert curve.average_mean[-1] == pytest.approx(whole)
    assert curve.average_low[-1] == curve.average_high[-1] == whole
    voted = metrics.accuracy(labels, ensembles.majority_vote(members))
    assert curve.vote_mean[-1] == pytest.approx(voted)
    # Alone, a member's vote is its average.
    assert curve.vote_mean[0] == pytest.approx(curve.average_mean[0])


def test_accuracy_by_size_depends_on_the_seed_alone() -> None:
    members = random_members(6, 100)
    labels = np.zeros(100, dtype=np.uint8)
    one, same, other = (
        ensembles.accuracy_by_size(labels, members, orders=3, seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_out_of_bag_averages_over_the_members_that_held_an_image_out() -> None:
    oob = ensembles.out_of_bag(
        [np.array([4, 0]), np.array([1, 4]), np.array([], dtype=np.int64)],
        [np.array([[0.2, 0.8], [1, 0]]), np.array([[0.5, 0.5], [0.6, 0.4]]), np.zeros((0, 2))],
        images=6,
    )
    assert oob.index.tolist() == [0, 1, 4]
    assert oob.members.tolist() == [1, 1, 2]
    assert oob.probability == pytest.approx(np.array([[1, 0], [0.5, 0.5], [0.4, 0.6]]))
    assert [each.dtype for each in oob] == [np.int64, np.float32, np.int64]


def test_out_of_bag_puts_the_folds_of_two_repeats_together() -> None:
    first, second = random_members(2, 6)
    folds = [np.array([5, 1, 3]), np.array([0, 2, 4]), np.array([0, 1, 2]), np.array([3, 4, 5])]
    said = [first[folds[0]], first[folds[1]], second[folds[2]], second[folds[3]]]
    oob = ensembles.out_of_bag(folds, said, images=6)
    assert oob.index.tolist() == list(range(6))
    assert oob.members.tolist() == [2] * 6
    assert oob.probability == pytest.approx((first + second) / 2)


def test_out_of_bag_may_be_empty() -> None:
    oob = ensembles.out_of_bag([np.zeros(0, dtype=np.int64)], [np.zeros((0, 3))], images=5)
    assert (len(oob.index), oob.probability.shape, len(oob.members)) == (0, (0, 3), 0)


@pytest.mark.parametrize("shape", [(4, 3), (0, 4, 3), (2, 0, 3), (2, 4, 0)])
def test_probabilities_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    for function in (ensembles.average, ensembles.majority_vote, ensembles.disagreement):
        with pytest.raises(ValueError, match="shape"):
            function(np.zeros(shape))


def test_accuracy_by_size_refuses_what_does_not_agree() -> None:
    with pytest.raises(ValueError, match="4 images"):
        ensembles.accuracy_by_size(LABELS[:3], MEMBERS)
    with pytest.raises(ValueError, match="order"):
        ensembles.accuracy_by_size(LABELS, MEMBERS, orders=0)


@pytest.mark.parametrize(
    ("indices", "shapes", "message"),
    [
        ([], [], "at least one"),
        ([[0]], [(1, 3), (1, 3)], "as many"),
        ([[0, 1]], [(1, 3)], "needed"),
        ([[0], [1]], [(1, 3), (1, 4)], "needed"),
        ([[0]], [(3,)], "needed"),
        ([[5]], [(1, 3)], "for 5 images"),
        ([[-1]], [(1, 3)], "for 5 images"),
        ([[2, 2]], [(2, 3)], "more than once"),
    ],
)
def test_out_of_bag_refuses_what_does_not_agree(
    indices: list[list[int]], shapes: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ensembles.out_of_bag(
            [np.array(each) for each in indices], [np.zeros(shape) for shape in shapes], images=5
        )
