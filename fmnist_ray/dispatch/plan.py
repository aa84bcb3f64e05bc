"""How many units run at once: arithmetic over the cluster's resources, and no Ray."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from fmnist_ray.errors import RequestError

_TOLERANCE = 1e-6
GIB = 2**30


@dataclass(frozen=True)
class Node:
    """What one machine of the cluster offers.

    Attributes:
        cpus: CPUs.
        gpus: GPUs.
        memory: Bytes that Ray gives to processes.
        address: Of the machine, such as `10.0.0.2`.
        id: Ray's.
    """

    cpus: float
    gpus: float = 0.0
    memory: float = math.inf
    address: str = ""
    id: str = ""


@dataclass(frozen=True)
class Demand:
    """What one unit takes while it runs.

    Attributes:
        cpus: CPUs of each process.
        gpus: GPUs of each process; below 1, processes share a GPU.
        memory: Bytes of each process.
        processes: Processes of the unit; they may be on several nodes.
        overhead_memory: Bytes of the unit's own besides, on one node.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0
    processes: int = 1
    overhead_memory: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What runs at once, and why not more.

    Attributes:
        units: Units in all.
        slots: Units that run at once.
        waves: Rounds that takes if all units take the same time.
        limit: What keeps the slots from being more: `CPU`, `GPU`, `memory`, `units` or `request`.
        demand: What each unit takes.
        nodes: The machines that it was planned for.
    """

    units: int
    slots: int
    waves: int
    limit: str
    demand: Demand
    nodes: tuple[Node, ...] = field(default=(), repr=False, compare=False)

    def describe(self, what: str) -> str:
        """One line for people, such as `24 trials, 2 at a time (limited by CPU), 1 CPU each`."""
        demand = self.demand
        each = [f"{demand.cpus * demand.processes:g} CPU"]
        if demand.gpus:
            each.append(f"{demand.gpus * demand.processes:g} GPU")
        total = demand.memory * demand.processes + demand.overhead_memory
        if total:
            each.append(f"{total / GIB:.1f} GiB")
        workers = f" in {demand.processes} workers" if demand.processes > 1 else ""
        return (
            f"{self.units} {what}, {self.slots} at a time (limited by {self.limit}), "
            f"{', '.join(each)} each{workers}"
        )


def plan(units: int, nodes: Sequence[Node], demand: Demand, at_most: int | None = None) -> Plan:
    """Plans how many units run at once.

    Args:
        units: Number of units, at least 1.
        nodes: The machines.
        demand: What each unit takes.
        at_most: Upper limit that a person asked for.

    Raises:
        RequestError: Not even one unit could ever run, or the limit is below 1.
    """
    if at_most is not None and at_most < 1:
        raise RequestError(f"{at_most} at a time is not possible: ask for at least 1, or `auto`.")
    slots, limit = capacity(nodes, demand)
    if slots == 0:
        raise RequestError(_never(nodes, demand, limit))
    if at_most is not None and at_most < slots:
        slots, limit = at_most, "request"
    if units <= slots:
        slots, limit = units, "units"
    return Plan(units, slots, math.ceil(units / slots), limit, demand, tuple(nodes))


def capacity(nodes: Sequence[Node], demand: Demand) -> tuple[int, str]:
    """Units that fit at once, and the resource that is used up first."""
    by_resource = {
        "CPU": sum(_times(node.cpus, demand.cpus) for node in nodes),
        "GPU": sum(_gpu_shares(node.gpus, demand.gpus) for node in nodes),
        "memory": sum(_times(node.memory, demand.memory) for node in nodes),
    }
    limit = min(by_resource, key=lambda name: by_resource[name])
    slots = sum(_processes(node, demand) for node in nodes) // demand.processes
    # A unit's own memory comes out of what its processes leave over; taking it from every
    # process's share keeps the arithmetic simple and errs on the safe side.
    if demand.overhead_memory:
        total = sum(node.memory for node in nodes)
        each = demand.memory * demand.processes + demand.overhead_memory
        if _times(total, each) < slots:
            slots, limit = int(_times(total, each)), "memory"
    return int(slots), limit


def _processes(node: Node, demand: Demand) -> int:
    return int(
        min(
            _times(node.cpus, demand.cpus),
            _gpu_shares(node.gpus, demand.gpus),
            _times(node.memory, demand.memory),
        )
    )


def _times(have: float, each: float) -> float:
    if each <= 0 or math.isinf(have):
        return 1e9
    return math.floor(have / each + _TOLERANCE)


def _gpu_shares(have: float, each: float) -> float:
    """Processes that fit: a share of a GPU cannot be spread over two of them."""
    if 0 < each < 1:
        return math.floor(have + _TOLERANCE) * math.floor(1 / each + _TOLERANCE)
    return _times(have, each)


def _never(nodes: Sequence[Node], demand: Demand, limit: str) -> str:
    field = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}[limit]
    wanted = getattr(demand, field)
    largest = max((getattr(node, field) for node in nodes), default=0)
    total = sum(getattr(node, field) for node in nodes)
    if limit == "memory":
        wanted_text = f"{(wanted + demand.overhead_memory) / GIB:.1f} GiB of memory"
        has = f"{largest / GIB:.1f} GiB"
    else:
        wanted_text, has = f"{wanted:g} {limit}", f"{largest:g} {limit}"
    processes = f" in each of {demand.processes} workers" if demand.processes > 1 else ""
    unit = "GiB of memory" if limit == "memory" else limit
    all_nodes = total / GIB if limit == "memory" else total
    return (
        f"A request for {wanted_text}{processes} can never be met: the largest node has {has}, "
        f"the cluster {all_nodes:g} {unit} on {len(nodes)} node(s). Ask for less, or for a "
        "larger cluster."
    )
