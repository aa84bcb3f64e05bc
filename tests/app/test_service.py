"""The real service on Ray Serve: replicas killed, models rolled out, bad requests, its end."""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from fmnist_ray.app.bundle import newest_with_model, read_bundle
from fmnist_ray.app.service import plan
from fmnist_ray.dispatch.plan import Node
from fmnist_ray.errors import RequestError
from fmnist_ray.pretrained import PRETRAINED_FOLDER
from tests.app.conftest import TEST, Service, served
from tests.app.test_api import REFUSED, claiming, png
from tests.conftest import ROOT

pytestmark = pytest.mark.ray

IMAGE = png(TEST.images[0])


@dataclass
class Clients:
    """Clients that ask all the time, each over its own connection.

    Attributes:
        url: Of the service.
        answers: By status and model.
        errors: What was no answer.
    """

    url: str
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Clients":
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def wait(self, until: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, (self.answers, self.errors)
            time.sleep(0.1)

    def more(self, count: int) -> None:
        """Waits for so many more answers."""
        before = self.answers.total()
        self.wait(lambda: self.answers.total() >= before + count)

    def _ask(self) -> None:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        while not self._stop.is_set():
            try:
                headers = {"content-type": "image/png"}
                connection.request("POST", "/api/predict", IMAGE, headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                self.answers[(answer.status, content.get("model", content.get("error")))] += 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.errors.append(repr(error))
                connection.close()


def replicas(service: Service, name: str) -> list[psutil.Process]:
    return [
        each
        for each in psutil.Process(service.process.pid).children(recursive=True)
        if each.name().startswith("ray::ServeReplic") and name in " ".join(each.cmdline())
    ]


def replica(service: Service, name: str) -> psutil.Process:
    (found,) = replicas(service, name)
    return found


def test_a_replica_of_the_model_that_dies_costs_no_answer(service: Service) -> None:
    with Clients(service.url) as clients:
        clients.more(20)
        for _ in range(2):
            killed = replica(service, "Classifier")
            killed.kill()
            clients.more(20)
            clients.wait(lambda: _another(service, killed))  # noqa: B023
    assert set(clients.answers) == {(200, "pretrained")}, clients.answers
    assert not clients.errors


def _another(service: Service, killed: psutil.Process) -> bool:
    return [each.pid != killed.pid for each in replicas(service, "Classifier")] == [True]


def test_another_model_is_rolled_out_without_losing_a_request(
    service: Service, ensemble_folder: Path
) -> None:
    def roll_out(*wishes: str) -> None:
        command = [sys.executable, "-m", "fmnist_ray.serve", *wishes, "--address", service.cluster]
        options = ["--results", str(service.results), "--json", "--quiet"]
        done = subprocess.run(
            [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["api"] == f"{service.url}/api/predict"

    with Clients(service.url) as clients:
        clients.more(20)
        roll_out(str(ensemble_folder))
        clients.wait(lambda: clients.answers[(200, ensemble_folder.name)] > 20)
        roll_out(str(PRETRAINED_FOLDER), "--replicas", "2")
        clients.wait(lambda: len(replicas(service, "Classifier")) == 2)
        clients.wait(lambda: clients.answers[(200, "pretrained")] > 20)
        before = clients.answers[(200, ensemble_folder.name)]
        clients.more(20)
        assert clients.answers[(200, ensemble_folder.name)] == before
        roll_out(str(PRETRAINED_FOLDER), "--replicas", "1")
        clients.wait(lambda: len(replicas(service, "Classifier")) == 1)
    assert set(clients.answers) == {(200, "pretrained"), (200, ensemble_folder.name)}
    assert not clients.errors


def test_a_gateway_that_dies_is_started_again(service: Service) -> None:
    with Clients(service.url) as clients:
        clients.more(20)
        replica(service, "Gateway").kill()
        clients.wait(lambda: bool(clients.errors))
        clients.more(20)
    assert set(clients.answers) == {(200, "pretrained")}, clients.answers
    kinds = (
        "RemoteDisconnected",
        "ConnectionRefused",
        "ConnectionReset",
        "BrokenPipe",
        "IncompleteRead",
        "BadStatusLine",
    )
    assert all(any(kind in error for kind in kinds) for error in clients.errors), clients.errors


def test_bad_requests_leave_it_alive_and_its_memory_bounded(service: Service) -> None:
    place = urlsplit(service.url)

    def post(body: bytes, kind: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        try:
            connection.request("POST", "/api/predict", body, {"content-type": kind})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())["error"]
        finally:
            connection.close()

    gateway = replica(service, "Gateway")
    bodies = {
        "100 megapixels": claiming(10_000, 10_000),
        "little inside": claiming(8_000, 8_000),
        "text": b"this is no image",
    }
    before = gateway.memory_info().rss
    for name, body in bodies.items():
        status, message = post(body, "image/png")
        assert (status, bool(message)) == (422, True), name
    threads = [
        threading.Thread(target=lambda: sizes.append(post(bytes(50_000_000), "image/png")[0]))
        for _ in range(8)
    ]
    sizes: list[int] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sizes == [413] * 8
    status, message = post(json.dumps({"images": [0] * 10_000}).encode(), "application/json")
    assert (status, "more than 1,000" in message) == (413, True)
    assert replica(service, "Gateway").pid == gateway.pid
    assert gateway.memory_info().rss - before < 600e6
    with Clients(service.url) as clients:
        clients.more(5)
    assert set(clients.answers) == {(200, "pretrained")}
    assert len(REFUSED) > 30  # the others are refused alike, see test_api.py


@pytest.mark.slow
def test_with_a_token_only_who_shows_it_comes_in(tmp_path: Path) -> None:
    with served(tmp_path, "--token", "a-good-token") as running:
        place = urlsplit(running.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        found = {}
        for path in ("/api/model", "/experiments"):
            for given in ("", "Bearer wrong", "Bearer a-good-token"):
                connection.request("GET", path, headers={"authorization": given})
                answer = connection.getresponse()
                answer.read()
                found[(path, given)] = answer.status
    assert [found[(path, "Bearer a-good-token")] for path in ("/api/model", "/experiments")] == [
        200
    ] * 2
    assert set(found.values()) == {200, 401}
    assert list(found.values()).count(401) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["results/nothing"], "There is no record at results/nothing"),
        (["{tmp}"], "holds no model"),
        (["--host", "192.0.2.77"], "cannot listen on --host 192.0.2.77"),
        (["--token", "short"], "--token must be 8 to 200 letters"),
        (["--replicas", "0"], "--replicas"),
        (["--port", "99999"], "--port"),
        (["--stop", "--address", "127.0.0.1:9"], "Nothing answers at --address 127.0.0.1:9"),
    ],
)
def test_wrong_wishes_are_refused_in_a_sentence(
    tmp_path: Path, options: list[str], words: str
) -> None:
    given = [option.format(tmp=tmp_path) for option in options]
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_ray.serve", *given, "--results", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_runs_is_not_moved(service: Service) -> None:
    for wish in (["--port", "9"], ["--host", "0.0.0.0"], ["--token", "another-token"]):
        command = [sys.executable, "-m", "fmnist_ray.serve", str(PRETRAINED_FOLDER), *wish]
        done = subprocess.run(
            [*command, "--address", service.cluster],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert f"listens at {service.url}, and {wish[0]} cannot be" in done.stderr


def test_a_port_that_is_taken_is_named(service: Service, tmp_path: Path) -> None:
    port = str(urlsplit(service.url).port)
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_ray.serve", "--port", port, "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 2
    assert f"--port {port}: Address already in use" in " ".join(done.stderr.split())


def test_the_newest_record_with_a_model_answers(
    tmp_path: Path, ensemble_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    from fmnist_ray.records import Record

    assert newest_with_model(tmp_path) is None
    for name, started in (("old", "2026-01-01"), ("new", "2026-03-01"), ("empty", "2026-04-01")):
        record = Record.create(tmp_path, name, "train", "cnn")
        record.start("train", {}, 0, {})
        record.update(started=started)
        if name != "empty":
            for file in ensemble_folder.iterdir():
                shutil.copy(file, record.path)
    assert newest_with_model(tmp_path) == tmp_path / "new"
    shutil.copytree(tmp_path / "new", tmp_path / "damaged")
    (tmp_path / "damaged" / "run.json").write_text('{"started": "2026-0')
    with caplog.at_level("WARNING"):
        assert newest_with_model(tmp_path) == tmp_path / "new"
    assert f"{tmp_path / 'damaged'} is passed over" in caplog.text
    facts = read_bundle(tmp_path / "new").facts
    assert facts["name"] == "new"
    assert facts["members"] == ["member-0", "member-1", "member-2"]


def test_gpus_are_shared_by_the_replicas() -> None:
    nodes = [Node(8.0, 2.0, 2.0**40), Node(8.0, 0.0, 2.0**40)]
    assert plan(nodes, None, None).gpus == 1.0
    assert plan(nodes, 4, None).gpus == 0.5
    assert plan(nodes, 8, 0.25).gpus == 0.25
    assert plan([Node(1.0, 0.0, 2.0**40)], None, None).gpus == 0.0
    with pytest.raises(RequestError, match="at most 31"):
        plan(nodes, 40, None)
    with pytest.raises(RequestError, match="needs 3 GPUs; there are 2"):
        plan(nodes, 3, 1)
