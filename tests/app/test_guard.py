"""Who is let in: by token, by cookie, by the name that the browser uses."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from fmnist_ray.app.guard import COOKIE, Access, Guard

TOKEN = "a-good-token"


def _client(token: str | None, host: str = "0.0.0.0") -> TestClient:
    def page(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"inside {request.url.query}")

    app = Starlette(routes=[Route("/{path:path}", page)])
    guarded = Guard(app, Access(token, host), "/login", "/api")
    return TestClient(guarded, base_url="http://localhost:8000", follow_redirects=False)


def test_without_a_token_everyone_comes_in() -> None:
    assert _client(None).get("/").text == "inside "


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Bearer ", "Basic a-good-token", "é"])
def test_without_the_right_token_nobody_does(given: str) -> None:
    answer = _client(TOKEN).get("/x", headers={"authorization": given.encode()} if given else {})
    assert answer.status_code == 401
    assert "Authorization: Bearer TOKEN" in answer.json()["error"]


def test_the_token_is_taken_as_a_header_or_a_cookie() -> None:
    client = _client(TOKEN)
    assert client.get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/", headers={"cookie": f"other=1; {COOKIE}={TOKEN}"}).status_code == 200
    assert client.get("/", headers={"cookie": f"{COOKIE}=wrong"}).status_code == 401
    assert client.get("/", headers={"cookie": '"'}).status_code == 401


def test_a_link_with_the_token_becomes_a_cookie_and_leaves_the_address() -> None:
    answer = _client(TOKEN).get(f"/experiments?token={TOKEN}&x=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/experiments?x=1"
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}={TOKEN};")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert _client(TOKEN).get("/?token=wrong").status_code == 401


def test_that_link_leads_to_no_other_host() -> None:
    answer = _client(TOKEN).get(f"http://localhost:8000//evil.example/?token={TOKEN}")
    assert answer.headers["location"] == "/evil.example/"


def test_browsers_are_sent_to_the_page_that_asks_for_the_token() -> None:
    client = _client(TOKEN)
    answer = client.get("/experiments", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert client.get("/login").status_code == 200
    assert client.get("/static/app.css").status_code == 200
    assert client.get("/api/docs", headers={"accept": "text/html"}).status_code == 401


@pytest.mark.parametrize("name", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_on_this_machine_browsers_mean_it_by_its_names(name: str) -> None:
    client = _client(None, host="127.0.0.1")
    assert client.get("/", headers={"host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "[", "", "10.0.0.1"])
def test_other_names_are_refused_there(name: str) -> None:
    answer = _client(None, host="127.0.0.1").get("/", headers={"host": name})
    assert answer.status_code == 403
    assert "not known as" in answer.json()["error"]


def test_answers_say_that_they_are_not_to_be_guessed_at() -> None:
    headers = _client(None).get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
