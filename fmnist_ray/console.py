"""What every verb's command line shares: options, progress and messages, and exit codes.

Progress and messages go to standard error and the result to standard output, so that
`... --json | tail -1` is always one JSON object.
"""

import functools
import inspect
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fmnist_ray.errors import Interrupted, RequestError, WorkError
from fmnist_ray.records import plain
from fmnist_ray.signals import leave_undisturbed, stop_exit_code, terminable, undisturbed

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
        metavar="ADDRESS",
        help="Ray cluster: `local` starts Ray here, `auto` joins the cluster of this machine, "
        "HOST:PORT that of another. "
        "Default: $RAY_ADDRESS, else local.",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Only errors and the final summary.")]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Final summary as one JSON object on standard output's last line."),
]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="dnn|cnn|resnet", help="The model.  [default: cnn]"),
]
FrameworkOption = Annotated[
    str | None,
    typer.Option(
        "--framework", metavar="NAME", help="torch or tensorflow (DNN, CNN).  [default: torch]"
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE|results/NAME",
        help="A YAML file of settings, or a record whose configuration is taken: a search's best, "
        "or that of a training.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting, such as epochs=8, optimizer=sgd, learning_rate=0.02, flip=true, "
        "early_stopping=3. May be given many times. An unknown key lists all of them.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="0 trains in one process; N starts a Ray Train worker group that shares every "
        "batch.  [default: 0]",
    ),
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="auto|bf16|fp32",
        help="auto is bf16 where the hardware has it.  [default: auto]",
    ),
]
TrainSizeOption = Annotated[
    int | None,
    typer.Option(
        "--train-size",
        metavar="N",
        help="Use only so many training images, validation included.  [default: all]",
    ),
]
UnitCpusOption = Annotated[
    float | None,
    typer.Option(
        "--cpus",
        metavar="N",
        help="CPUs, and threads, of each fit, shared by its workers.  "
        "[default: 1 for each process]",
    ),
]
UnitGpusOption = Annotated[
    float | None,
    typer.Option(
        "--gpus",
        metavar="N",
        help="GPUs of each process; 0.25 lets four share one.  [default: a share of one if there "
        "is one]",
    ),
]
MaxConcurrentOption = Annotated[
    int | None,
    typer.Option(
        "--max-concurrent", metavar="N", help="Fits at a time.  [default: as many as fit]"
    ),
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        "--retries",
        metavar="N",
        help="Times a fit that fails is tried again; five times as often if its process was "
        "killed, and counted anew once it gets further.  [default: 2]",
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="PLACE",
        help="Where checkpoints are kept while the run lasts: a folder that all nodes share, or an "
        "address such as s3://bucket/path.  [default: the record]",
    ),
]
RunNameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Name of the record below the results folder. If it is there already, the run goes "
        "on: only what is missing or failed is fitted.  [default: made up]",
    ),
]
RunSeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        help="Same seed, threads and build: same result.  [default: 0]",
    ),
]

# Where a Google-style docstring turns from what a person wants to know to what a caller does.
_SECTION = re.compile(r"\n\n(?:Args|Returns|Raises|Yields):\n")

_messages = Console(stderr=True, highlight=False, soft_wrap=True)


def messages() -> Console:
    """The console for progress and messages: standard error."""
    return _messages


@contextmanager
def progress_bar(description: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar for work that says how far it is, on terminals only.

    It appears with the first step, so that quick work draws none.

    Yields:
        A function that takes how much is done and how much there is in all.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_messages,
        disable=quiet or not _messages.is_terminal,
        transient=True,
    )
    tasks: list[TaskID] = []

    def progress(done: int, total: int) -> None:
        if not tasks:
            bar.start()
            tasks.append(bar.add_task(description))
        bar.update(tasks[0], completed=done, total=total)

    try:
        yield progress
    finally:
        if tasks:
            bar.stop()


def print_summary(summary: Mapping[str, Any], as_json: bool) -> None:
    """Prints a verb's result: aligned `key  value` lines, or one JSON object on one line.

    Without JSON, a figure that is None is left out, and the items of a list stand below each
    other.
    """
    if as_json:
        print(json.dumps(plain(summary), allow_nan=False), flush=True)
        return
    width = max((len(key) for key in summary), default=0)
    for key, value in summary.items():
        if value is None:
            continue
        items = list(value) or ["none"] if isinstance(value, list | tuple) else [value]
        name = key.replace("_", " ")
        for item in items:
            text = f"{item:.4f}" if isinstance(item, float) else str(item)
            print(f"{name:<{width}}  {text}", flush=True)
            name = ""


def verb_app(help_text: str) -> typer.Typer:
    """A Typer application for one verb."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        no_args_is_help=False,
        pretty_exceptions_enable=False,
        # Not `rich`, to which "[default: 10]" is a style and not a text.
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def command(
    function: Callable[..., Any],
    failed: Callable[[Any], bool] | None = None,
    shown: Callable[[Any], Mapping[str, Any]] = lambda result: result,
) -> Callable[..., None]:
    """Makes a verb's function into its command: same arguments, exit codes instead of errors.

    The command's help is the function's docstring up to the first section, such as `Raises:`.

    Args:
        function: Returns its result as a dataclass or mapping (printed as the summary) or None.
        failed: Says of a result that the command is to exit with status 1 after printing it.
        shown: Chooses and words what people see of a result; `--json` prints all of it.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> None:
        _configure_logging(bool(kwargs.get("quiet", False)))
        try:
            with terminable():
                result = function(*args, **kwargs)
        except RequestError as error:
            _fail(str(error), 2)
        except Interrupted as stop:
            _stopped(str(stop), stop.exit_code)
        except KeyboardInterrupt:
            _stopped("stopped; nothing that was written is lost.", stop_exit_code())
        except WorkError as error:
            _fail(str(error), 1)
        except Exception as error:
            logging.getLogger("fmnist_ray").debug("traceback", exc_info=True)
            _messages.print_exception()
            _fail(f"{type(error).__name__}: {error}", 1)
        if result is None:
            return
        summary = (
            asdict(result)
            if is_dataclass(result) and not isinstance(result, type)
            else dict(result)
        )
        as_json = bool(kwargs.get("as_json", False))
        print_summary(summary if as_json else shown(summary), as_json)
        if failed is not None and failed(result):
            sys.exit(1)

    run.__doc__ = _SECTION.split(inspect.cleandoc(function.__doc__ or ""))[0]
    return run


def _fail(message: str, code: int, label: str = "error") -> None:
    _messages.print(f"[bold red]{label}:[/bold red] ", end="")
    _messages.print(message, markup=False)
    sys.exit(code)


def _stopped(message: str, code: int) -> None:
    """A person who presses Ctrl-C twice gets the message and the exit code of the first."""
    with undisturbed():
        leave_undisturbed()
        _fail(message, code, label="interrupted")


def _configure_logging(quiet: bool) -> None:
    package = logging.getLogger("fmnist_ray")
    package.setLevel(logging.WARNING if quiet else logging.INFO)
    if not package.handlers:
        package.addHandler(
            RichHandler(console=_messages, show_path=False, show_level=False, show_time=False)
        )
        package.propagate = False
