"""The files in cluster/: what Ray, KubeRay, the shell and our own verbs say of them."""

import copy
import importlib
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

ROOT = Path(__file__).parents[2]
FILES = ROOT / "cluster"
LAUNCHERS = ["local.yaml", "aws-gpu.yaml", "gcp-gpu.yaml"]
KUBERAY = ["kuberay-rayjob.yaml", "kuberay-raycluster.yaml"]
WITH_COMMANDS = [KUBERAY[0], "slurm.sh", "with_workers.py", "README.md", "../README.md"]
SHARED = "/mnt/fmnist"
USAGE_ERROR = typer.BadParameter.__mro__[1]  # of the click that typer brings along


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((FILES / name).read_text())
    return config


def check_launcher(config: dict[str, Any]) -> None:
    """What `ray up` checks before it asks for a machine."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def check_kuberay(config: dict[str, Any]) -> None:
    schema = yaml.safe_load((Path(__file__).parent / "kuberay-fields.yaml").read_text())
    jsonschema.validate(config, schema)


def cluster_spec(config: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = config["spec"]
    return spec.get("rayClusterSpec", spec)


def pods(config: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster_spec(config)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def our_commands(text: str) -> list[list[str]]:
    """Every command line of ours in a text: the verb and its arguments."""
    text = re.sub(r"\\\n", " ", text)
    found = re.findall(
        r"(?:python -m fmnist_ray\.|(?<![/\w-])fmnist )([a-z_]+)((?: [^\n;&|'`#]*)?)", text
    )
    return [[verb, *shlex.split(arguments)] for verb, arguments in found]


def check_command(verb: str, *arguments: str) -> None:
    """Parses a command line as the verb itself does, and runs nothing."""
    kept = [each for each in arguments if each not in ("...", "$@")]
    command = typer.main.get_command(importlib.import_module(f"fmnist_ray.{verb}").app)
    with command.make_context(verb, kept):
        pass
    for space in re.findall(r"search_spaces/[\w.-]+", " ".join(kept)):
        assert (ROOT / space).is_file(), space


@pytest.mark.parametrize("name", LAUNCHERS)
def test_ray_accepts_the_launcher_files(name: str) -> None:
    check_launcher(load(name))


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("idle_timeout_minute", to=10),
        _set("max_workers", to="4"),
        _set("head_node_type", to="haed"),
        _set("available_node_types", "gpu_worker", "min_workers", to=9),
        _set("available_node_types", "gpu_worker", "resource", to={"GPU": 1}),
        _set("setup_commands", to=[1]),
        _set("provider", to={"region": "us-west-2"}),
    ],
)
def test_ray_refuses_a_broken_launcher_file(change: Callable[[dict[str, Any]], None]) -> None:
    config = load("aws-gpu.yaml")
    change(config)
    with pytest.raises((ValueError, KeyError, NotImplementedError, jsonschema.ValidationError)):
        check_launcher(config)


@pytest.mark.parametrize("name", KUBERAY)
def test_the_kubernetes_files_use_fields_of_kuberay(name: str) -> None:
    check_kuberay(load(name))


@pytest.mark.parametrize(
    "change",
    [
        _set("spec", "backofflimit", to=1),
        _set("spec", "activeDeadlineSeconds", to="6h"),
        _set("spec", "rayClusterSpec", "authOptions", "mode", to="tokens"),
        _set("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", to={"num-cpus": 0}),
        _set("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas", to="2"),
        _set("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", to={}),
    ],
)
def test_a_broken_kubernetes_file_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    config = load("kuberay-rayjob.yaml")
    change(config)
    with pytest.raises(jsonschema.ValidationError):
        check_kuberay(config)


def test_ray_and_python_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ray = next(each for each in project["dependencies"] if each.startswith("ray["))
    release = re.fullmatch(r"ray\[.*\]==(\d+\.\d+)\.\*", ray)
    oldest = re.fullmatch(r">=3\.(\d+)", project["requires-python"])
    assert release
    assert oldest
    dockerfile = (FILES / "Dockerfile").read_text()
    base = re.search(r"^FROM rayproject/ray:(\d+\.\d+)\.(\d+)-py3(\d+)-gpu$", dockerfile, re.M)
    assert base
    assert base[1] == release[1]
    assert int(base[3]) >= int(oldest[1])
    tag = f"fmnist-ray:{base[1]}.{base[2]}-py3{base[3]}"
    assert tag in dockerfile  # the command that builds it
    for name in KUBERAY:
        config = load(name)
        assert cluster_spec(config)["rayVersion"] == f"{base[1]}.{base[2]}"
        for pod in pods(config):
            assert pod["containers"][0]["image"] == f"REPLACE_REGISTRY/{tag}"
    for name in LAUNCHERS:
        assert f"sys.version_info < (3, {oldest[1]})" in (FILES / name).read_text()


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_mount_the_claim_and_know_the_token(name: str) -> None:
    config, claim = load(name), load("kuberay-results.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for pod in pods(config):
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert mount == {"name": volume["name"], "mountPath": SHARED}
        resources = pod["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
    secret = cluster_spec(config)["authOptions"]["secretName"]
    assert f"create secret generic {secret} --from-literal=auth_token=" in (
        FILES / "README.md"
    ).read_text().replace("\\\n  ", "")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_head_and_workers_of_a_launcher_file_agree(name: str) -> None:
    config = load(name)
    head = "\n".join(config["head_start_ray_commands"])
    worker = "\n".join(config["worker_start_ray_commands"])
    port = re.search(r"--port=(\d+)", head)
    assert port
    assert f"--address=$RAY_HEAD_IP:{port[1]}" in worker
    for commands in (head, worker):
        assert "RAY_AUTH_MODE=token" in commands
    assert "--dashboard-host=127.0.0.1" in head
    # The token reaches all nodes and stays its owner's; what is mounted is there to be mounted.
    assert config["file_mounts"].pop("~/.ray/auth_token") == "~/.ray/auth_token"
    assert any("chmod 600 ~/.ray/auth_token" in each for each in config["setup_commands"])
    for target, source in config["file_mounts"].items():
        assert target == f"~/fmnist_ray/{source}"
        assert (ROOT / source).exists()
    # A folder that only looks shared is found when a node is set up.
    assert any(f"test -w {SHARED}" in each for each in config["setup_commands"])


@pytest.mark.parametrize("name", ["aws-gpu.yaml", "gcp-gpu.yaml"])
def test_what_a_cloud_costs_has_a_limit(name: str) -> None:
    config = load(name)
    types = config["available_node_types"]
    assert config["max_workers"] == types["gpu_worker"]["max_workers"] <= 8
    assert types["gpu_worker"]["min_workers"] == 0
    assert 0 < config["idle_timeout_minutes"] <= 30
    assert types["head"]["resources"]["CPU"] == 0


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_shell_understands_every_command_of_a_launcher_file(name: str) -> None:
    config = load(name)
    lines = [each for key, value in config.items() if key.endswith("commands") for each in value]
    assert len(lines) > 8
    done = subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_shell_understands_the_slurm_script() -> None:
    script = str(FILES / "slurm.sh")
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_every_command_of_ours_is_understood_by_its_verb(name: str) -> None:
    job = name.endswith(".yaml")
    commands = our_commands(load(name)["spec"]["entrypoint"] if job else (FILES / name).read_text())
    assert commands
    for command in commands:
        check_command(*command)


@pytest.mark.parametrize(
    "line",
    [
        "python -m fmnist_ray.tune --trails 8",
        "fmnist tune --trials eight",
        "fmnist tuna --trials 8",
    ],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    (command,) = our_commands(f"run: `{line}`")
    with pytest.raises((USAGE_ERROR, ImportError)):
        check_command(*command)


@pytest.mark.parametrize("name", [*LAUNCHERS, *KUBERAY, "kuberay-results.yaml"])
def test_the_page_says_what_stands_for_what(name: str) -> None:
    page = (FILES / "README.md").read_text()
    assert f"`{name}`" in page
    for placeholder in set(re.findall(r"REPLACE_\w+", (FILES / name).read_text())):
        assert f"`{placeholder}`" in page, placeholder
