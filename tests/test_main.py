"""`fmnist VERB`: the list of verbs, and handing over to one."""

import importlib
import os
import subprocess
import sys

import pytest
import typer

from fmnist_ray import __version__
from fmnist_ray.__main__ import VERBS, main

HEAVY = ("torch", "ray", "sklearn", "scipy", "matplotlib", "pandas", "optuna", "tensorflow")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb_with_a_line(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for verb, purpose in VERBS.items():
        assert any(line.split(maxsplit=1) == [verb, purpose] for line in lines)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"fmnist {__version__}\n"


@pytest.mark.parametrize("arguments", [["tuna"], ["help", "tuna"], ["__main__"], ["--nope"]])
def test_an_unknown_verb_exits_with_2_and_the_list(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    output = capsys.readouterr()
    assert f"there is no verb '{arguments[-1]}'" in output.err
    assert all(verb in output.err for verb in VERBS)
    assert output.out == ""


def test_no_verb_exits_with_2_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    errors = capsys.readouterr().err
    assert all(verb in errors for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_application_and_a_main(verb: str) -> None:
    module = importlib.import_module(f"fmnist_ray.{verb}")
    assert isinstance(module.app, typer.Typer)
    assert callable(module.main)


@pytest.mark.parametrize("arguments", [["evaluate", "--help"], ["help", "evaluate"]])
def test_a_verbs_help_is_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 0
    output = capsys.readouterr().out
    assert "fmnist evaluate" in output
    assert "--unit" in output


def test_a_verbs_exit_code_is_passed_on(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", str(tmp_path)) == 2
    assert "holds no run.json" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from fmnist_ray.__main__ import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as stop:\n"
        "    print('exit', stop.code)\n"
        "print('imported', *sorted(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *_, code, imported = done.stdout.splitlines()
    assert code == "exit 0"
    assert set(HEAVY).isdisjoint(imported.split())
    verbs = {f"fmnist_ray.{verb}" for verb in VERBS} & set(imported.split())
    assert verbs == {f"fmnist_ray.{arguments[0]}"} & {f"fmnist_ray.{verb}" for verb in VERBS}


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_whole_on_a_narrow_terminal(verb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_ray", verb, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80"},
    )
    assert "…" not in done.stdout
    if verb == "tune":
        # Rich would take text in brackets for a style, and leave it out.
        assert "[default: 24;" in done.stdout


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fmnist_ray", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"fmnist {__version__}\n"
