"""How many units may run at once while the cluster grows and shrinks."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from fmnist_ray.dispatch.plan import Demand, Node, Plan, capacity

_LOOK_SECONDS = 3.0
_ANSWER_SECONDS = 60.0
_PATIENCE_SECONDS = 30.0


class Room:
    """Follows the nodes of the cluster, and says how many units may be under way now.

    A node that joins is asked first what `node_checks` asks: one that cannot do the work is named
    to the person, does not count and is given nothing.

    Attributes:
        most: Units that there was room for at once until now.

    Args:
        slots: Units at a time as they were planned.
        follow: Looks after the cluster; None for slots that stay as they are.
    """

    def __init__(self, slots: int, follow: "Follow | None" = None) -> None:
        self._slots, self.most = slots, slots
        self._follow = follow

    @classmethod
    def of(
        cls,
        places: Plan,
        at_most: int | None,
        place: str | None,
        say: Callable[[str], None],
    ) -> "Room":
        """The room of a plan on the connected cluster.

        Args:
            places: The plan, of nodes that were asked already, see `check_nodes`.
            at_most: What a person asked for; the slots never become more.
            place: Where the units write, see `node_checks`.
            say: Takes a line for people.
        """
        from fmnist_ray.dispatch.session import cluster_nodes, started_here

        if started_here() or places.limit == "what starting a process costs":
            return cls(places.slots)
        follow = Follow(places.nodes, cluster_nodes, places.demand, at_most, place, say)
        return cls(places.slots, follow)

    def has_place(self, under_way: int) -> bool:
        """Whether a further unit may start beside so many; if not, an autoscaler is told."""
        free = under_way < self.look()
        if self._follow is not None and not free:
            self._follow.wanted = True
        return free

    def look(self) -> int:
        """Units that may be under way; may be 0 for as long as no node has room."""
        if self._follow is not None:
            self._slots = self._follow.slots()
            self.most = max(self.most, self._slots)
        return self._slots

    def close(self) -> None:
        """Asks nodes and an autoscaler for nothing any more."""
        if self._follow is not None:
            self._follow.close()

    @property
    def selector(self) -> dict[str, str]:
        """Ray's label selector that keeps a unit from nodes that were not asked or cannot do it."""
        strange = self._follow.strange() if self._follow is not None else []
        return {"ray.io/node-id": f"!in({','.join(strange)})"} if strange else {}


