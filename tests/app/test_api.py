"""`POST /api/predict`: right answers, and one clear refusal for each wrong request."""

import base64
import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fmnist_ray.app import uploads
from fmnist_ray.app.bundle import read_bundle
from fmnist_ray.app.classified import Classified
from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.errors import WorkError
from fmnist_ray.models.storage import load_model
from fmnist_ray.training.predict import predict
from tests.app.conftest import TEST, api_of


def png(image: np.ndarray) -> bytes:
    written = io.BytesIO()
    Image.fromarray(image).save(written, "PNG")
    return written.getvalue()


def photograph(dark_on_light: bool) -> bytes:
    """A shirt of the test images, enlarged, on a wall with some noise, as a JPEG."""
    shirt = TEST.images[np.flatnonzero(TEST.labels == 6)[3]]
    shape = np.asarray(Image.fromarray(shirt).resize((600, 600))) / 255
    wall, cloth = (235.0, 45.0) if dark_on_light else (15.0, 215.0)
    scene = np.full((900, 800), wall)
    cover = np.clip(shape * 1.6, 0, 1)
    shade = cloth + 0.25 * (wall - cloth) * (1 - shape)
    scene[150:750, 100:700] = scene[150:750, 100:700] * (1 - cover) + shade * cover
    scene += np.random.default_rng(0).normal(0, 3, scene.shape)
    written = io.BytesIO()
    Image.fromarray(scene.clip(0, 255).astype(np.uint8)).save(written, "JPEG", quality=90)
    return written.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def claiming(width: int, height: int, *more: bytes) -> bytes:
    """A PNG of a few bytes that claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    packed = chunk(b"IDAT", zlib.compress(bytes(10_000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + packed + chunk(b"IEND", b"")


EXPECTED = predict(
    load_model(Path(uploads.__file__).parents[1] / "pretrained")[0], TEST.images[:40]
)


def predictions(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def shares(answer: Any) -> np.ndarray:
    return np.array([list(each["probabilities"].values()) for each in predictions(answer)])


def test_every_form_of_a_request_gives_the_probabilities_of_the_model(api: TestClient) -> None:
    files = [png(image) for image in TEST.images[:40]]
    forms = {
        "files": {"files": [("image", (f"{n}.png", each)) for n, each in enumerate(files)]},
        "arrays": {"json": {"images": TEST.images[:40].tolist()}},
        "base64": {"json": {"images": [base64.b64encode(each).decode() for each in files]}},
    }
    for name, form in forms.items():
        found = shares(api.post("/predict", **form))
        assert np.abs(found - EXPECTED).max() < 1e-5, name
    alone = api.post("/predict", content=files[3], headers={"content-type": "image/png"})
    assert np.abs(shares(alone) - EXPECTED[3]).max() < 1e-5
    (first,) = predictions(alone)
    assert first["label"] == EXPECTED[3].argmax()
    assert first["class"] == CLASS_NAMES[first["label"]]
    assert first["probability"] == max(first["probabilities"].values())
    assert list(first["probabilities"]) == list(CLASS_NAMES)


@pytest.mark.parametrize("dark_on_light", [True, False])
def test_a_photograph_is_prepared_whichever_way_its_ground_is(
    api: TestClient, dark_on_light: bool
) -> None:
    (found,) = predictions(
        api.post("/predict?seen=true", files={"image": photograph(dark_on_light)})
    )
    assert found["class"] == "Shirt"
    content = base64.b64decode(found["seen"].removeprefix("data:image/png;base64,"))
    seen = np.asarray(Image.open(io.BytesIO(content)))
    assert seen.shape == (28, 28)
    assert seen[0, 0] == 0
    assert seen.max() > 150


def test_an_ensemble_tells_how_its_members_voted(ensemble_folder: Path) -> None:
    api = api_of(read_bundle(ensemble_folder))
    images = TEST.images[:20]
    found = predictions(api.post("/predict?members=true", json={"images": images.tolist()}))
    module, _ = load_model(ensemble_folder)
    expected = predict(module, images)
    assert np.abs([list(e["probabilities"].values()) for e in found] - expected).max() < 1e-5
    for each in found:
        members = each["members"]
        assert [one["name"] for one in members["each"]] == ["member-0", "member-1", "member-2"]
        votes = [one["class"] for one in members["each"]]
        assert members["votes"] == {name: votes.count(name) for name in set(votes)}
    single = api.post("/predict", json={"images": images[:1].tolist()})
    assert "members" not in predictions(single)[0]


def test_one_bad_image_among_good_ones_is_named_and_the_others_are_labelled(
    api: TestClient,
) -> None:
    good = png(TEST.images[0])
    files = [("image", ("a", good)), ("image", ("b", b"no image")), ("image", ("c", good))]
    found = predictions(api.post("/predict", files=files))
    assert [("error" in each) for each in found] == [False, True, False]
    assert "no PNG, JPEG, WebP, BMP or GIF" in found[1]["error"]


BOMB_TEXT = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9))
ROW = [0] * 28
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "no image": ({"files": {"image": b"this is text"}}, 422, "no PNG, JPEG"),
    "empty file": ({"files": {"image": ("a.png", b"")}}, 422, "empty"),
    "cut off": ({"files": {"image": photograph(True)[:2000]}}, 422, "damaged"),
    "100 megapixels": ({"files": {"image": claiming(10_000, 10_000)}}, 422, "100,000,000 pixels"),
    "billions of pixels": ({"files": {"image": claiming(60_000, 60_000)}}, 422, "pixels"),
    "less inside than claimed": ({"files": {"image": claiming(8_000, 8_000)}}, 422, "damaged"),
    "bomb of text": ({"files": {"image": claiming(28, 28, BOMB_TEXT)}}, 422, "damaged"),
    "nothing on it": ({"files": {"image": png(np.full((300, 300), 200, np.uint8))}}, 422, "stands"),
    "an SVG": (
        {
            "content": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "headers": {"content-type": "image/svg+xml"},
        },
        422,
        "no PNG, JPEG",
    ),
    "no body": ({"headers": {"content-type": "image/png"}}, 422, "empty"),
    "unknown type": (
        {"content": b"x", "headers": {"content-type": "text/plain"}},
        415,
        "text/plain",
    ),
    "no type": ({"content": b"x"}, 415, "not given"),
    "form without files": (
        {"content": b"--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        422,
        "no image",
    ),
    "form without boundary": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        400,
        "form cannot be read",
    ),
    "broken form": (
        {"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        400,
        "form cannot be read",
    ),
    "broken JSON": (
        {"content": b'{"images": [', "headers": {"content-type": "application/json"}},
        400,
        "no JSON",
    ),
    "nested JSON": (
        {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
        400,
        "no JSON",
    ),
    "a list": ({"json": [1, 2]}, 422, "no list of images"),
    "no images": ({"json": {"images": []}}, 422, "no image"),
    "images is a word": ({"json": {"images": "shirt"}}, 422, "no list of images"),
    "27 columns": ({"json": {"images": [[ROW[:27]] * 28]}}, 422, "images[0] is 28 x 27"),
    "a flat image": ({"json": {"images": [ROW * 28]}}, 422, "images[0] is 784"),
    "ragged": ({"json": {"images": [[ROW] * 27 + [ROW[:3]]]}}, 422, "images[0] is"),
    "words": ({"json": {"images": [[["a"] * 28] * 28]}}, 422, "images[0] is no numbers"),
    "null": ({"json": {"images": [None]}}, 422, "images[0] is no numbers"),
    "too bright": ({"json": {"images": [[ROW] * 28, [[256] * 28] * 28]}}, 422, "images[1] has"),
    "below 0": ({"json": {"images": [[[-1] * 28] * 28]}}, 422, "from -1 to -1"),
    "fractions": ({"json": {"images": [[[0.5] * 28] * 28]}}, 422, "multiply those by 255"),
    "no numbers": (
        {
            "content": json.dumps({"images": [[[float("nan")] * 28] * 28]}),
            "headers": {"content-type": "application/json"},
        },
        422,
        "no whole numbers",
    ),
    "no base64": ({"json": {"images": ["!!!"]}}, 422, "images[0] is no base64"),
    "10,000 arrays": ({"json": {"images": [0] * 10_000}}, 413, "more than 1,000 images"),
    "10,000 files": (
        {"files": [("image", (str(n), b"x")) for n in range(10_000)]},
        413,
        "more than 1,000 images",
    ),
    "50 MB": (
        {"content": bytes(50_000_000), "headers": {"content-type": "image/png"}},
        413,
        "larger than 16 MiB",
    ),
    "odd option": ({"files": {"image": b"x"}, "params": {"members": "maybe"}}, 422, "members is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_request_gets_one_clear_message(api: TestClient, name: str) -> None:
    form, status, message = REFUSED[name]
    answer = api.post("/predict", **form)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert len(answer.json()["error"]) < 500


def test_a_body_that_does_not_tell_its_size_is_bounded_too(api: TestClient) -> None:
    parts = (bytes(2**20) for _ in range(40))
    answer = api.post("/predict", content=parts, headers={"content-type": "image/png"})
    assert answer.status_code == 413


def test_names_of_files_never_reach_the_disk(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    large = png(np.random.default_rng(0).integers(0, 255, (1500, 1500, 3), np.uint8))
    assert len(large) > 2**20  # from where on forms are usually kept in files
    names = ["../../evil.png", "/etc/passwd", "a\0b.png", "x" * 5000]
    for name in names:
        files = {"image": (name, large)}
        assert api.post("/predict", files=files).status_code in (200, 400, 422)
    assert not list(tmp_path.rglob("*"))


def test_it_tells_of_its_model_and_its_health(api: TestClient) -> None:
    model = api.get("/model").json()
    assert model["name"] == "pretrained"
    assert model["parameters"] == 121_930
    assert model["test_accuracy"] == 0.9176
    assert model["classes"] == list(CLASS_NAMES)
    assert api.get("/health").json() == {"status": "ok", "model": "pretrained"}


def test_its_page_of_the_api_needs_no_network(api: TestClient) -> None:
    page = api.get("/docs").text
    assert "https://" not in page.replace("https://fastapi.tiangolo.com", "")
    routes = api.get("/openapi.json").json()["paths"]
    assert set(routes) == {"/predict", "/model", "/health"}
    body = routes["/predict"]["post"]["requestBody"]["content"]
    assert {"multipart/form-data", "application/json", "image/png"} <= set(body)


def test_a_model_that_is_away_is_answered_with_try_again() -> None:
    async def away(images: np.ndarray) -> Classified:
        raise WorkError("The model cannot be reached. Send the request again.")

    api = api_of(read_bundle(None), away)
    for answer in (api.get("/health"), api.post("/predict", files={"image": png(TEST.images[0])})):
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert "Send the request again" in answer.json()["error"]


def test_an_error_of_its_own_tells_nothing_of_its_inside() -> None:
    async def broken(images: np.ndarray) -> Classified:
        raise KeyError("a secret path")

    api = api_of(read_bundle(None), broken)
    answer = api.post("/predict", files={"image": png(TEST.images[0])})
    assert answer.status_code == 500
    assert "secret" not in answer.text
