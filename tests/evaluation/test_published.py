"""The figures of others that stand beside one's own."""

from fmnist_ray.evaluation.published import PUBLISHED


def test_they_are_shares_in_order_under_names_of_their_own() -> None:
    assert all(0.5 < row.low <= row.middle <= row.high < 1 for row in PUBLISHED)
    middles = [row.middle for row in PUBLISHED]
    assert middles == sorted(middles, reverse=True)
    names = [row.technique for row in PUBLISHED]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 30, "longer names do not fit the figure"