class Follow:
    """Looks at the cluster every few seconds.

    Args:
        checked: Nodes that were asked already.
        nodes: Gives the living nodes.
        demand: Of a unit.
        at_most: Units at a time that a person asked for.
        place: As in `node_checks.NodeLook`.
        say: Takes a line for people.
        clock: Tells seconds.
    """

    def __init__(
        self,
        checked: Sequence[Node],
        nodes: Callable[[], list[Node]],
        demand: Demand,
        at_most: int | None,
        place: str | None,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes, self._demand, self._at_most = nodes, demand, at_most
        self._place, self._say, self._clock = place, say, clock
        self.wanted = False
        self._wrong: set[str] = set()
        self._wish: Any = None
        alive = {node.id for node in nodes()}
        self._known = {node.id: node for node in checked if node.id in alive}
        self._asked: dict[str, tuple[Node, Any, float]] = {}
        self._looked = -math.inf
        self._full_since: float | None = None
        self._slots = self._now()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher, and with it this, into a snapshot that we never read.
        return {}

    def strange(self) -> list[str]:
        """Ids of the nodes that are there, and not known to be able to do the work."""
        return sorted(node.id for node in self._nodes() if node.id not in self._known)

    def slots(self) -> int:
        """Units that there is room for now."""
        if self._clock() - self._looked >= _LOOK_SECONDS:
            self._looked = self._clock()
            self._look()
        return self._slots

    def _look(self) -> None:
        found = {node.id: node for node in self._nodes()}
        for gone in [self._known.pop(each) for each in self._known.keys() - found.keys()]:
            self._slots = self._now()
            self._say(f"node {gone.address} is gone: room for {self._slots} at a time now")
        self._wrong &= found.keys()
        for id_, node in found.items():
            if id_ not in self._known and id_ not in self._asked and id_ not in self._wrong:
                self._ask(node)
        for id_ in list(self._asked):
            if id_ not in found:
                self._forget(id_)
            else:
                self._answer(id_)
        if self.wanted and (self._at_most is None or self._slots < self._at_most):
            self._make_wish()
        else:
            self._withdraw()
        self.wanted = False
        self._complain()

    def _make_wish(self) -> None:
        """Has a task wait that takes as much as a unit, and does nothing.

        An autoscaler sees it and adds a node. It is gone when this process is, however that ends,
        and on a node that joins it does no harm, as a unit would before the node was asked.
        """
        import ray

        if self._wish is not None and not ray.wait([self._wish], timeout=0)[0]:
            return
        demand = self._demand
        task = ray.remote(num_cpus=demand.cpus, num_gpus=demand.gpus, max_retries=0)(_nothing())
        self._wish = task.options(name="room for one more").remote()

    def close(self) -> None:
        """Takes back what is asked of nodes and of an autoscaler."""
        self._withdraw()
        for id_ in list(self._asked):
            self._forget(id_)

    def _forget(self, id_: str) -> None:
        from fmnist_ray.dispatch.node_checks import NodeLook

        _, asked, _ = self._asked.pop(id_)
        NodeLook(self._place).forget(asked)

    def _withdraw(self) -> None:
        """Takes the wish for more room back."""
        import ray

        if self._wish is not None:
            # By the end of its process: an interrupt might come while that imports NumPy, say,
            # and the next task there, a unit, would find half of it.
            ray.cancel(self._wish, force=True)
            self._wish = None

    def _ask(self, node: Node) -> None:
        from fmnist_ray.dispatch.node_checks import NodeLook

        if node.cpus or node.gpus:
            self._asked[node.id] = (node, NodeLook(self._place).ask(node), self._clock())
        else:
            self._known[node.id] = node

    def _answer(self, id_: str) -> None:
        import ray

        from fmnist_ray.dispatch.node_checks import NodeLook, refusal

        node, asked, since = self._asked[id_]
        done, _ = ray.wait([asked[0]], timeout=0)
        if not done and self._clock() - since < _ANSWER_SECONDS:
            return
        del self._asked[id_]
        facts = NodeLook(self._place).read(node, asked)
        if facts.problem:
            self._wrong.add(id_)
            self._say(f"warning: a node that joined is not used. {refusal([facts])}")
            return
        self._known[id_] = node
        self._slots = self._now()
        self._say(f"node {node.address} joined: room for {self._slots} at a time now")

    def _now(self) -> int:
        slots, _ = capacity(list(self._known.values()), self._demand)
        return slots if self._at_most is None else min(slots, self._at_most)

    def _complain(self) -> None:
        """Says now and then that nothing can run, rather than to wait silently."""
        if self._slots:
            self._full_since = None
            return
        if self._full_since is None:
            self._full_since = self._clock()
        if self._clock() - self._full_since >= _PATIENCE_SECONDS:
            self._full_since = self._clock()
            each = f"{self._demand.cpus:g} CPU"
            if self._demand.gpus:
                each += f", {self._demand.gpus:g} GPU"
            self._say(
                f"waiting: none of the {len(self._known)} nodes left has room for one fit ({each}, "
                f"{self._demand.memory / 2**30:.1f} GiB). Add a node, or stop with Ctrl-C: what is "
                "done is kept."
            )


def _nothing() -> Callable[[], None]:
    """What the wish runs. Made here, so that it travels whole to nodes that lack the package."""

    def nothing() -> None:
        pass

    return nothing
