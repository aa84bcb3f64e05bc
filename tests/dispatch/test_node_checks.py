"""What nodes are asked; what several hosts answer is in `tests/cluster`."""

from pathlib import Path

import pytest

from fmnist_ray import __version__
from fmnist_ray.dispatch.node_checks import NodeLook, check_nodes, look_at_nodes, refusal
from fmnist_ray.dispatch.plan import Node
from fmnist_ray.dispatch.session import cluster_nodes
from fmnist_ray.errors import RequestError

pytestmark = pytest.mark.ray


def test_a_node_with_this_package_that_sees_the_place_is_fit(
    ray_cluster: None, tmp_path: Path
) -> None:
    (found,) = look_at_nodes(cluster_nodes(), str(tmp_path / "results"))
    assert found.problem == ""
    assert found.versions["fmnist_ray"] == __version__
    assert found.summary().endswith(": ok")
    assert list((tmp_path / "results").iterdir()) == []


def test_other_code_under_the_same_version_is_found(ray_cluster: None, tmp_path: Path) -> None:
    (node,) = cluster_nodes()
    look = NodeLook(str(tmp_path))
    look._here = {**look._here, "code": "of another checkout"}
    asked = look.ask(node)
    import ray

    ray.wait([asked[0]], timeout=60)
    found = look.read(node, asked)
    assert found.problem == "has other code of fmnist_ray"
    assert f"{__version__}, here {__version__}" in refusal([found])
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_is_not_there_does_not_answer(ray_cluster: None) -> None:
    (node,) = cluster_nodes()
    gone = Node(1, address="10.0.0.9", id="ab" * 28)
    with pytest.raises(RequestError, match=r"Node 10.0.0.9 does not answer.*ray status"):
        check_nodes([node, gone])


def test_a_place_that_cannot_be_written_from_here_is_refused(
    ray_cluster: None, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be written"):
        look_at_nodes(cluster_nodes(), str(tmp_path / "file"))


def test_a_single_node_is_asked_nothing() -> None:
    check_nodes([Node(1, address="10.0.0.9", id="ab" * 28)], "/nowhere")
