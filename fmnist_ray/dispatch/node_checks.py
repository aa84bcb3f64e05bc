"""Looks whether every node of a cluster can do a run's work: its packages, and what it shares."""

import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fmnist_ray.dispatch.plan import GIB, Node
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.training.checkpoint_store import CheckpointStore

_ANSWER_SECONDS = 60.0
_NEEDED = ("torch", "torchvision", "numpy", "sklearn", "safetensors", "pydantic")

# What is wrong with a node, and what to do about it.
_REMEDIES = {
    "does not answer": "Look at `ray status` and at that machine, or take it out of the cluster.",
    "lacks fmnist_ray": "Install it there in the version of this machine, or send the code along: "
    "ray job submit --working-dir . -- python -m fmnist_ray.VERB ...",
    "has another Ray or Python": "Install the versions of this machine there.",
    "has other code of fmnist_ray": "Install the same version there, or send the code along: "
    "ray job submit --working-dir . -- python -m fmnist_ray.VERB ...",
    "lacks packages": "Install fmnist_ray there with everything that it requires.",
    "does not share": "Name a folder that all nodes share (NFS) with --results DIR, or where the "
    "verb has it, keep the checkpoints in a bucket with --storage s3://... or gs://...",
}


@dataclass(frozen=True)
class NodeFacts:
    """What was found on a node.

    Attributes:
        node: What it offers.
        versions: Of `ray`, `python` and `fmnist_ray`, those that are there.
        problem: What is wrong, a key of the remedies; empty if nothing is.
        detail: More of it for people, such as a version.
    """

    node: Node
    versions: dict[str, str]
    problem: str = ""
    detail: str = ""

    def summary(self) -> str:
        """One line for people: what the node offers, its versions, and `ok` or what is wrong."""
        node = self.node
        memory = "" if math.isinf(node.memory) else f", {node.memory / GIB:.1f} GiB"
        versions = "".join(f", {package} {number}" for package, number in self.versions.items())
        state = f"{self.problem} ({self.detail})" if self.detail else self.problem or "ok"
        return f"{node.address}: {node.cpus:g} CPU, {node.gpus:g} GPU{memory}{versions}: {state}"

    def describe(self) -> str:
        """One sentence on what is wrong, such as `node 10.0.0.2 lacks fmnist_ray`."""
        return f"node {self.node.address} {self.problem}" + (self.detail and f" ({self.detail})")


class NodeLook:
    """Asks nodes, one task on each, without waiting for the answers.

    Args:
        place: Where the run's checkpoints go, see `CheckpointStore`: each node has to read what
            is written there now, and to answer there; None if the nodes write nothing.
    """

    def __init__(self, place: str | None = None) -> None:
        self._place = place
        self._here = _asker()(None, "", b"", None)

    def ask(self, node: Node) -> Any:
        """Asks a node; the answer's reference goes to `read`."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        name, content = f"probe-{secrets.token_hex(8)}", secrets.token_bytes(16)
        if self._place is not None:
            CheckpointStore(self._place).write(name, content)
        ask = ray.remote(num_cpus=0, max_retries=0)(_asker()).options(
            name=f"look at {node.address}",
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        return ask.remote(self._place, name, content, self._here["code"]), name, content

    def read(self, node: Node, asked: Any) -> NodeFacts:
        """The answer of a node, which is there or will not come."""
        import ray

        reference, name, content = asked
        store = None if self._place is None else CheckpointStore(self._place)
        try:
            done, _ = ray.wait([reference], timeout=0)
            if not done:
                ray.cancel(reference, force=True)
                return NodeFacts(node, {}, "does not answer", f"within {_ANSWER_SECONDS:g} s")
            try:
                found = ray.get(reference)
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                return NodeFacts(node, {}, "does not answer", lines[0])
            problem, detail = self._judged(found)
            if not problem and store is not None and store.read(f"{name}-answer") != content[::-1]:
                problem, detail = "does not share", self._place or ""
            return NodeFacts(node, found["versions"], problem, detail)
        finally:
            self.forget(asked)

    def forget(self, asked: Any) -> None:
        """Removes what was written to ask a node."""
        if self._place is not None:
            _, name, _ = asked
            for each in (name, f"{name}-answer"):
                CheckpointStore(self._place).drop(each)

    def _judged(self, found: dict[str, Any]) -> tuple[str, str]:
        """What is wrong with a node's packages, and more of it."""
        here, there = self._here["versions"], found["versions"]
        for package in ("ray", "python"):
            if there[package] != here[package]:
                return "has another Ray or Python", (
                    f"{package} {there[package]}, here {here[package]}"
                )
        if "fmnist_ray" not in there:
            return "lacks fmnist_ray", ""
        if found["code"] != self._here["code"]:
            return "has other code of fmnist_ray", (
                f"{there['fmnist_ray']}, here {here['fmnist_ray']}"
            )
        if found["lacks"]:
            return "lacks packages", ", ".join(found["lacks"])
        if "cannot" in found:
            return "does not share", f"{self._place}: {found['cannot']}"
        return "", ""


