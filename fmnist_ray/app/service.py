"""Puts the service onto Ray Serve, takes it away again, and rolls out a new model."""

import logging
import math
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmnist_ray import __version__
from fmnist_ray.app.bundle import ModelBundle
from fmnist_ray.app.bundle_store import forget_bundles, keep_bundle
from fmnist_ray.app.place import API_PREFIX, Place, Setting
from fmnist_ray.dispatch.plan import Node
from fmnist_ray.dispatch.session import started_here
from fmnist_ray.errors import RequestError, WorkError
from fmnist_ray.signals import undisturbed

APP = "fmnist"
_CLASSIFIER = "Classifier"

# Together below one CPU, so that the smallest machine can serve.
_CLASSIFIER_CPUS = 0.5
_GATEWAY_CPUS = 0.35
_ONGOING_BATCHES = 4
_HEALTH_PERIOD_S = 2.0
_DRAIN_S = 10.0
_ANSWER_SECONDS = 60.0
_WATCH_SECONDS = 5.0
_MISSED = 12  # looks in a row, a minute in all
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Size:
    """How much of the cluster the model gets.

    Attributes:
        replicas: Processes with the model.
        gpus: Of each; fractions share one.
    """

    replicas: int
    gpus: float


def plan(nodes: Sequence[Node], replicas: int | None, gpus: float | None) -> Size:
    """What the model gets.

    Args:
        nodes: Of the cluster.
        replicas: Asked for; None for one.
        gpus: Of each; None for a share of those that there are, at most one.

    Raises:
        RequestError: It can never fit.
    """
    count = replicas or 1
    there = sum(node.gpus for node in nodes)
    each = gpus if gpus is not None else min(1.0, math.floor(100 * there / count) / 100)
    cpus = sum(node.cpus for node in nodes)
    needed = count * _CLASSIFIER_CPUS + _GATEWAY_CPUS
    if needed > cpus:
        most = int((cpus - _GATEWAY_CPUS) / _CLASSIFIER_CPUS)
        raise RequestError(
            f"--replicas {count} needs {needed:g} CPUs, {_CLASSIFIER_CPUS:g} each and "
            f"{_GATEWAY_CPUS:g} for the rest; there are {cpus:g}. Ask for at most {most}."
        )
    if count * each > there:
        raise RequestError(
            f"--replicas {count} with --gpus {each:g} needs {count * each:g} GPUs; there are "
            f"{there:g}. Ask for fewer."
        )
    return Size(count, each)


def running() -> Setting | None:
    """What the service was started with that the connected cluster has; None if it has none."""
    from ray import serve

    if APP not in serve.status().applications:
        return None
    gateway = serve.get_app_handle(APP)
    setting: Setting = gateway.setting.remote().result(timeout_s=_ANSWER_SECONDS)
    return setting


def replicas_running() -> int:
    """Processes with the model that the running service has."""
    from ray import serve

    found = serve.status().applications[APP].deployments[_CLASSIFIER].replica_states
    return max(1, int(sum(found.values())))


def deploy(bundle: ModelBundle, size: Size, place: Place, results: Path) -> None:
    """Puts the service onto the connected cluster, and waits for its first answer.

    Its pages run on this node, whose results folder they show.

    Raises:
        WorkError: It could not be started.
    """
    import ray
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        serve.start(proxy_location="Disabled", logging_config=_logging())
    setting = Setting(place, results.resolve(), ray.util.get_node_ip_address())
    _run(keep_bundle(bundle), size, setting)
    _await_answer(place)


def roll_out(bundle: ModelBundle, size: Size, setting: Setting) -> None:
    """Puts a model in the place of the one that the running service has.

    Its processes load the new model beside the old one, which answers until then: no request is
    lost, and none has to wait.

    Raises:
        RequestError: The model cannot be loaded; the old one stays.
    """
    bundle.load()  # what cannot be loaded here would end the processes that are to load it
    key = keep_bundle(bundle)
    _run(key, size, setting)
    forget_bundles(kept=key)


def _run(key: str, size: Size, setting: Setting) -> None:
    """Starts the service, or changes what runs already, with the model of a key."""
    from ray import serve

    from fmnist_ray.app.deployments import Classifier, Gateway

    common = {"health_check_period_s": _HEALTH_PERIOD_S, "graceful_shutdown_timeout_s": _DRAIN_S}
    classifier = serve.deployment(
        Classifier,
        name=_CLASSIFIER,
        num_replicas=size.replicas,
        ray_actor_options={"num_cpus": _CLASSIFIER_CPUS, "num_gpus": size.gpus},
        user_config={"model": key},
        max_ongoing_requests=_ONGOING_BATCHES,
        **common,
    )
    with_the_results = {f"node:{setting.node}": 0.001}
    gateway = serve.deployment(
        Gateway,
        name="Gateway",
        ray_actor_options={"num_cpus": _GATEWAY_CPUS, "resources": with_the_results},
        **common,
    )
    for deployment in (classifier, gateway):
        # The same code: what is there already is told of the new model, and not started anew.
        deployment._version = __version__
    application = gateway.bind(classifier.bind(), setting)
    try:
        serve.run(application, name=APP, route_prefix=None, logging_config=_logging())
    except RuntimeError as error:
        raise WorkError(f"The service could not be started: {str(error).strip()}") from error


def _logging() -> dict[str, Any]:
    return {"log_level": "WARNING", "enable_access_log": False}


def _await_answer(place: Place) -> None:
    begun = time.monotonic()
    while (trouble := _trouble(place)) is not None:
        if time.monotonic() - begun > _ANSWER_SECONDS:
            raise WorkError(f"The service does not answer at {place.url}: {trouble}.")
        time.sleep(0.1)


def _trouble(place: Place) -> str | None:
    """Why the service does not answer; None if it does."""
    request = urllib.request.Request(f"{place.url}{API_PREFIX}/health")
    if place.access.token is not None:
        request.add_header("Authorization", f"Bearer {place.access.token}")
    # Past a proxy that the environment may name: it knows nothing of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=_ANSWER_SECONDS).close()
    except (OSError, urllib.error.URLError) as error:
        return str(error)
    return None


def watch(place: Place) -> None:
    """Waits until Ctrl-C or SIGTERM.

    Raises:
        WorkError: The service ended by itself.
    """
    missed = 0
    try:
        while missed < _MISSED:
            time.sleep(_WATCH_SECONDS)
            trouble = _trouble(place)
            missed = missed + 1 if trouble else 0
            if missed == 1:
                _log.warning("warning: the service does not answer: %s", trouble)
    except KeyboardInterrupt:
        return
    raise WorkError(f"The service at {place.url} has not answered for a minute. Start it again.")


@contextmanager
def off_if_it_fails(always: bool) -> Iterator[None]:
    """Takes the service off again after an error, or in any case."""
    try:
        yield
    except BaseException:
        with undisturbed():
            take_off()
        raise
    if always:
        with undisturbed():
            take_off()


def take_off() -> None:
    """Takes the service off the connected cluster, and Ray Serve if nothing else is on it."""
    from ray import serve

    if APP in serve.status().applications:
        serve.delete(APP)
        forget_bundles()
    # A cluster of this process ends with it, and with it Ray Serve.
    if not started_here() and not serve.status().applications:
        serve.shutdown()
