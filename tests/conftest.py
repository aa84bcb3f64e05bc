"""Fixtures that more than one folder of tests uses."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fmnist_ray.dataset.sources import load_dataset
from fmnist_ray.training.contract import FitData

# Tests that start processes import the package from the checkout, installed or not.
ROOT = Path(__file__).parent.parent

# As many threads as fits have by default: whichever test uses TensorFlow first in this process
# decides that for all, and with others the same seed gives other bits.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell gives that to what it starts in the background, and it would be handed on to the
    # processes that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_data_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own $FMNIST_DATA and $RAY_ADDRESS must not change what is tested."""
    monkeypatch.delenv("FMNIST_DATA", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="session")
def small_data() -> FitData:
    """600 real images to train on and 200 to validate on, in memory that cannot be written."""
    split = load_dataset("sample").train
    images, labels = split.images[:800].copy(), split.labels[:800].copy()
    images.flags.writeable = labels.flags.writeable = False
    return FitData(images, labels, np.arange(600), np.arange(600, 800))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray on this machine, with two CPUs."""
    import logging

    import ray

    os.environ.pop("RAY_ADDRESS", None)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,  # frees what stopped nested trainers held
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield
    ray.shutdown()
