"""How many units may run while nodes come and go."""

from fmnist_ray.dispatch.plan import GIB, Demand, Node, plan
from fmnist_ray.dispatch.room import Follow, Room


def _node(number: int, cpus: float = 2) -> Node:
    return Node(cpus, memory=64 * GIB, address=f"10.0.0.{number}", id=f"{number:056x}")


class _Cluster:
    """Nodes and a clock that a test sets, and what a person was told."""

    def __init__(self, *nodes: Node, at_most: int | None = None) -> None:
        self.nodes, self.time = list(nodes), 0.0
        self.said: list[str] = []
        demand = Demand(memory=GIB)
        self.follow = Follow(
            nodes,
            lambda: list(self.nodes),
            demand,
            at_most,
            None,
            self.said.append,
            lambda: self.time,
        )

    def slots_after(self, seconds: float) -> int:
        self.time += seconds
        return self.follow.slots()


def test_a_node_that_is_gone_takes_its_slots_along_and_is_named() -> None:
    cluster = _Cluster(_node(1), _node(2), _node(3))
    assert cluster.slots_after(0) == 6
    del cluster.nodes[1]
    assert cluster.slots_after(1) == 6, "it does not ask Ray at every call"
    assert cluster.slots_after(5) == 4
    assert cluster.said == ["node 10.0.0.2 is gone: room for 4 at a time now"]


def test_a_number_that_a_person_gave_is_never_passed() -> None:
    cluster = _Cluster(_node(1), _node(2), at_most=3)
    assert cluster.slots_after(0) == 3
    del cluster.nodes[1]
    assert cluster.slots_after(5) == 2


def test_a_node_that_was_not_asked_yet_gets_nothing() -> None:
    cluster = _Cluster(_node(1), _node(2))
    assert cluster.follow.strange() == []
    cluster.nodes.append(_node(3))
    assert cluster.follow.strange() == [_node(3).id]
    assert Room(4, cluster.follow).selector == {"ray.io/node-id": f"!in({_node(3).id})"}


def test_without_room_the_person_is_told_now_and_then() -> None:
    cluster = _Cluster(_node(1, cpus=0), _node(2))
    del cluster.nodes[1]
    assert cluster.slots_after(5) == 0
    assert cluster.slots_after(20) == 0
    assert not any("waiting" in line for line in cluster.said)
    cluster.slots_after(20)
    assert "none of the 1 nodes left has room for one fit (1 CPU, 1.0 GiB)" in cluster.said[-1]
    told = len(cluster.said)
    cluster.slots_after(10)
    assert len(cluster.said) == told
    cluster.slots_after(25)
    assert len(cluster.said) == told + 1


def test_the_room_of_a_plan_without_a_cluster_that_changes_stays() -> None:
    room = Room(plan(5, [_node(1)], Demand()).slots)
    assert (room.look(), room.most, room.selector) == (2, 2, {})
    assert room.has_place(1)
    assert not room.has_place(2)
