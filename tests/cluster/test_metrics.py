"""A search as people watch it: its names in Ray's dashboard, its figures in Prometheus."""

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from fmnist_ray.dispatch.metrics import SERIES

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
BOARD = json.loads((CLUSTER / "grafana" / "fmnist.json").read_text())
TOKEN = "0123456789abcdef" * 2
TRIALS, RUN = 4, "watched"
SERVICE_DISCOVERY = "/tmp/ray/prom_metrics_service_discovery.json"


@dataclass
class Watched:
    """A search that was watched from its start to its end.

    Attributes:
        record: Its folder.
        messages: What it told people.
        result: What it printed at the end.
        prometheus: Address of the Prometheus that collected its metrics.
        begun, ended: Seconds since 1970.
        jobs: What Ray's dashboard listed last.
        actors: What it called each actor, by ID.
        tasks: The names of tasks that it listed at any time.
        logs: What the processes on the cluster printed.
    """

    record: Path
    prometheus: str
    begun: float
    ended: float = 0.0
    messages: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    actors: dict[str, str] = field(default_factory=dict)
    tasks: set[str] = field(default_factory=set)
    logs: list[str] = field(default_factory=list)

    def series(self, expression: str) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """What the expression gives, second by second: tags, and (time, value) of each series."""
        asked = {"query": expression, "start": self.begun, "end": self.ended, "step": 1}
        query = urllib.parse.urlencode(asked)
        answer = _get(f"{self.prometheus}/api/v1/query_range?{query}")
        assert answer["status"] == "success", answer
        return [
            (each["metric"], [(at, float(value)) for at, value in each["values"]])
            for each in answer["data"]["result"]
        ]

    def history(self) -> dict[str, dict[int, dict[str, float]]]:
        """The rows of `history.csv` by unit and epoch."""
        rows: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
        with (self.record / "history.csv").open() as stream:
            for row in csv.DictReader(stream):
                unit = row.pop("unit")
                figures = {key: float(value) for key, value in row.items() if value}
                rows[unit][int(row["epoch"])] = figures
        return rows


def _get(url: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _note_dashboard(dashboard: str, watched: Watched) -> None:
    """Adds what the dashboard's tables list now; nothing while it starts or stops."""
    try:
        jobs = _get(f"{dashboard}/api/jobs/")
        tables = {
            what: _get(f"{dashboard}/api/v0/{what}?detail=1&limit=1000")["data"]["result"]["result"]
            for what in ("actors", "tasks")
        }
    except (OSError, ValueError):
        return
    watched.jobs = jobs
    watched.actors |= {each["actor_id"]: each["repr_name"] for each in tables["actors"]}
    watched.tasks |= {str(each["name"]) for each in tables["tasks"]}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A small search on a cluster of its own, with Debian's Prometheus beside it."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs Prometheus: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("watched")
    # Short, since the sockets of Ray are below it.
    temporary = Path(tempfile.mkdtemp(prefix="fr"))
    # The file that people are given, for this cluster and in a hurry.
    config = yaml.safe_load((CLUSTER / "prometheus.yml").read_text())
    (discovery,) = config["scrape_configs"][0]["file_sd_configs"]
    assert discovery["files"] == [SERVICE_DISCOVERY]
    discovery |= {
        "files": [SERVICE_DISCOVERY.replace("/tmp", str(temporary))],
        "refresh_interval": "1s",
    }
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = _free_port()
    prometheus = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield _search(folder, temporary, f"http://127.0.0.1:{port}")
    finally:
        prometheus.kill()
        prometheus.wait()
        shutil.rmtree(temporary, ignore_errors=True)


def _search(folder: Path, temporary: Path, prometheus: str) -> Watched:
    watched = Watched(folder / "results" / RUN, prometheus, time.time())
    options = ["--data", "sample", "--trials", str(TRIALS), "--max-epochs", "3", "--name", RUN]
    options += ["--retrain-seeds", "1", "--results", str(folder / "results"), "--json"]
    space = str(ROOT / "search_spaces" / "dnn.yaml")
    with (folder / "messages").open("w") as messages, (folder / "result").open("w") as result:
        search = subprocess.Popen(
            [sys.executable, "-m", "fmnist_ray.tune", "--space", space, *options],
            cwd=ROOT,
            env=os.environ
            | {
                "RAY_TMPDIR": str(temporary),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": TOKEN,
                "RAY_metrics_report_interval_ms": "1000",
            },
            stdout=result,
            stderr=messages,
        )
        try:
            ends = time.monotonic() + 240
            while search.poll() is None and time.monotonic() < ends:
                time.sleep(0.5)
                found = re.search(r"http://[\w.:]+", (folder / "messages").read_text())
                if found:
                    _note_dashboard(found[0], watched)
        finally:
            search.kill()
            search.wait()
    watched.messages = (folder / "messages").read_text()
    for path in temporary.glob("ray/session_2*/logs/worker-*.out"):
        watched.logs += path.read_text().splitlines()
    assert search.returncode == 0, watched.messages
    watched.result = json.loads((folder / "result").read_text().splitlines()[-1])
    watched.ended = time.time()
    return watched


@pytest.mark.ray
def test_people_are_told_once_where_to_watch(watched: Watched) -> None:
    (line,) = [each for each in watched.messages.splitlines() if "dashboard" in each]
    assert re.search(r"http://[\w.]+:\d+", line)
    assert "ray get-auth-token" in line
    assert f"tune/{RUN}/" in line
    assert watched.result["record"] == str(watched.record)


@pytest.mark.ray
def test_the_dashboards_tables_carry_the_runs_name(watched: Watched) -> None:
    (job,) = [each for each in watched.jobs if each["type"] == "DRIVER"]
    assert job["metadata"] == {"verb": "tune", "name": RUN, "model": "dnn"}
    units = {f"tune/{RUN}/{unit}" for unit in watched.history()}
    # The last fits may end before the dashboard lists them.
    assert {unit for unit in units if "trial" in unit} <= watched.tasks


@pytest.mark.ray
def test_the_actors_carry_the_runs_name_and_a_trials_log_says_which_it_was(
    watched: Watched,
) -> None:
    for number in range(TRIALS):
        log = (watched.record / "units" / f"trial-{number:03}" / "log.txt").read_text()
        (actor,) = re.findall("runs on Ray's actor ([0-9a-f]+)", log)
        assert watched.actors[actor] == f"tune/{RUN}"


@pytest.mark.ray
def test_the_processes_print_every_epoch_of_every_unit_once(watched: Watched) -> None:
    for unit, rows in watched.history().items():
        printed = [line for line in watched.logs if line.startswith(f"{unit} ")]
        assert [line.split()[1] for line in printed] == [f"epoch={epoch}" for epoch in rows]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("series", "column"),
    [
        ("epoch", "epoch"),
        ("validation_accuracy", "validation_accuracy"),
        ("training_loss", "train_loss"),
        ("images_per_second", "images_per_second"),
    ],
)
def test_each_trials_figures_are_those_of_its_history(
    series: str, column: str, watched: Watched
) -> None:
    history, seen = watched.history(), set()
    for tags, points in watched.series(f"ray_fmnist_{series}"):
        assert (tags["run"], tags["verb"], tags["model"]) == (RUN, "tune", "dnn")
        known = [row[column] for row in history[tags["unit"]].values() if column in row]
        for _, value in points:
            assert any(value == pytest.approx(each, rel=1e-5) for each in known)
        if tags["unit"].startswith("trial"):
            seen.add(tags["unit"])
            last = max(history[tags["unit"]])
            assert points[-1][1] == pytest.approx(history[tags["unit"]][last][column], rel=1e-5)
    assert seen == {f"trial-{number:03}" for number in range(TRIALS)}


