import numpy as np
import pytest

from fmnist_ray.dispatch.plan import Node, plan
from fmnist_ray.dispatch.resources import fit_demand, fit_resources, worthwhile
from fmnist_ray.dispatch.units import FitUnit
from fmnist_ray.training.config import FitConfig
from fmnist_ray.training.ray_train import Resources


@pytest.mark.parametrize(
    ("workers", "cpus", "each"), [(0, None, 1), (0, 2, 2), (2, None, 1), (2, 4, 2), (3, 1.5, 0.5)]
)
def test_cpus_are_shared_by_the_workers(workers: int, cpus: float | None, each: float) -> None:
    resources = fit_resources([Node(cpus=8)], workers, cpus, None, "auto")
    assert resources.cpus == each
    assert resources.gpus == 0
    assert fit_demand(resources).processes == max(1, workers)


@pytest.mark.parametrize(
    ("node", "gpus", "share"),
    [
        (Node(cpus=16, gpus=1), None, 0.25),
        (Node(cpus=2, gpus=1), None, 0.5),
        (Node(cpus=1, gpus=1), None, 1.0),
        (Node(cpus=16, gpus=1), 0.0, 0.0),
        (Node(cpus=16, gpus=4), 1.0, 1.0),
    ],
)
def test_a_gpu_is_shared_as_far_as_cpus_go(node: Node, gpus: float | None, share: float) -> None:
    assert fit_resources([node], 0, None, gpus, "auto").gpus == share


def test_a_worker_group_counts_its_controller_and_the_waiting_trial() -> None:
    alone = fit_demand(fit_resources([Node(cpus=8)], 0, None, None, "auto"))
    group = fit_demand(fit_resources([Node(cpus=8)], 2, None, None, "auto"))
    assert alone.overhead_memory == 0
    assert group.overhead_memory > 0


@pytest.mark.parametrize(
    ("model", "images", "epochs", "count", "slots"),
    [
        ("dnn", 6_000, 1, 8, 1),
        ("dnn", 60_000, 12, 10, 4),
        ("cnn", 60_000, 12, 5, 4),
        ("cnn", 60_000, 1, 1, 2),
    ],
)
def test_short_units_share_a_process(
    model: str, images: int, epochs: int, count: int, slots: int
) -> None:
    config = FitConfig(model=model, epochs=epochs)
    units = [FitUnit(str(n), config, n, np.arange(images)) for n in range(count)]
    resources = Resources()
    places = plan(100, [Node(cpus=4)], fit_demand(resources))
    found = worthwhile(places, units, resources)
    assert found.slots == slots
    assert found.slots * found.waves >= 100 > found.slots * (found.waves - 1)
    assert (found.limit == "CPU") == (slots == 4)
    assert worthwhile(places, units, Resources(gpus=1)) == places
