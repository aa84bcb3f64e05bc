import math

import numpy as np
import pytest

from fmnist_ray.dispatch.plan import GIB, Demand, Node, Plan, plan
from fmnist_ray.errors import RequestError


def _random_setting(seed: int) -> tuple[int, list[Node], Demand]:
    random = np.random.default_rng(seed)
    nodes = [
        Node(
            cpus=int(random.integers(1, 33)),
            gpus=int(random.integers(0, 5)),
            memory=float(random.integers(2, 65)) * GIB,
        )
        for _ in range(random.integers(1, 6))
    ]
    demand = Demand(
        cpus=float(random.choice([0.5, 1, 2, 4])),
        gpus=float(random.choice([0, 0, 0.25, 0.5, 1])),
        memory=float(random.choice([0, 0.5, 1.2])) * GIB,
        processes=int(random.choice([1, 1, 2, 3])),
        overhead_memory=float(random.choice([0, 1])) * GIB,
    )
    return int(random.integers(1, 100)), nodes, demand


def _fits(nodes: list[Node], demand: Demand, slots: int) -> bool:
    """Whether so many units can be placed, filling one node after another."""
    processes = 0
    for node in nodes:
        gpus = [1.0] * int(node.gpus)
        cpus, memory = node.cpus, node.memory
        while cpus >= demand.cpus and memory >= demand.memory * (1 - 1e-6):
            if demand.gpus:
                free = [at for at, share in enumerate(gpus) if share >= demand.gpus - 1e-9]
                if not free:
                    break
                gpus[free[0]] -= demand.gpus
            cpus, memory, processes = cpus - demand.cpus, memory - demand.memory, processes + 1
            if processes > 10_000:
                break
    return processes >= slots * demand.processes


@pytest.mark.parametrize("seed", range(200))
def test_invariants_hold_in_random_settings(seed: int) -> None:
    units, nodes, demand = _random_setting(seed)
    try:
        found = plan(units, nodes, demand)
    except RequestError:
        total = sum(node.memory for node in nodes)
        each = demand.memory * demand.processes + demand.overhead_memory
        assert not _fits(nodes, demand, 1) or each > total
        return
    assert 1 <= found.slots <= units
    assert _fits(nodes, demand, found.slots), "over capacity"
    assert found.waves == math.ceil(units / found.slots), "more waves than needed"
    total = sum(node.memory for node in nodes)
    each = demand.memory * demand.processes + demand.overhead_memory
    assert found.slots * each <= total * (1 + 1e-6)
    if found.limit != "units" and not demand.overhead_memory:
        assert not _fits(nodes, demand, found.slots + 1), "a slot left empty"


def test_the_limit_is_named() -> None:
    two = [Node(cpus=2, memory=20 * GIB)]
    assert plan(24, two, Demand(memory=GIB)) == Plan(24, 2, 12, "CPU", Demand(memory=GIB))
    assert plan(24, two, Demand(cpus=0.5, memory=15 * GIB)).limit == "memory"
    assert plan(1, two, Demand()).limit == "units"
    assert plan(24, two, Demand(), at_most=1).limit == "request"
    assert "2 at a time (limited by CPU)" in plan(24, two, Demand()).describe("trials")


@pytest.mark.parametrize(
    ("demand", "parts"),
    [
        (Demand(cpus=3), ["3 CPU", "2 CPU"]),
        (Demand(gpus=1), ["1 GPU", "0 GPU"]),
        (Demand(memory=9 * GIB), ["9.0 GiB", "8.0 GiB"]),
        (Demand(cpus=2, processes=3), ["2 CPU in each of 3 workers", "4 CPU on 2 node(s)"]),
    ],
)
def test_what_can_never_run_is_refused(demand: Demand, parts: list[str]) -> None:
    nodes = [Node(cpus=2, memory=8 * GIB), Node(cpus=2, memory=8 * GIB)]
    with pytest.raises(RequestError) as error:
        plan(4, nodes, demand)
    for part in parts:
        assert part in str(error.value)


def test_a_share_of_a_gpu_is_not_spread_over_two() -> None:
    node = [Node(cpus=16, gpus=2)]
    assert plan(99, node, Demand(gpus=0.6)).slots == 2
    assert plan(99, node, Demand(gpus=0.25)).slots == 8
    assert plan(99, node, Demand(gpus=1 / 3)).slots == 6


def test_fewer_than_one_at_a_time_is_refused() -> None:
    with pytest.raises(RequestError, match="0 at a time"):
        plan(4, [Node(cpus=2)], Demand(), at_most=0)
