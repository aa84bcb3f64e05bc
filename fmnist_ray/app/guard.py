"""Who may talk to the service: those with the token, and browsers that mean this host."""

import hmac
import json
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "fmnist_token"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"SAMEORIGIN"),
]


@dataclass(frozen=True)
class Access:
    """Who may come in.

    Attributes:
        token: That is asked for; None asks for none.
        host: Interface that the service listens on. On this machine's own, browsers have to mean
            this machine by the name they use.
    """

    token: str | None
    host: str

    @property
    def names(self) -> frozenset[str]:
        """Names under which browsers may reach the service; none allows any."""
        return frozenset(LOOPBACK_NAMES if self.host in LOOPBACK_NAMES else ())


class Guard:
    """Lets requests through that may come in.

    A page elsewhere can have its own name lead to this machine (DNS rebinding), but cannot change
    the name that the browser sends: hence the look at names.

    Args:
        app: What is guarded.
        access: Who may.
        login: Path of a page that asks for the token, to which browsers are sent.
        api: Prefix of what answers with 401 instead.
    """

    def __init__(self, app: ASGIApp, access: Access, login: str, api: str) -> None:
        self._app, self._token, self._login, self._api = app, access.token, login, api
        self._hosts = access.names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        host = _host(headers.get(b"host", ""))
        if self._hosts and host not in self._hosts:
            await _answer(send, 403, f"The service is not known as {host!r}.")
            return
        if self._token is None:
            await self._app(scope, receive, _with_headers(send))
            return
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if given and self._right(given):
            await _keep(scope, send, given)
            return
        if self._open(scope) or self._right(_presented(headers)):
            await self._app(scope, receive, _with_headers(send))
            return
        wants_page = "text/html" in headers.get(b"accept", "")
        if wants_page and not str(scope["path"]).startswith(self._api):
            await _redirect(send, self._login)
            return
        await _answer(
            send,
            401,
            "The service asks for its token. Send the header `Authorization: Bearer TOKEN`, with "
            "what `serve` printed when it started.",
        )

    def _open(self, scope: Scope) -> bool:
        path = str(scope["path"])
        return path == self._login or path.startswith("/static/")

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self._token or "").encode())


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _presented(headers: dict[bytes, str]) -> str:
    kind, _, token = headers.get(b"authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    try:
        morsel = SimpleCookie(headers.get(b"cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


async def _keep(scope: Scope, send: Send, token: str) -> None:
    """Has the browser keep the token as a cookie, and takes it out of the address."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    query.pop("token")
    rest = urlencode(query, doseq=True)
    cookie = f"{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict"
    # One slash: with two it would be another host's address.
    where = "/" + str(scope["path"]).lstrip("/")
    await _redirect(send, where + (f"?{rest}" if rest else ""), cookie)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sending


async def _redirect(send: Send, where: str, cookie: str | None = None) -> None:
    headers = [(b"location", where.encode()), (b"cache-control", b"no-store")]
    if cookie is not None:
        headers.append((b"set-cookie", cookie.encode("latin-1")))
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
