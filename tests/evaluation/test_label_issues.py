"""Confident learning, on cases worked by hand and on real labels that were changed."""

import numpy as np
import pytest

from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.evaluation.label_issues import class_thresholds, find_label_issues


def test_the_threshold_of_a_class_is_how_sure_the_models_are_of_it_where_it_is_labelled() -> None:
    labels = np.array([0, 0, 1])
    probabilities = np.array([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.1, 0.9, 0.0]])
    assert class_thresholds(labels, probabilities).tolist() == pytest.approx([0.6, 0.9, np.inf])


def test_an_issue_reaches_the_threshold_of_another_class_than_its_label() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.2, 0.8]])
    # Thresholds: 0.6 of class 0, 0.75 of class 1. The third reaches 1's and not its own; the
    # fourth reaches none.
    issues = find_label_issues(labels, probabilities)
    assert issues.position.tolist() == [2]
    assert issues.label.tolist() == [0]
    assert issues.suggested.tolist() == [1]
    assert issues.margin.tolist() == pytest.approx([-0.8])


def test_issues_are_ordered_by_how_far_the_label_lies_behind() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    probabilities = np.array(
        [[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6], [0.5, 0.5]]
    )
    assert find_label_issues(labels, probabilities).position.tolist() == [3, 2]


def test_without_an_issue_the_arrays_are_empty() -> None:
    issues = find_label_issues(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert all(len(column) == 0 for column in issues)


def test_labels_that_were_changed_are_found_among_real_images() -> None:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_predict

    train = load_dataset("sample").train
    pixels = train.images.reshape(len(train), -1) / 255
    labels = train.labels.astype(np.int64)
    clear = np.flatnonzero(np.isin(labels, (1, 5, 8)))[:30]  # trouser, sandal, bag
    labels[clear] = (labels[clear] + 1) % 10
    model = RandomForestClassifier(100, random_state=0)
    probabilities = cross_val_predict(model, pixels, labels, cv=3, method="predict_proba")
    found = find_label_issues(labels, probabilities).position
    assert len(set(clear) & set(found.tolist())) >= 24
    # Far fewer of the rest, most of which are right: 1,500 sampled images hold hard ones, too.
    assert len(found) < 0.25 * len(labels)
