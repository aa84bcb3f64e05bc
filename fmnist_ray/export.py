"""Writes a model in a form that other programs load: `python -m fmnist_ray.export results/NAME`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import typer

from fmnist_ray.console import JsonOption, QuietOption, command, messages, progress_bar, verb_app
from fmnist_ray.errors import RequestError

app = verb_app("Write a model as ONNX, TorchScript or safetensors, with a model card.")

Format = Literal["onnx", "safetensors", "torchscript"]
FORMATS: tuple[str, ...] = get_args(Format)
FILES = {
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
    "torchscript": "model.torchscript.pt",
}


def export(
    record: Annotated[
        str | None,
        typer.Argument(
            metavar="[RECORD]",
            help="Whose model: results/NAME, or results/NAME/units/ID.  [default: the CNN that "
            "comes with the package]",
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="One or several, such as onnx,safetensors.",
        ),
    ] = "onnx",
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DIR", help="Where to.  [default: RECORD/export]"),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Write a model for other programs, with a card that says what it is.

    ONNX and TorchScript files take images as they are, uint8 (n, 28, 28), and give probabilities,
    float32 (n, 10). They are kept only if they say the same as torch, to 0.0001, of the 500 test
    images that come with the package. An ensemble becomes one file.

    Returns:
        `folder`, `card`, and `files`: for each format `file`, `bytes`, `sha256` and, where there
        is a check, `largest_difference` and `images`.

    Raises:
        RequestError: There is no such model, or no such format.
        WorkError: A file differs from torch, or cannot be written.
    """
    from fmnist_ray.dataset.arrays import CLASS_NAMES
    from fmnist_ray.dataset.sample import load_sample
    from fmnist_ray.evaluation.contenders import find_contenders
    from fmnist_ray.evaluation.provenance import read_if_there
    from fmnist_ray.models.storage import DESCRIPTION_FILE, WEIGHTS_FILE, load_model
    from fmnist_ray.records import read_json, write_whole
    from fmnist_ray.reports.model_card import CARD_FILE, model_card
    from fmnist_ray.training.scoring import model_folder

    del as_json  # the command line prints the result
    wanted = _formats(formats)
    folder = model_folder(record)
    if record is None and to is None:
        raise RequestError(
            "Name a folder with --to DIR, or a record whose model is to be exported."
        )
    place = Path(to) if to is not None else folder / "export"
    images = load_sample().test.images

    from fmnist_ray.training.exporting import to_onnx, to_torchscript  # with torch: seconds

    module, _ = load_model(folder)
    files: dict[str, dict[str, Any]] = {}
    with progress_bar("Exporting", quiet) as progress:
        for done, form in enumerate(wanted):
            progress(done, len(wanted))
            if form == "safetensors":
                content = (folder / WEIGHTS_FILE).read_bytes()
                write_whole(place / DESCRIPTION_FILE, (folder / DESCRIPTION_FILE).read_bytes())
                checked = {}
            else:
                made = (to_onnx if form == "onnx" else to_torchscript)(module, images)
                content = made.content
                checked = {"largest_difference": made.difference, "images": len(images)}
            write_whole(place / FILES[form], content)
            files[form] = {
                "file": str(place / FILES[form]),
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                **checked,
            }
    of_record = record is not None and _in_record(folder)
    contender = find_contenders(folder)[0] if of_record else None
    card = model_card(
        contender.name if contender is not None else "fmnist_ray's own CNN",
        read_json(folder / DESCRIPTION_FILE),
        contender,
        read_if_there(folder / "metrics.json"),
        CLASS_NAMES,
        {form: FILES[form] for form in wanted},
    )
    write_whole(place / CARD_FILE, card.encode())
    if not quiet:
        messages().print(f"model card: {place / CARD_FILE}", markup=False)
    return {"folder": str(place), "card": str(place / CARD_FILE), "files": files}


def _formats(text: str) -> list[Format]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise RequestError(
            f"--format {text!r} names {', '.join(unknown) or 'nothing'}. There are "
            f"{', '.join(FORMATS)}; several are separated by commas."
        )
    return cast("list[Format]", list(dict.fromkeys(names)))


def _in_record(folder: Path) -> bool:
    top = folder.absolute()
    return (top / "run.json").is_file() or (top.parent.parent / "run.json").is_file()


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    lines = []
    for each in result["files"].values():
        line = f"{each['file']}, {each['bytes'] / 1e6:.2f} MB"
        if "largest_difference" in each:
            line += f", within {each['largest_difference']:.0e} of torch on {each['images']} images"
        lines.append(line)
    return {"written": lines, "model card": result["card"]}


app.command()(command(export, shown=_shown))


def main() -> None:
    """The command line."""
    app()


if __name__ == "__main__":
    main()
