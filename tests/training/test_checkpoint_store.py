from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.training.checkpoint import Checkpoint
from fmnist_ray.training.checkpoint_store import CheckpointStore
from fmnist_ray.training.config import FitConfig

CONFIG = FitConfig(model="dnn")


def _checkpoint(seed: int = 1) -> Checkpoint:
    return Checkpoint(CONFIG.model_dump(), seed, [{"epoch": 1}], {"w": np.ones(2)}, {})


@pytest.fixture(params=["folder", "uri"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    place = str(tmp_path / "kept")
    return CheckpointStore(place if request.param == "folder" else f"file://{place}")


def test_the_last_checkpoint_replaces_the_one_before(store: CheckpointStore) -> None:
    store.check()
    assert store.load("trial-000") is None
    store.save("trial-000", _checkpoint(1))
    store.save("trial-000", _checkpoint(2))
    found = store.load("trial-000")
    assert found is not None
    assert found.seed == 2
    store.remove("trial-000")
    assert store.load("trial-000") is None


def test_only_the_checkpoint_of_the_very_fit_is_used(store: CheckpointStore) -> None:
    store.save("fit", _checkpoint(seed=1))
    assert store.load_for("fit", CONFIG, 1) is not None
    assert store.load_for("fit", CONFIG, 2) is None
    assert store.load_for("fit", CONFIG.model_copy(update={"batch_size": 64}), 1) is None


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    store = CheckpointStore(str(tmp_path))
    store.save("fit", _checkpoint())
    path = tmp_path / "fit" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert store.load("fit") is None


@pytest.mark.parametrize("place", ["{file}/below", "nowhere://bucket/x"])
def test_a_place_that_cannot_be_written_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    place = place.format(file=tmp_path / "file")
    with pytest.raises(RequestError, match="--storage"):
        CheckpointStore(place).check()


def test_what_is_dropped_leaves_no_folder(store: CheckpointStore, tmp_path: Path) -> None:
    store.write("probe", b"content")
    assert store.read("probe") == b"content"
    store.drop("probe")
    store.drop("probe")
    assert store.read("probe") is None
    assert list((tmp_path / "kept").iterdir()) == []
