"""The pages: classify, experiments, one experiment, several compared. They know nothing of Ray."""

import hashlib
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from jinja2 import Environment, PackageLoader
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from fmnist_ray import __version__
from fmnist_ray.app.comparing import compare_records
from fmnist_ray.app.experiments import Experiments
from fmnist_ray.app.pictures import as_data_uri
from fmnist_ray.dataset.arrays import CLASS_NAMES
from fmnist_ray.dataset.sample import load_sample
from fmnist_ray.errors import RequestError
from fmnist_ray.records import check_name
from fmnist_ray.reporting import captions
from fmnist_ray.reports.page import REPORT_FILE
from fmnist_ray.reports.wording import duration

LOGIN = "/login"
_MOST_COMPARED = 12
_MOST_PICKED = 60
# Nothing comes from elsewhere; Plotly writes styles into the page.
_POLICY = (
    "default-src 'self'; connect-src 'self' data:; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'"
)
# A report brings scripts along, and a record may come from anyone: it may run them, but as a
# page of nowhere, which can neither read the service nor send anything.
_REPORT_POLICY = (
    "sandbox allow-scripts allow-popups allow-downloads; default-src 'none'; "
    "script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data:; font-src data:"
)
_log = logging.getLogger(__name__)


def build_pages(results: Path) -> FastAPI:
    """The application.

    Args:
        results: Folder with the records.
    """
    app = FastAPI(title="fmnist_ray", docs_url=None, redoc_url=None, openapi_url=None)
    experiments = Experiments(results)
    page = _Templates()
    static = Path(__file__).parent / "static"
    app.mount("/static", StaticFiles(directory=static), name="static")

    @app.get("/")
    def classify() -> Response:
        return page("classify.html", classes=CLASS_NAMES)

    @app.get(LOGIN)
    def login() -> Response:
        return page("login.html")

    @app.get("/experiments")
    def table(request: Request) -> Response:
        rows = experiments.rows()
        return page("experiments.html", request, rows=rows, results=str(results))

    @app.get("/experiments/{name:path}/report")
    def report(name: str) -> Response:
        path = experiments.open(name).path / REPORT_FILE
        if not path.is_file():
            raise HTTPException(404, f"{name} has no report yet; it is made when the run ends")
        return FileResponse(path, headers={"content-security-policy": _REPORT_POLICY})

    @app.get("/experiments/{name:path}/figures/{file}")
    def figure(name: str, file: str) -> Response:
        path = experiments.open(name).path / "figures" / check_name(file)
        if path.suffix != ".png" or not path.is_file():
            raise HTTPException(404, f"{name} has no figure {file}")
        return FileResponse(path)

    @app.get("/experiments/{name:path}")
    def experiment(request: Request, name: str) -> Response:
        view = experiments.view(name)
        titles = {file: caption.title for file, caption in captions().items()}
        return page("experiment.html", request, view=view, titles=titles)

    @app.get("/compare")
    def compare(request: Request, record: Annotated[list[str], Query()] = []) -> Response:  # noqa: B006
        if not 2 <= len(set(record)) <= _MOST_COMPARED:
            raise HTTPException(422, f"Choose 2 to {_MOST_COMPARED} experiments to compare")
        compared = compare_records(experiments, list(dict.fromkeys(record)))
        return page("compare.html", request, compared=compared)

    @app.get("/test-images")
    def test_images(
        label: Annotated[int | None, Query(ge=0, le=9)] = None,
        count: Annotated[int, Query(ge=1, le=_MOST_PICKED)] = 24,
        seed: Annotated[int, Query(ge=0, le=2**32)] = 0,
    ) -> Response:
        return JSONResponse(_test_images(label, count, seed))

    @app.get("/plotly.js")
    def plotly(request: Request) -> Response:
        return _cached(request, *_plotly())

    @app.exception_handler(RequestError)
    async def unknown(request: Request, error: RequestError) -> Response:
        return page("error.html", status=404, message=str(error))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        return page("error.html", status=error.status_code, message=f"{error.detail}.")

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        _log.error("%s %s", request.method, request.url.path, exc_info=error)
        message = (
            f"The page could not be made: {type(error).__name__}. The service's log says more."
        )
        return page("error.html", status=500, message=message)

    return app


class _Templates:
    """Pages from templates."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("fmnist_ray.app"), autoescape=True, trim_blocks=True
        )
        self._environment.filters |= {"percent": _percent, "seconds": _seconds, "moment": _moment}

    def __call__(
        self, template: str, request: Request | None = None, status: int = 200, **values: Any
    ) -> Response:
        """A page; with a request, one that is looked at again and again while runs go on."""
        html = self._environment.get_template(template).render(version=__version__, **values)
        headers = {"content-security-policy": _POLICY}
        if request is None:
            return HTMLResponse(html, status, headers)
        return _cached(request, html.encode(), "text/html; charset=utf-8", headers)


def _cached(
    request: Request, content: bytes, kind: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The content, or that it is as the browser has it."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    told = {**(headers or {}), "etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=told)
    return Response(content, media_type=kind, headers=told)


@cache
def _plotly() -> tuple[bytes, str]:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().encode(), "text/javascript; charset=utf-8"


@cache
def _sample() -> tuple[np.ndarray, np.ndarray]:
    test = load_sample().test
    return test.images, test.labels


def _test_images(label: int | None, count: int, seed: int) -> list[dict[str, Any]]:
    """Some of the 500 test images that come with the package, as PNGs."""
    images, labels = _sample()
    places = np.arange(len(labels)) if label is None else np.flatnonzero(labels == label)
    chosen = np.random.default_rng(seed).permutation(places)[:count]
    return [
        {
            "index": int(at),
            "label": int(labels[at]),
            "class": CLASS_NAMES[labels[at]],
            "png": as_data_uri(images[at]),
        }
        for at in chosen
    ]


def _percent(share: float | None, digits: int = 2) -> str:
    return "" if share is None else f"{100 * share:.{digits}f} %"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds, decimals=0)


def _moment(time: str) -> str:
    return time[:16].replace("T", " ")