@pytest.mark.ray
def test_trials_by_state_rungs_and_the_best_so_far(watched: Watched) -> None:
    counts = {tags["state"]: points for tags, points in watched.series("ray_fmnist_units")}
    ended = sum(watched.result[f"trials_{state}"] for state in ("complete", "stopped"))
    assert ended == TRIALS
    assert max(value for _, value in counts["waiting"]) <= TRIALS
    for state in ("complete", "stopped"):
        assert watched.result[f"trials_{state}"] in [value for _, value in counts[state]]
    ((tags, points),) = watched.series('ray_fmnist_best{metric="validation_accuracy"}')
    values = [value for _, value in points]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(watched.result["best_validation_accuracy"], rel=1e-5)
    reached = {
        tags["rung"]: points[-1][1] for tags, points in watched.series("ray_fmnist_rung_trials")
    }
    assert reached["1"] == TRIALS
    for tags, points in watched.series("ray_fmnist_rung"):
        epochs = len(watched.history()[tags["unit"]])
        assert points[-1][1] == (3 if epochs == 3 and "3" in reached else 1)


# Ray keeps a series for a while, and on a slow machine that is as long as this short search takes.
@pytest.mark.slow
@pytest.mark.ray
def test_a_trials_series_end_soon_after_it(watched: Watched) -> None:
    last = {tags["unit"]: points[-1][0] for tags, points in watched.series("ray_fmnist_epoch")}
    assert min(last.values()) < max(
        at for _, points in watched.series("ray_node_mem_used") for at, _ in points
    )


@pytest.mark.ray
def test_every_panel_asks_what_prometheus_answers(watched: Watched) -> None:
    for title, expression in _expressions():
        found = watched.series(expression.replace("$run", RUN))
        assert found or "ray_fmnist" not in expression, f"{title}: no data for {expression}"


def _expressions() -> list[tuple[str, str]]:
    return [
        (panel["title"], target["expr"])
        for panel in BOARD["panels"]
        for target in panel.get("targets", [])
    ]


def test_the_board_is_one_that_grafana_can_import() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    places = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, f"{panel['title']} overlaps another panel"
        assert all(x < 24 for x, _ in cells)
        places |= cells
        for asks in [panel, *panel.get("targets", [])] if panel["type"] != "row" else []:
            assert asks["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_the_board_draws_every_series_by_tags_that_it_has() -> None:
    drawn = set()
    for title, expression in _expressions():
        for name in re.findall(r"ray_(fmnist_\w+)", expression):
            assert name in SERIES, f"{title} draws {name}, which nothing tells"
            drawn.add(name)
            tags = {
                tag.strip()
                for by in re.findall(r"by \(([^)]*)\)", expression)
                for tag in by.split(",")
            }
            assert tags <= set(SERIES[name][1]), f"{title} groups by {tags}"
    assert drawn == set(SERIES)
