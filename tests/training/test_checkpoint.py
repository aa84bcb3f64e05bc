import numpy as np
import pytest

from fmnist_ray.training.checkpoint import Checkpoint, DamagedCheckpoint, lowest_loss_epoch


def _checkpoint() -> Checkpoint:
    return Checkpoint(
        config={"model": "dnn", "early_stopping": None},
        seed=7,
        history=[{"epoch": 1, "train_loss": 0.5}],
        weights={"a.weight": np.arange(6.0).reshape(2, 3)},
        optimizer={"0/step": np.array(3.0, np.float32), "0/exp_avg": np.ones((2, 3))},
        best_weights={"a.weight": np.zeros((2, 3))},
        probability=np.full((2, 10), 0.1, np.float32),
    )


def test_what_is_written_is_read_again() -> None:
    before, after = _checkpoint(), Checkpoint.from_bytes(_checkpoint().to_bytes())
    assert (after.config, after.seed, after.history) == (before.config, 7, before.history)
    assert after.epoch == 1
    for part in ("weights", "optimizer", "best_weights"):
        assert getattr(before, part).keys() == getattr(after, part).keys()
        for name, value in getattr(before, part).items():
            assert np.array_equal(value, getattr(after, part)[name])
    assert np.array_equal(before.probability, after.probability)


def test_every_cut_is_noticed() -> None:
    content = _checkpoint().to_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1]:
        with pytest.raises(DamagedCheckpoint):
            Checkpoint.from_bytes(content[:length])


def test_another_kind_of_safetensors_file_is_no_checkpoint() -> None:
    from safetensors.numpy import save

    with pytest.raises(DamagedCheckpoint):
        Checkpoint.from_bytes(save({"weights/a": np.zeros(1)}))


def test_lowest_loss_takes_the_first_of_equals() -> None:
    losses = [0.9, 0.4, 0.6, 0.4]
    assert lowest_loss_epoch([{"validation_loss": loss} for loss in losses]) == 1
