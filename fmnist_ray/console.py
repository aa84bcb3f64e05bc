"""What every verb's command line shares: options, progress and messages, and exit codes.

Progress and messages go to standard error and the result to standard output, so that
`... --json | tail -1` is always one JSON object.
"""

import functools
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fmnist_ray.errors import Interrupted, RequestError, WorkError

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        envvar="FMNIST_DATA",
        metavar="DIR|sample",
        help="Folder with the data (IDX, CSV or a folder per class), or `sample` for the small "
        "sample that comes with the package. Default: found or fetched.",
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Same seed, threads and build: same result.")
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", help="Name of the record below the results folder. Default: made up."),
]
ResultsOption = Annotated[
    str, typer.Option("--results", metavar="DIR", help="Folder that holds the records.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="local|auto|HOST:PORT",
        help="Ray cluster: `local` starts Ray here, `auto` joins the cluster of this machine. "
        "Default: $RAY_ADDRESS, else local.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Only errors and the final summary.")]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Final summary as one JSON object on standard output's last line."),
]

_messages = Console(stderr=True, highlight=False, soft_wrap=True)


def messages() -> Console:
    """The console for progress and messages: standard error."""
    return _messages


def progress_bar(quiet: bool = False) -> Progress:
    """A progress display with elapsed and remaining time; it draws nothing when `quiet`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_messages,
        disable=quiet,
        transient=True,
    )


def print_summary(summary: Mapping[str, Any], as_json: bool) -> None:
    """Prints a verb's result: aligned `key  value` lines, or one JSON object on one line."""
    if as_json:
        print(json.dumps(summary, default=_jsonable), flush=True)
        return
    width = max((len(key) for key in summary), default=0)
    for key, value in summary.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        print(f"{key.replace('_', ' '):<{width}}  {text}", flush=True)


def verb_app(help_text: str) -> typer.Typer:
    """A Typer application for one verb."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(function: Callable[..., Any]) -> Callable[..., None]:
    """Makes a verb's function into its command: same arguments, exit codes instead of errors.

    The function returns its result as a dataclass or mapping (printed as the summary) or None.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        _configure_logging(bool(kwargs.get("quiet", False)))
        try:
            result = function(*args, **kwargs)
        except RequestError as error:
            _fail(str(error), 2)
        except Interrupted as stop:
            _fail(str(stop), stop.exit_code, label="interrupted")
        except KeyboardInterrupt:
            _fail("stopped before anything was saved.", 130, label="interrupted")
        except WorkError as error:
            _fail(str(error), 1)
        except Exception as error:  # noqa: BLE001 - the outermost frame: report, then exit 1
            logging.getLogger("fmnist_ray").debug("traceback", exc_info=True)
            _messages.print_exception()
            _fail(f"{type(error).__name__}: {error}", 1)
        if result is None:
            return
        summary = asdict(result) if is_dataclass(result) else dict(result)
        print_summary(summary, as_json=bool(kwargs.get("as_json", False)))

    return run


def _fail(message: str, code: int, label: str = "error") -> None:
    _messages.print(f"[bold red]{label}:[/bold red] ", end="")
    _messages.print(message, markup=False)
    sys.exit(code)


def _configure_logging(quiet: bool) -> None:
    package = logging.getLogger("fmnist_ray")
    package.setLevel(logging.WARNING if quiet else logging.INFO)
    if not package.handlers:
        package.addHandler(
            RichHandler(console=_messages, show_path=False, show_level=False, show_time=False)
        )
        package.propagate = False


def _jsonable(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    return str(value)
