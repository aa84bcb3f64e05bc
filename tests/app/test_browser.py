"""The pages in a real browser, against the real service: by pointer, by keyboard, on a phone."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.app.conftest import TEST, Service
from tests.app.test_api import photograph
from tests.conftest import ROOT

pytestmark = pytest.mark.ray

WIDTHS = {"desk": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Browser, service: Service) -> Iterator[Page]:
    """A page of each width that fails the test if it has an error, or asks anyone else."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=service.url)
    found = context.new_page()
    troubles: list[str] = []
    found.on("pageerror", lambda error: troubles.append(str(error)))
    found.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    found.on(
        "request",
        lambda asked: troubles.append(asked.url) if _elsewhere(asked.url, service) else None,
    )
    yield found
    context.close()
    assert not troubles


def _elsewhere(url: str, service: Service) -> bool:
    return not url.startswith((service.url, "data:", "blob:"))


def _no_sideways_scroll(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def _bars(page: Page) -> dict[str, float]:
    rows = page.locator(".bars tr")
    expect(rows).to_have_count(10)
    return {
        row.locator("th").inner_text(): float(row.locator("td.number").inner_text().rstrip(" %"))
        for row in rows.all()
    }


def test_an_uploaded_photograph_is_labelled(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    for name, dark in (("dark.jpg", True), ("light.jpg", False)):
        (tmp_path / name).write_bytes(photograph(dark))
        page.set_input_files("#file", tmp_path / name)
        expect(page.locator(".looks figcaption").first).to_have_text(name)
        expect(page.locator(".verdict")).to_contain_text("Shirt")
        bars = _bars(page)
        assert max(bars, key=lambda each: bars[each]) == "Shirt"
        assert sum(bars.values()) == pytest.approx(100, abs=0.2)
        assert list(bars.values()) == sorted(bars.values(), reverse=True)
        seen = page.locator(".looks img").nth(1)
        assert seen.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [28, 28]
    expect(page.locator(".earlier button")).to_have_count(2)
    _no_sideways_scroll(page)


def test_a_pasted_and_a_dropped_image_are_labelled(page: Page) -> None:
    page.goto("/")
    boot = TEST.images[np.flatnonzero(TEST.labels == 9)[0]]
    written = io.BytesIO()
    Image.fromarray(boot).save(written, "PNG")
    for event, where in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([event, where, bytes]) => {
              const file = new File([new Uint8Array(bytes)], event + ".png", {type: "image/png"});
              const data = new DataTransfer();
              data.items.add(file);
              const made = event === "paste"
                ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
                : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
              document.body.dispatchEvent(made);
            }""",
            [event, where, list(written.getvalue())],
        )
        expect(page.locator(".looks figcaption").first).to_have_text(f"{event}.png")
        expect(page.locator(".verdict")).to_contain_text("Ankle boot")


def test_a_file_that_is_no_image_gets_a_message(browser: Browser, service: Service) -> None:
    page = browser.new_page()
    page.goto(service.url)
    page.set_input_files(
        "#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no image"}
    )
    expect(page.locator("#answer .problem")).to_contain_text(
        "notes.txt: The image cannot be labelled"
    )
    page.close()


def test_a_drawing_is_labelled(page: Page) -> None:
    page.goto("/")
    page.get_by_role("tab", name="Draw").click()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    outline = [
        (0.35, 0.1),
        (0.65, 0.1),
        (0.68, 0.92),
        (0.54, 0.92),
        (0.5, 0.35),
        (0.46, 0.92),
        (0.32, 0.92),
        (0.35, 0.1),
    ]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in outline]
    page.mouse.move(*points[0])
    page.mouse.down()
    for x, y in points[1:]:
        page.mouse.move(x, y, steps=5)
    page.mouse.up()
    page.get_by_role("button", name="Fill").click()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.2 * box["height"])
    expect(page.locator(".verdict")).to_contain_text("Trouser")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Undo").click()
    _no_sideways_scroll(page)


def test_picked_test_images_are_told_right_or_wrong(page: Page) -> None:
    page.goto("/")
    page.get_by_role("tab", name="Test images").click()
    page.get_by_label("Class").select_option("Sandal")
    first = page.locator("#picks button").first
    expect(first).to_have_attribute("title", "Sandal")
    first.click()
    verdict = page.locator(".right-answer, .wrong-answer")
    expect(verdict).to_be_visible()
    named = page.locator(".verdict").inner_text().startswith("Sandal")
    expect(verdict).to_contain_text("Right" if named else "Sandal")
    before = page.locator("#picks img").first.get_attribute("src")
    page.get_by_role("button", name="Others").click()
    expect(page.locator("#picks img").first).not_to_have_attribute("src", before or "")
    _no_sideways_scroll(page)


def test_a_late_answer_does_not_replace_a_newer_ones_images(page: Page) -> None:
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if "label=" in route.request.url:
            route.continue_()
        else:
            held.append(route)

    page.route("**/test-images*", hold_the_first)
    page.goto("/")
    page.get_by_role("tab", name="Test images").click()
    page.get_by_label("Class").select_option("Sandal")
    first = page.locator("#picks button").first
    expect(first).to_have_attribute("title", "Sandal")
    with page.expect_response(
        lambda response: "label=" not in response.url and "/test-images" in response.url
    ):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(first).to_have_attribute("title", "Sandal")


def test_the_keyboard_alone_labels_picks_and_draws(browser: Browser, service: Service) -> None:
    page = browser.new_page(base_url=service.url)
    page.goto("/")

    def tab_to(what: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({what!r})"):
                return
        raise AssertionError(f"Tab does not reach {what}")

    tab_to("#tab-own")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#test")).to_be_visible()
    expect(page.locator("#picks button")).to_have_count(24)
    tab_to("#picks button")
    page.keyboard.press("Enter")
    expect(page.locator(".right-answer, .wrong-answer")).to_be_visible()
    page.locator("#tab-test").focus()
    page.keyboard.press("ArrowLeft")
    tab_to("#canvas")
    page.keyboard.press("Space")
    for key, times in (("ArrowRight", 9), ("ArrowDown", 9), ("ArrowLeft", 18), ("ArrowUp", 9)):
        for _ in range(times):
            page.keyboard.press(key)
    page.keyboard.press("Space")
    expect(page.locator(".looks figcaption").first).to_have_text("your drawing")
    page.goto("/experiments")
    tab_to("#experiments tbody input")
    page.keyboard.press("Space")
    expect(page.locator("#chosen")).to_contain_text("Tick two")
    tab_to("#experiments tbody input")
    page.keyboard.press("Space")
    expect(page.locator("#chosen")).to_have_text("2 ticked.")
    page.close()


def test_experiments_are_sorted_found_opened_and_compared(page: Page) -> None:
    page.goto("/experiments")
    rows = page.locator("#experiments tbody tr")
    expect(rows).to_have_count(len(list((ROOT / "results" / "reference").glob("*/run.json"))))
    if page.viewport_size == {"width": 1280, "height": 900}:
        page.get_by_role("button", name="Test").click()
        shown = page.locator("#experiments tbody td[data-label=Test]").all_inner_texts()
        figures = [float(text.rstrip(" %")) for text in shown if text]
        assert figures == sorted(figures, reverse=True)
        assert shown[-1] == ""  # those without stand last
    page.get_by_label("Find").fill("transfer")
    expect(rows.filter(visible=True)).to_have_count(1)
    page.get_by_label("Find").fill("")
    for name in ("reference/train-cnn-torch", "reference/train-cnn-tensorflow"):
        page.get_by_label(f"Compare {name}").check()
    _no_sideways_scroll(page)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 experiments compared")
    expect(page.locator("#chart .trace.scatter")).to_have_count(2)
    page.get_by_role("link", name="reference/train-cnn-torch").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("reference/train-cnn-torch")
    expect(page.locator(".confusion tbody tr")).to_have_count(10)
    expect(page.locator("#chart .trace.scatter")).to_have_count(1)
    page.get_by_role("combobox", name="Figure").select_option("train_loss")
    expect(page.locator("#chart")).to_contain_text("training loss (nats)")
    _no_sideways_scroll(page)


def test_a_running_search_advances_by_itself(browser: Browser, service: Service) -> None:
    page = browser.new_page(base_url=service.url)
    page.goto("/experiments")
    command = [sys.executable, "-m", "fmnist_ray.tune", "--data", "sample", "--trials", "6"]
    options = ["--max-epochs", "3", "--retrain-seeds", "1", "--cpus-per-trial", "0.5"]
    search = subprocess.Popen(
        [*command, *options, "--results", str(service.results), "--name", "night", "--quiet"],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": service.cluster, "RAY_AUTH_MODE": "token"},
    )
    try:
        row = page.locator("tr[data-name=night]")
        expect(row.locator(".status")).to_have_text("running", timeout=120_000)
        row.get_by_role("link").click()
        ended = []
        for count in range(1, 7):
            expect(page.locator(".states")).to_contain_text(
                re.compile(rf"[{count}-6] of 6 trials ended"), timeout=120_000
            )
            ended.append(page.locator("#units tbody tr").count())
        assert ended == sorted(ended)
        expect(page.locator("h1 .status")).to_have_text("complete", timeout=120_000)
        assert page.locator("#chart .trace.scatter").count() >= 1
        page.get_by_role("link", name="The report").click(timeout=60_000)
        expect(page.get_by_role("heading", level=1)).to_contain_text("night")
    finally:
        assert search.wait(120) == 0
    page.close()
