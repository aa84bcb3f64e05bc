"""The page of a record: whole in itself, and standing whatever the record lacks."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fmnist_ray.errors import RequestError
from fmnist_ray.records import Record
from fmnist_ray.reports.captions import Caption
from fmnist_ray.reports.figures import new_figure, write_png
from fmnist_ray.reports.page import command_of, write_page

CAPTIONS = {"second.png": Caption("The second", "Look."), "first.png": Caption("The first", "")}


class Links(HTMLParser):
    """What a page would fetch, and what it links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.opened: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.opened.append(tag)
        if tag == "a":
            self.linked.append(named["href"] or "")
        elif source := named.get("src") or named.get("href"):
            self.fetched.append(source)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    record = Record.create(tmp_path, "run", "tune", "cnn")
    config = {"trials": 3, "space": {"search": {"momentum": {"uniform": [0.8, 0.9]}}}, "none": None}
    record.start("tune", config, 7, {"source": "sample", "sha256": {"train_labels": "ab" * 32}})
    record.write_metrics({"test_accuracy": 0.5, "test_images": 500})
    record.end("complete")
    return record


def draw(record: Record, *names: str) -> None:
    for name in names:
        figure = new_figure(4, 3)
        figure.subplots().plot([1, 2])
        write_png(record.path / "figures" / f"{name}.png", figure)


def page(record: Record, sentences: tuple[str, ...] = (), problems: tuple[str, ...] = ()) -> str:
    return write_page(record, CAPTIONS, sentences, problems).read_text(encoding="utf-8")


def test_nothing_is_fetched_when_it_is_opened(record: Record) -> None:
    draw(record, "first")
    (record.path / "figures" / "first.plotly.json").write_text('{"data": [], "layout": {}}')
    written = page(record)
    links = Links(written)
    assert all(source.startswith("data:") for source in links.fetched)
    assert "<link" not in written.replace('<link rel="icon" href="data:,">', "")
    assert "@import" not in written
    assert "url(" not in written.split("<script")[0]


def test_its_links_lead_to_files_of_the_record(record: Record) -> None:
    draw(record, "first")
    (record.path / "trials.csv").write_text("unit,epochs\ntrial-1,3\n")
    links = [link for link in Links(page(record)).linked if not link.startswith("#")]
    assert {"run.json", "metrics.json", "figures/first.png", "trials.csv"} <= set(links)
    assert all((record.path / link).exists() for link in links)


def test_figures_stand_in_the_order_of_their_captions_and_others_follow(record: Record) -> None:
    draw(record, "first", "another_one", "second")
    titles = re.findall(r"<h3>(.*?)</h3>", page(record))
    assert titles == ["The second", "The first", "Another one"]


def test_a_plot_that_answers_to_a_pointer_brings_its_script_along(record: Record) -> None:
    draw(record, "first", "second")
    plain = page(record)
    assert 'id="plotly"' not in plain
    plot = {"data": [{"text": ["</script><b>"]}], "layout": {}}
    (record.path / "figures" / "first.plotly.json").write_text(json.dumps(plot))
    written = page(record)
    assert written.count('<details class="interactive">') == 1
    assert len(written) > len(plain) + 1_000_000
    inside = re.search(r'<script type="application/json">(.*?)</script>', written, re.DOTALL)
    assert inside is not None
    assert json.loads(inside.group(1)) == plot


def test_text_of_a_record_cannot_become_markup(record: Record) -> None:
    record.update(config={"data": "<script>alert(1)</script>"})
    written = page(record, sentences=("<b>bold</b>",))
    assert "<script>alert" not in written
    assert "<b>bold" not in written


def test_tables_are_cut_and_say_where_the_rest_is(record: Record) -> None:
    rows = "".join(f"trial-{number},0.{number:03}\n" for number in range(40))
    (record.path / "trials.csv").write_text(f"unit,best_validation_accuracy\n{rows}")
    written = page(record)
    assert "The first 20 of 40 rows" in written
    assert "trial-19" in written
    assert "trial-20" not in written
    assert '<th class="number">best validation accuracy</th>' in written


def test_units_are_listed_where_there_is_no_table_of_them(record: Record) -> None:
    record.write_metrics({"status": "complete", "test_accuracy": 0.25, "history": []}, "fold-1")
    record.write_metrics({"status": "failed", "reason": "out of memory"}, "fold-2")
    written = page(record)
    assert "<td>fold-1</td><td>complete</td>" in written
    assert "<td>fold-2</td><td>failed</td>" in written


def test_the_configuration_is_flat_and_names_defaults(record: Record) -> None:
    written = page(record)
    assert "<th>space.search.momentum.uniform</th><td>[0.8, 0.9]</td>" in written
    assert "<th>none</th><td>default</td>" in written
    assert "<th>seed</th><td>7</td>" in written


def test_an_unfinished_run_says_so(record: Record) -> None:
    record.update(status="interrupted", ended=None)
    written = page(record)
    assert "This run is not complete: its status is interrupted." in written
    assert '<span class="status interrupted">' in written


def test_what_is_damaged_is_named_and_the_rest_stands(record: Record) -> None:
    draw(record, "first")
    (record.path / "metrics.json").write_text('{"test_accuracy": 0.')
    (record.path / "trials.csv").write_bytes(b"\xff\xfe\x00\n1")
    written = page(record, problems=("history.csv is torn.",))
    assert "history.csv is torn." in written
    assert "metrics.json cannot be read as JSON" in written
    assert "trials.csv cannot be read as CSV" in written
    assert "The first" in written


def test_a_record_of_an_older_layout_gets_a_page(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text('{"verb": "train"}')
    written = page(Record(tmp_path / "old"))
    assert "The command was not recorded." in written
    assert "its status is ?" in written


def test_a_damaged_run_json_is_an_error_that_names_it(record: Record) -> None:
    (record.path / "run.json").write_text("{")
    with pytest.raises(RequestError, match=r"run\.json cannot be read"):
        page(record)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["tune.py", "--name", "a b"], "python -m fmnist_ray.tune --name 'a b'"),
        (["fmnist", "tune", "--trials", "3"], "fmnist tune --trials 3"),
        (["__main__.py", "tune"], "fmnist tune"),
        (["notebook.py"], "fmnist_ray.tune.tune(...) called by notebook.py"),
        (None, "The command was not recorded."),
    ],
)
def test_the_command_is_told_as_one_would_type_it(words: list[str] | None, shown: str) -> None:
    assert command_of({"verb": "tune", "command": words}) == shown
