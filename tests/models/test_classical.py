import importlib.util
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.models import classical
from fmnist_ray.models.classical import (
    MODEL_NAMES,
    build,
    details,
    expected_seconds,
    grid,
    probabilities,
    rows,
    setting_name,
)
from fmnist_ray.records import check_name


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few trees, and no threads that wait for each other on a busy machine."""
    monkeypatch.setattr(classical, "TREES", 20)
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    split = load_dataset("sample").train
    return rows(split.images), split.labels


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_every_setting_has_a_name_of_its_own_that_a_record_takes(model: str) -> None:
    names = [check_name(setting_name(model, settings)) for settings in grid(model)]
    assert len(set(names)) == len(names) > 1
    assert all(name.startswith(f"{model}-") for name in names)


def test_a_name_tells_the_setting() -> None:
    assert setting_name("svm", {"C": 10, "gamma": "scale"}) == "svm-c10-gamma-scale"


def test_rows_are_pixels_from_0_to_1() -> None:
    found = rows(np.array([[[0, 255], [51, 102]]], np.uint8))
    assert found.dtype == np.float32
    assert found.tolist() == [[0.0, 1.0, pytest.approx(0.2), pytest.approx(0.4)]]


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_every_model_learns(model: str, images: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = images
    estimator = build(model, grid(model)[0], 0, 1).fit(pixels[:1000], labels[:1000])
    found = probabilities(estimator, pixels[1000:])
    assert found.shape == (1000, 10)
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.mean(found.argmax(axis=1) == labels[1000:]) > 0.7
    assert details(model, estimator)


def test_a_forest_is_as_its_seed(images: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = images
    settings = grid("random_forest")[0]
    found = [
        probabilities(build("random_forest", settings, seed, threads).fit(pixels, labels), pixels)
        for seed, threads in ((1, 1), (1, 2), (2, 1))
    ]
    assert np.allclose(found[0], found[1])
    assert not np.allclose(found[0], found[2])


@pytest.mark.parametrize("model", MODEL_NAMES)
@pytest.mark.parametrize("known", [(1, 4, 7), (3, 8)])
def test_a_class_without_images_gets_nothing(
    model: str, known: tuple[int, ...], images: tuple[np.ndarray, np.ndarray]
) -> None:
    pixels, labels = images
    kept = np.isin(labels, known)
    estimator = build(model, grid(model)[0], 0, 1).fit(pixels[kept], labels[kept])
    found = probabilities(estimator, pixels[kept])
    others = [label for label in range(10) if label not in known]
    assert not found[:, others].any()
    assert np.mean(found.argmax(axis=1) == labels[kept]) > 0.9


def test_both_libraries_of_the_svm_agree(
    images: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearnex")
    pixels, labels = images
    found = {}
    for library in ("scikit-learn-intelex", "scikit-learn"):
        if library == "scikit-learn":  # as on a platform without a wheel
            monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert classical.svm_library() == library
        svm = build("svm", {"C": 10, "gamma": "scale"}, 0, 1).fit(pixels[:1000], labels[:1000])
        assert details("svm", svm)["library"] == library
        found[library] = probabilities(svm, pixels[1000:])
    one, other = found.values()
    assert np.mean(one.argmax(axis=1) == other.argmax(axis=1)) > 0.995
    assert np.allclose(one, other, atol=0.01)


def test_an_svm_of_more_images_is_expected_to_take_much_longer() -> None:
    settings = {"C": 10, "gamma": "scale"}
    assert expected_seconds("svm", settings, 60_000) > 8 * expected_seconds("svm", settings, 20_000)
