"""The web app and the REST service, on Ray Serve: `python -m fmnist_ray.serve results/NAME`."""

import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fmnist_ray.console import (
    JsonOption,
    QuietOption,
    ResultsOption,
    command,
    messages,
    print_summary,
    verb_app,
)
from fmnist_ray.errors import RequestError

if TYPE_CHECKING:
    from fmnist_ray.app.bundle import ModelBundle
    from fmnist_ray.app.place import Place

app = verb_app("The web app and the REST service.")
VERB = "serve"
_HOST, _PORT = "127.0.0.1", 8000
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")


def serve(
    record: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECORD]",
            help="Whose model answers: results/NAME, or results/NAME/units/ID.  [default: the "
            "newest record with a model, else the CNN that comes with the package]",
        ),
    ] = None,
    results: ResultsOption = "results",
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Interface to listen on; 0.0.0.0 for all. Any but this machine's own asks for a "
            "token.  [default: 127.0.0.1]",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="0 takes one that is free.  [default: 8000]"),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="FMNIST_TOKEN",
            metavar="TOKEN",
            help="That whoever uses the service has to show.  [default: none on this machine, "
            "else made up and printed]",
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas", metavar="N", min=1, help="Processes with the model.  [default: 1]"
        ),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            "--gpus",
            metavar="N",
            min=0,
            help="GPUs of each of them; 0.25 lets four share one.  [default: a share of one if "
            "there is one]",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="ADDRESS",
            help="`local` starts Ray here and serves until Ctrl-C. `auto` or HOST:PORT puts the "
            "service onto a cluster, where it stays; where it is already, its model is replaced "
            "without losing a request.  [default: $RAY_ADDRESS, else local]",
        ),
    ] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Takes the service off the cluster at --address.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any] | None:
    """Label images in a browser and over REST, and look at experiments.

    Where Ray is started here, it serves until Ctrl-C, and prints where as soon as it answers.

    Returns:
        `url`, `api`, `token`, `record`, `model` and `cluster`, Ray's address; None if it served
        until it was stopped.

    Raises:
        RequestError: There is no such model, the port is taken, or it cannot fit.
        WorkError: The service could not be started, or ended by itself.
    """
    from fmnist_ray.app import service
    from fmnist_ray.app.bundle import newest_with_model, read_bundle
    from fmnist_ray.app.place import check_free
    from fmnist_ray.dispatch.node_checks import check_nodes
    from fmnist_ray.dispatch.run_name import RunName
    from fmnist_ray.dispatch.session import cluster_nodes, is_local, ray_session, started_here

    if stop:
        with ray_session(address):
            setting = service.running()
            if setting is None:
                raise RequestError(
                    "There is no service on that cluster. One that `serve` started on this machine "
                    "is stopped with Ctrl-C."
                )
            service.take_off()
        return {"stopped": setting.place.url}
    bundle = read_bundle(record if record is not None else newest_with_model(Path(results)))
    if token is not None and not _TOKEN.fullmatch(token):
        raise RequestError(
            "--token must be 8 to 200 letters, digits, '.', '_', '~' or '-', such as "
            f"{secrets.token_urlsafe(16)}."
        )
    console = None if quiet else messages()
    if console is not None:
        console.print(f"serving {bundle.name}: {bundle.facts['model']}", markup=False)
    begun = time.monotonic()
    place = _place(host, port, token)
    local = is_local(address)
    if local:
        place = check_free(place)  # before Ray takes its seconds to start
    with ray_session(address, RunName(VERB, bundle.name, str(bundle.facts["model"]))):
        nodes = cluster_nodes()
        if not started_here():
            check_nodes(nodes)
        running = service.running()
        if running is not None:
            _check_stays(running.place, host, port, token)
            size = service.plan(nodes, replicas or service.replicas_running(), gpus)
            service.roll_out(bundle, size, running)
            return _summary(bundle, running.place)
        size = service.plan(nodes, replicas, gpus)
        place = place if local else check_free(place)
        with service.off_if_it_fails(always=started_here()):
            service.deploy(bundle, size, place, Path(results))
            if console is not None:
                console.print(f"ready after {time.monotonic() - begun:.1f} s", markup=False)
            summary = _summary(bundle, place)
            if not started_here():
                return summary
            print_summary(summary if as_json else _shown(summary), as_json)
            if console is not None:
                console.print(
                    "Ctrl-C stops it. Another model in its place, in another terminal:\n"
                    f"fmnist serve results/NAME --address {summary['cluster']}",
                    markup=False,
                )
            service.watch(place)
    return None


def _place(host: str | None, port: int | None, token: str | None) -> "Place":
    from fmnist_ray.app.guard import LOOPBACK_NAMES, Access
    from fmnist_ray.app.place import Place

    host = _HOST if host is None else host
    if token is None and host not in LOOPBACK_NAMES:
        token = secrets.token_urlsafe(16)
    return Place(host, _PORT if port is None else port, Access(token, host))


def _check_stays(place: "Place", host: str | None, port: int | None, token: str | None) -> None:
    """Refuses to move a service that runs already: only its model is replaced."""
    wishes = {"--host": (host, place.host), "--port": (port, place.port)}
    wishes["--token"] = (token, place.access.token)
    for option, (wish, there) in wishes.items():
        if wish is not None and wish != there:
            raise RequestError(
                f"The service on that cluster listens at {place.url}, and {option} cannot be "
                "changed while it runs. Leave it out to replace the model, or stop the service "
                "first with --stop."
            )


def _summary(bundle: "ModelBundle", place: "Place") -> dict[str, Any]:
    import ray

    token = place.access.token
    return {
        "url": place.url + (f"/?token={token}" if token else "/"),
        "api": f"{place.url}/api/predict",
        "token": token,
        "record": bundle.name,
        "model": bundle.facts["model"],
        "cluster": ray.get_runtime_context().gcs_address,
    }


def _shown(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What people read."""
    return (
        {
            "web app": summary["url"],
            "REST": f"{summary['api']} (how: {summary['api'].removesuffix('predict')}docs)",
            "token": summary["token"],
            "model": f"{summary['record']}: {summary['model']}",
        }
        if "url" in summary
        else dict(summary)
    )


app.command()(command(serve, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()
