from dataclasses import replace

import numpy as np
import pytest

from fmnist_ray.dataset.arrays import Dataset, Split
from fmnist_ray.dataset.cleaning import (
    ProblemCounts,
    count_problems,
    drop_problems,
    find_problems,
    read_to_clean,
)
from fmnist_ray.dataset.csv_layout import write_csv_folder
from fmnist_ray.dataset.idx import write_idx_folder
from fmnist_ray.errors import RequestError

NO_PROBLEMS = dict.fromkeys(ProblemCounts.__dataclass_fields__, 0)


def repeated(split: Split, copies: dict[int, int], labels: dict[int, int] | None = None) -> Split:
    """The split with image `to` replaced by image `of` (`{to: of}`) and some labels changed."""
    images, changed = split.images.copy(), split.labels.copy()
    for to, of in copies.items():
        images[to], changed[to] = images[of], changed[of]
    for index, label in (labels or {}).items():
        changed[index] = label
    return Split(images, changed)


def test_nothing_is_found_where_nothing_is_wrong(small):
    problems = find_problems(replace(small, validation=None))
    assert count_problems(problems) == ProblemCounts(**NO_PROBLEMS)
    cleaned = drop_problems(small, problems)
    np.testing.assert_array_equal(cleaned.train.images, small.train.images)


def test_duplicates_within_a_split_keep_the_first(small):
    train = repeated(small.train, {5: 2, 9: 2, 30: 31}, {9: (small.train.labels[2] + 1) % 10})
    dataset = replace(small, train=train)
    problems = find_problems(dataset)
    assert problems.splits["train"].duplicates.tolist() == [5, 9, 31]
    assert problems.splits["train"].conflicts.tolist() == [9]
    assert problems.splits["train"].duplicates.dtype == np.int64
    cleaned = drop_problems(dataset, problems)
    kept = np.delete(np.arange(60), [5, 9, 31])
    np.testing.assert_array_equal(cleaned.train.images, train.images[kept])
    np.testing.assert_array_equal(cleaned.train.labels, train.labels[kept])
    assert cleaned.source == "made up, cleaned"


def test_what_is_judged_on_is_taken_out_of_what_is_trained_on(small):
    test = repeated(small.test, {4: 3})
    train = Split(small.train.images.copy(), small.train.labels.copy())
    train.images[[0, 50]] = test.images[[7, 8]]
    train.labels[0], train.labels[50] = test.labels[7], (test.labels[8] + 1) % 10
    validation = Split(small.train.images[10:22].copy(), small.train.labels[10:22].copy())
    validation.images[11] = test.images[9]
    validation.labels[11] = test.labels[9]
    dataset = Dataset(train, test, "made up", validation)
    problems = find_problems(dataset)
    assert problems.splits["train"].shared["test"].tolist() == [0, 50]
    assert problems.splits["train"].shared["validation"].tolist() == list(range(10, 21))
    assert problems.splits["validation"].shared["test"].tolist() == [11]
    assert problems.splits["test"].shared == {}
    assert problems.splits["train"].conflicts.tolist() == [50]
    assert count_problems(problems) == ProblemCounts(
        **NO_PROBLEMS
        | {
            "test_duplicates": 1,
            "shared_by_train_and_test": 2,
            "shared_with_validation": 12,
            "conflicting_labels": 1,
        }
    )
    cleaned = drop_problems(dataset, problems)
    assert len(cleaned.train) == 60 - 2 - 11
    assert cleaned.validation is not None
    assert len(cleaned.validation) == 11
    assert len(cleaned.test) == 30  # duplicates stay: figures are over all of it
    again = count_problems(find_problems(cleaned))
    assert again == ProblemCounts(**NO_PROBLEMS | {"test_duplicates": 1})


def test_labels_out_of_range_are_found_in_idx_and_dropped_even_from_test(small, tmp_path):
    spoilt = Dataset(
        repeated(small.train, {}, {3: 10}), repeated(small.test, {}, {0: 255, 29: 11}), "made up"
    )
    write_idx_folder(spoilt, tmp_path, compress=True)
    dataset, bad_rows = read_to_clean(tmp_path)
    problems = find_problems(dataset, bad_rows)
    assert problems.splits["train"].bad_labels.tolist() == [3]
    assert problems.splits["test"].bad_labels.tolist() == [0, 29]
    assert count_problems(problems).labels_out_of_range == 3
    cleaned = drop_problems(dataset, problems)
    assert (len(cleaned.train), len(cleaned.test)) == (59, 28)


def test_bad_rows_of_csv_are_left_out_and_counted_by_kind(small, tmp_path):
    write_csv_folder(small, tmp_path)
    path = tmp_path / "fashion-mnist_test.csv"
    rows = [row.split(",") for row in path.read_text().splitlines()]
    rows[1][5], rows[2][6], rows[3][7], rows[4][0] = "", "x", "256", "10"
    rows[5].append("0")
    rows[6][5] = rows[6][6] = ""
    path.write_text("\n".join(",".join(row) for row in rows))
    dataset, bad_rows = read_to_clean(tmp_path)
    assert [problem.line for problem in bad_rows["test"]] == [2, 3, 4, 5, 6, 7]
    assert bad_rows["train"] == []
    assert count_problems(find_problems(dataset, bad_rows)) == ProblemCounts(
        **NO_PROBLEMS
        | {
            "missing_values": 2,
            "not_whole_numbers": 1,
            "pixels_out_of_range": 1,
            "labels_out_of_range": 1,
            "wrong_numbers_of_cells": 1,
        }
    )
    np.testing.assert_array_equal(dataset.test.images, small.test.images[6:])


def test_cleaning_that_would_leave_nothing_is_refused(small, tmp_path):
    everything = replace(small, train=small.test)
    with pytest.raises(RequestError, match="would leave no image in train"):
        drop_problems(everything, find_problems(everything))
    write_csv_folder(small, tmp_path)
    path = tmp_path / "fashion-mnist_test.csv"
    path.write_text(path.read_text().replace("\n", ",\n").replace("784,\n", "784\n"))
    with pytest.raises(RequestError, match=r"fashion-mnist_test\.csv has no row that is right"):
        read_to_clean(tmp_path)


@pytest.mark.full_data
def test_the_release_has_no_problems(release):
    assert count_problems(find_problems(release)) == ProblemCounts(**NO_PROBLEMS)