def look_at_nodes(nodes: Sequence[Node], place: str | None = None) -> list[NodeFacts]:
    """Asks all nodes at once what they have.

    Args:
        nodes: From `cluster_nodes`.
        place: As in `NodeLook`.

    Raises:
        RequestError: The place cannot be written from here.
    """
    import ray

    look = NodeLook(place)
    with _writable(place):
        asked = [look.ask(node) for node in nodes]
    references = [each[0] for each in asked]
    ray.wait(references, num_returns=len(references), timeout=_ANSWER_SECONDS)
    return [look.read(node, each) for node, each in zip(nodes, asked, strict=True)]


def check_storage(storage: str | None) -> None:
    """Refuses a `--storage` that cannot hold checkpoints.

    Raises:
        RequestError: It cannot be written.
    """
    if storage is not None:
        CheckpointStore(storage).check()


def check_nodes(nodes: Sequence[Node], place: str | None = None) -> None:
    """Refuses a cluster of several nodes of which one cannot do the work.

    A single node is that of the driver, or the driver has its folders from it: nothing is asked.

    Args:
        nodes: From `cluster_nodes`.
        place: As in `NodeLook`.

    Raises:
        RequestError: It names the nodes, what is wrong and the remedies.
    """
    working = [node for node in nodes if node.cpus or node.gpus]
    if len(nodes) < 2:
        return
    wrong = [found for found in look_at_nodes(working, place) if found.problem]
    if wrong:
        raise RequestError(refusal(wrong))


def refusal(wrong: Sequence[NodeFacts]) -> str:
    """What is wrong with nodes, and what to do about it."""
    said = "; ".join(found.describe() for found in wrong)
    remedies = " ".join(_REMEDIES[problem] for problem in dict.fromkeys(f.problem for f in wrong))
    return f"{said[0].upper()}{said[1:]}. {remedies}"


@contextmanager
def _writable(place: str | None) -> Iterator[None]:
    try:
        yield
    except (WorkError, OSError, ValueError) as error:
        raise RequestError(
            f"{place} cannot be written: {error} Name another place with --results or --storage."
        ) from None


def _asker() -> Callable[[str | None, str, bytes, str | None], dict[str, Any]]:
    """What runs on a node. Made here, so that it travels whole to nodes that lack the package."""
    needed = _NEEDED

    def ask(place: str | None, name: str, content: bytes, expected: str | None) -> dict[str, Any]:
        import hashlib
        import platform
        from importlib.util import find_spec
        from pathlib import Path

        import ray

        found: dict[str, Any] = {
            "versions": {"ray": ray.__version__, "python": platform.python_version()},
            "code": "",
            "lacks": [each for each in needed if find_spec(each) is None],
        }
        try:
            import fmnist_ray

            found["versions"]["fmnist_ray"] = fmnist_ray.__version__
        except (ImportError, AttributeError):  # or a folder of that name with nothing in it
            return found
        digest = hashlib.sha256()
        folder = Path(fmnist_ray.__file__).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
        found["code"] = digest.hexdigest()
        if place is None or found["code"] != expected:
            return found
        from fmnist_ray.errors import WorkError
        from fmnist_ray.training.checkpoint_store import CheckpointStore

        store = CheckpointStore(place)
        try:
            if store.read(name) != content:
                found["cannot"] = "what this machine writes is not there"
            else:
                store.write(f"{name}-answer", content[::-1])
        except (WorkError, OSError, ValueError) as error:
            found["cannot"] = str(error)
        return found

    return ask
