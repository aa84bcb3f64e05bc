"""Looks whether the nodes of a cluster can read files under the paths that they have here."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fmnist_ray.dispatch.plan import Node
from fmnist_ray.errors import RequestError


def check_readable(nodes: Sequence[Node], files: Iterable[Path]) -> None:
    """Refuses files that a node of several cannot read; one of each folder is looked at.

    Args:
        nodes: From `cluster_nodes`; all have the package, see `check_nodes`.
        files: That the nodes are to read.

    Raises:
        RequestError: It names the nodes, a file, and the remedy.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if len(nodes) < 2:
        return
    looked = {path.parent: path for path in (file.absolute() for file in files)}
    working = [node for node in nodes if node.cpus or node.gpus]
    ask = ray.remote(num_cpus=0)(_unreadable)
    answers: list[str | None] = ray.get(
        [
            ask.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
            ).remote(list(looked.values()))
            for node in working
        ]
    )
    lacking = {node.address: path for node, path in zip(working, answers, strict=True) if path}
    if lacking:
        raise RequestError(
            f"{next(iter(lacking.values()))} cannot be read on node {', '.join(lacking)}. Put the "
            "files and the record into a folder that all nodes share (NFS), or use --address local."
        )


def _unreadable(files: Sequence[Path]) -> str | None:
    """What runs on a node: the first of the files that cannot be read there."""
    for path in files:
        try:
            with path.open("rb"):
                continue
        except OSError:
            return str(path)
    return None
