"""What every verb's command shares, seen from a shell: options, output and exit codes."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from fmnist_ray.console import (
    DataOption,
    JsonOption,
    QuietOption,
    SeedOption,
    command,
    print_summary,
    verb_app,
)
from fmnist_ray.errors import Interrupted, RequestError, WorkError


@dataclass(frozen=True)
class Outcome:
    test_accuracy: float
    model: str
    unit: str | None = None
    pairs: tuple[str, ...] = ("a / b", "c / d")


def verb(
    record: Annotated[str, typer.Argument(metavar="RECORD")],
    share: Annotated[float, typer.Option("--share", min=0.0, help="A share.")] = 0.5,
    data: DataOption = None,
    seed: SeedOption = 3,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> Outcome:
    """Does the work.

    Over two paragraphs.

    Raises:
        RequestError: Never.
    """
    assert isinstance(seed, int)
    return Outcome(share, f"{record} {data} {seed} {quiet}")


def run(function: Callable[..., Any], *arguments: str, **options: Any) -> Result:
    app = verb_app("A verb.")
    app.command()(command(function, **options))
    return CliRunner().invoke(app, list(arguments))


def run_and_raise(error: BaseException) -> Result:
    def failing() -> None:
        raise error

    return run(failing)


def test_options_reach_the_function_and_the_result_is_printed() -> None:
    result = run(verb, "results/a", "--share", "0.25", "--data", "sample", "--seed", "9")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "test accuracy  0.2500",
        "model          results/a sample 9 False",
        "pairs          a / b",
        "               c / d",
    ]


def test_json_is_the_last_line_of_standard_output() -> None:
    def talking(as_json: JsonOption = False) -> Outcome:
        print("something a library printed")
        return verb("r", quiet=True)

    result = run(talking, "--json")
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "test_accuracy": 0.5,
        "model": "r None 3 True",
        "unit": None,
        "pairs": ["a / b", "c / d"],
    }


def test_the_function_stays_callable_from_python() -> None:
    assert verb("a", share=0.1).test_accuracy == 0.1


def test_help_tells_what_a_person_needs_and_not_what_a_caller_does() -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert "Over two paragraphs." in result.stdout
    assert "--share" in result.stdout
    assert "Raises" not in result.stdout


def test_the_data_may_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMNIST_DATA", "/from/environment")
    assert "/from/environment" in run(verb, "r").stdout


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (RequestError("There is no [b]x[/b]."), 2, "error: There is no [b]x[/b]."),
        (WorkError("The fold failed."), 1, "error: The fold failed."),
        (Interrupted("Saved. Go on with: fmnist tune"), 130, "interrupted: Saved. Go on with"),
        (Interrupted("Saved.", exit_code=143), 143, "interrupted: Saved."),
        (KeyboardInterrupt(), 130, "interrupted: stopped"),
        (ZeroDivisionError("by zero"), 1, "error: ZeroDivisionError: by zero"),
    ],
)
def test_errors_become_a_message_and_an_exit_code(
    error: BaseException, code: int, words: str
) -> None:
    result = run_and_raise(error)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""


def test_only_an_unexpected_error_shows_its_traceback() -> None:
    assert "Traceback" in run_and_raise(ZeroDivisionError()).stderr
    assert "Traceback" not in run_and_raise(RequestError("No.")).stderr


@pytest.mark.parametrize(
    "arguments", [(), ("r", "--nope"), ("r", "--share", "many"), ("r", "--seed", "-1")]
)
def test_arguments_that_are_wrong_exit_with_2(arguments: tuple[str, ...]) -> None:
    assert run(verb, *arguments).exit_code == 2


@pytest.mark.parametrize(("problems", "code"), [([], 0), (["no memory"], 1)])
def test_a_verb_may_fail_after_its_summary(problems: list[str], code: int) -> None:
    def looking() -> dict[str, list[str]]:
        return {"problems": problems}

    result = run(looking, failed=lambda summary: bool(summary["problems"]))
    assert result.exit_code == code
    assert result.stdout.split(maxsplit=1)[1].strip() == (problems[0] if problems else "none")


def test_a_verb_without_a_result_prints_none() -> None:
    result = run(lambda: None)
    assert (result.exit_code, result.stdout) == (0, "")


def test_messages_go_to_standard_error_and_quiet_leaves_only_warnings() -> None:
    def talking(quiet: QuietOption = False) -> None:
        log = logging.getLogger("fmnist_ray.talking")
        log.info("reading")
        log.warning("the data differ")

    loud, quiet = run(talking), run(talking, "--quiet")
    assert "reading" in loud.stderr
    assert "reading" not in quiet.stderr
    for result in (loud, quiet):
        assert "the data differ" in result.stderr
        assert result.stdout == ""


def test_a_summary_in_json_has_no_values_that_only_python_knows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = {"loss": math.nan, "share": np.float32(0.5), "at": Path("a"), "none": None}
    print_summary(values, as_json=True)
    assert capsys.readouterr().out == '{"loss": null, "share": 0.5, "at": "a", "none": null}\n'
