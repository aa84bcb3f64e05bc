"""Classical models to compare networks with: what is tried of each, and the estimators.

| model | library | grid |
|---|---|---|
| `svm`, RBF kernel | scikit-learn-intelex (oneDAL), else scikit-learn (libsvm) | `C`, `gamma` |
| `random_forest` | scikit-learn | `bootstrap`, `min_samples_leaf` |
| `logistic_regression` | scikit-learn, lbfgs | `C` |

All see pixels / 255 in float32, one row of 784 per image.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_ray.models.layers import CLASSES

Settings = Mapping[str, float | int | str]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

MODEL_NAMES = ("svm", "random_forest", "logistic_regression")
GRIDS: dict[str, dict[str, Sequence[float | int | str]]] = {
    "svm": {"C": (5, 10, 20), "gamma": ("scale", 0.02)},
    "random_forest": {"bootstrap": (True, False), "min_samples_leaf": (1, 2)},
    "logistic_regression": {"C": (0.01, 0.1, 1)},
}
# Bytes that a fit on the full data takes at its height, shared memory apart.
PROCESS_MEMORY = {"svm": 2 * 2**30, "random_forest": 2 * 2**30, "logistic_regression": 2 * 2**30}
TREES = 200
LOGISTIC_STEPS = 300
_SVM_CACHE_MB = 1000
_LIBRARIES = {"sklearnex": "scikit-learn-intelex", "sklearn": "scikit-learn"}
# How settings read in a task's name, such as `svm-c10-gamma-scale`.
_SHORT = {"C": "c", "gamma": "gamma-", "bootstrap": "bootstrap-", "min_samples_leaf": "leaf"}


def grid(model: str) -> list[Settings]:
    """All settings of a model that are tried."""
    choices = GRIDS[model]
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def setting_name(model: str, settings: Settings) -> str:
    """A name of model and settings, such as `svm-c10-gamma-scale`."""
    return "-".join([model, *(f"{_SHORT[key]}{value}".lower() for key, value in settings.items())])


def expected_seconds(model: str, settings: Settings, images: int) -> float:
    """About how long a fit takes on one core, to share a bar among fits.

    Measured on an AMD EPYC of 2025 with 54,000 and 60,000 images; the SVM's by oneDAL.
    """
    thousands = images / 1000
    if model == "svm":
        return 0.017 * thousands**2
    if model == "random_forest":
        return thousands * (2.0 if settings.get("bootstrap", True) else 3.0)
    return 0.4 * thousands


def svm_library() -> str:
    """The package that fits the SVM here: scikit-learn-intelex, else scikit-learn."""
    return _LIBRARIES["sklearnex" if importlib.util.find_spec("sklearnex") else "sklearn"]


def build(model: str, settings: Settings, seed: int, threads: int) -> Any:
    """An estimator with scikit-learn's methods, not yet fitted.

    Args:
        model: One of `MODEL_NAMES`.
        settings: From `grid`.
        seed: Of what is random in it: only the forest.
        threads: That it may use; libsvm has one, logistic regression those of its BLAS.
    """
    if model == "svm":
        return _svm(settings, threads)
    if model == "random_forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(TREES, random_state=seed, n_jobs=threads, **settings)
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=LOGISTIC_STEPS, **settings)


def _svm(settings: Settings, threads: int) -> Any:
    if svm_library() == _LIBRARIES["sklearnex"]:
        from sklearnex.svm import SVC

        return SVC(cache_size=_SVM_CACHE_MB, n_jobs=threads, **settings)
    from sklearn.svm import SVC

    return SVC(cache_size=_SVM_CACHE_MB, **settings)


def rows(images: Bytes) -> Floats:
    """Images (n, 28, 28) as rows of pixels / 255, float32 (n, 784)."""
    return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)


def probabilities(estimator: Any, images: Floats) -> Floats:
    """What a fitted estimator says of each image.

    An SVM's are scores: a softmax of its one-vs-rest decision values. They keep the order of the
    classes but are not calibrated; Platt's probabilities would take five more fits.

    Args:
        estimator: From `build`, fitted.
        images: From `rows`, (m, 784).

    Returns:
        float32 (m, 10); a class that no training image has keeps 0.
    """
    from scipy.special import softmax

    if hasattr(estimator, "predict_proba"):
        known = estimator.predict_proba(images)
    else:
        values = estimator.decision_function(images)
        if values.ndim == 1:  # two classes have one boundary
            values = np.stack([-values, values], axis=1)
        known = softmax(values, axis=1)
    found = np.zeros((len(images), CLASSES), np.float32)
    found[:, estimator.classes_] = known
    return found


def details(model: str, estimator: Any) -> dict[str, Any]:
    """Figures of a fitted estimator's own, for the record."""
    if model == "svm":
        # scikit-learn-intelex's own class may have handed the fit on to scikit-learn.
        by_onedal = hasattr(estimator, "_onedal_estimator")
        library = _LIBRARIES["sklearnex" if by_onedal else "sklearn"]
        return {"library": library, "support_vectors": len(estimator.support_)}
    if model == "random_forest":
        leaves = [tree.get_n_leaves() for tree in estimator.estimators_]
        return {"trees": len(leaves), "leaves_mean": float(np.mean(leaves))}
    steps = int(np.max(estimator.n_iter_))
    return {"steps": steps, "converged": steps < LOGISTIC_STEPS}
