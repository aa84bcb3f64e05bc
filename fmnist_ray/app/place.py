"""Where the service is reached, and by whom."""

import socket
from dataclasses import dataclass, replace
from pathlib import Path

from fmnist_ray.app.guard import Access
from fmnist_ray.errors import RequestError

API_PREFIX = "/api"
_BACKLOG = 1024


@dataclass(frozen=True)
class Place:
    """Where the service is reached.

    Attributes:
        host: Interface that it listens on.
        port: Likewise.
        access: Who may come in.
    """

    host: str
    port: int
    access: Access

    @property
    def url(self) -> str:
        """For a browser on the same machine, without a slash at its end."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True)
class Setting:
    """What a gateway is started with, and what stays when its model is replaced.

    Attributes:
        place: Where it listens, and whom it lets in.
        results: Folder of the records that it shows.
        node: Address of the machine that has that folder.
    """

    place: Place
    results: Path
    node: str


def check_free(place: Place) -> Place:
    """The place, with a port at which nobody listens yet.

    Raises:
        RequestError: The host is no interface of this machine, or the port is taken.
    """
    try:
        with listen(place) as probe:
            return replace(place, port=int(probe.getsockname()[1]))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(
            f"The service cannot listen on --host {place.host} --port {place.port}: {reason}. "
            "Choose another --port, or a --host of this machine."
        ) from None


def listen(place: Place) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: It cannot.
    """
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    return socket.create_server((place.host, place.port), family=family, backlog=_BACKLOG)
