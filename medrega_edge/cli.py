"""`medrega`: parse, call the engine, render, map errors to exit codes; the only place that prints and exits.

Heavy imports wait inside the commands, so `--help` and `--version` load neither numpy nor onnxruntime. Results go to
standard output, talk to standard error.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medrega_edge import __version__
from medrega_edge.errors import MedregaError, ResourceError, UsageError
from medrega_edge.prompts import NOTICE, NOTICE_ZH

if TYPE_CHECKING:
    from rich.console import Console

    from medrega_edge.engine import Engine

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    context_settings=HELP,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback would show local variables, and they hold patients' data
    rich_markup_mode=None,
    epilog=f"{NOTICE}. {NOTICE_ZH}。",
)
model_app = typer.Typer(context_settings=HELP, no_args_is_help=True, help="List, inspect, verify or locate model packages.")
app.add_typer(model_app, name="model")

ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.", envvar="MEDREGA_MODEL")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all.", envvar="MEDREGA_THREADS")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda; never another than the one named.")]
TaskOption = Annotated[str | None, typer.Option(help="Task; default: read off the question.")]
LanguageOption = Annotated[str | None, typer.Option("--lang", help="en or zh; default: language of the question.")]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", "-V", is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Ask about a medical image; get an answer with the regions it speaks of.

    English and Chinese, on this machine; nothing is sent anywhere.

    medrega ask scan.png "locate the liver"

    medrega ask ct.dcm "请定位肝脏" --save marked.png
    """
    if version:
        typer.echo(f"medrega-edge {__version__}")
        raise typer.Exit


@app.command()
def ask(
    image_or_question: Annotated[
        str, typer.Argument(metavar="IMAGE", help="PNG, JPEG, TIFF or DICOM; left out with --sample.")
    ],
    question: Annotated[str | None, typer.Argument(help="What to ask; English or Chinese.")] = None,
    sample: Annotated[str | None, typer.Option(help="Ask about a scan that ships with the program: abdomen-mri.")] = None,
    task: TaskOption = None,
    language: LanguageOption = None,
    box: Annotated[str | None, typer.Option(help="x1,y1,x2,y2 in pixels: ask what is in this box.")] = None,
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of a file with several, from 0.")] = None,
    window: Annotated[str | None, typer.Option(help="lung|soft|brain|bone|liver|mediastinum (CT), or C,W.")] = None,
    plane: Annotated[str | None, typer.Option(help="Of a NIfTI volume: axial, coronal or sagittal.")] = None,
    slice_: Annotated[int | None, typer.Option("--slice", min=0, help="Slice of a NIfTI volume, from 0.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the image with its regions drawn, as PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (schema 1) and nothing else.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 3 when the answer carries warnings.")] = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Answer one QUESTION about IMAGE.

    medrega ask scan.png "locate the liver"

    medrega ask --sample abdomen-mri "请定位肝脏" --save marked.png
    """
    if sample is not None and question is None:
        from medrega_edge.samples import sample_path

        image, question = str(sample_path(sample)), image_or_question
    elif sample is not None:
        raise UsageError("Give an IMAGE or --sample, not both.")
    elif question is None:
        raise UsageError('Give an IMAGE and a QUESTION, for example: medrega ask scan.png "locate the liver".')
    else:
        image = image_or_question
    if save is not None:
        from medrega_edge.render import check_picture_place

        check_picture_place(save, Path(image))
    wanted = _box(box) if box else None
    from medrega_edge import render
    from medrega_edge.images import View
    from medrega_edge.windows import preset_for

    engine = _engine(model, threads, device)
    encoded = engine.open(image, view=View(frame, window, plane, slice_, preset_for(question)))
    answer = engine.ask(encoded, question, task, language, wanted)
    if as_json:
        typer.echo(render.to_json(answer))
    else:
        _console(stderr=True).print(
            f"{answer.task} · {answer.language} · {answer.model.name} · {answer.device}", style="dim"
        )
        render.show(answer, _console())
    if save is not None:
        render.save_picture(render.marked(encoded.image, answer), save)
    if strict and answer.warnings:
        raise typer.Exit(3)


@app.command()
def batch(
    questions: Annotated[Path, typer.Argument(help="JSONL: id, image, question; task, language, box may follow.")],
    out: Annotated[Path, typer.Option(help="JSONL of answers, in the same order.")],
    model: ModelOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Answer every line of a JSONL file.

    medrega batch questions.jsonl --out answers.jsonl

    Image paths are relative to the questions' file. A line that fails gives an error in its place, and exit code 1.
    """
    from medrega_edge.batch import answer_lines, read_lines, write_lines
    from medrega_edge.files import check_place

    lines = read_lines(questions)
    check_place(out, questions)
    engine = _engine(model, threads, device)
    failed = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal failed
        for row in _with_progress(answer_lines(engine, lines, questions.parent), len(lines)):
            failed += "error" in row
            yield row

    write_lines(counted(), out)
    typer.echo(f"{len(lines) - failed} answered, {failed} failed", err=True)
    if failed:
        raise typer.Exit(1)


@model_app.command("list")
def model_list() -> None:
    """List the packages that are there."""
    from medrega_edge.package import Package, installed

    for folder in installed():
        try:
            package = Package.open(folder)
        except MedregaError as error:
            typer.echo(f"{folder.name}  cannot be used: {error}")
            continue
        manifest = package.manifest
        typer.echo(
            f"{manifest.name}  {manifest.version}  {manifest.precision}  {package.bytes / 1e6:.1f} MB  {package.folder}"
        )


@model_app.command("info")
def model_info(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest and certificate as JSON.")] = False,
) -> None:
    """Show what a package is and how accurate it was measured to be."""
    from medrega_edge.package import find

    package = find(model)
    certificate = json.loads(package.text("certificate"))
    manifest = json.loads(package.manifest.to_json())
    if as_json:
        typer.echo(json.dumps({"manifest": manifest, "certificate": certificate}, ensure_ascii=False))
        return
    for key in ("name", "version", "source", "precision"):
        typer.echo(f"{key:<12}{manifest[key]}")
    for key in ("tasks", "languages", "modalities"):
        typer.echo(f"{key:<12}{', '.join(manifest[key])}")
    typer.echo(f"{'size':<12}{package.bytes / 1e6:.1f} MB")
    typer.echo(f"{'manifest':<12}{package.sha256}")
    typer.echo("certificate")
    typer.echo(json.dumps(certificate, ensure_ascii=False, indent=1))
    typer.echo(NOTICE)


@model_app.command("verify")
def model_verify(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
) -> None:
    """Check every file of a package against its manifest."""
    from medrega_edge.package import find

    package = find(model)
    package.verify()
    typer.echo(f"{package.manifest.name} {package.manifest.version}: every file is the one that was signed off")


@model_app.command("path")
def model_path(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
) -> None:
    """Print the folder of a package."""
    from medrega_edge.package import find

    typer.echo(str(find(model).folder))


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"The box '{text}' cannot be read; write it as x1,y1,x2,y2 in pixels.") from None
    return x1, y1, x2, y2


def _engine(model: str | None, threads: int | None, device: str) -> Engine:
    from medrega_edge.engine import load

    return load(model, threads=threads, device=device)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


def _with_progress(rows: Iterator[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    console = _console(stderr=True)
    if not console.is_terminal:
        yield from rows
        return
    from rich.progress import track

    yield from track(rows, "answering", total=total, console=console)


# The other three rooms come alive when what they need is installed: (command, module with `mount`, extra, needs).
_ROOMS = (
    ("train", "medrega_train.cli", "train", ("torch", "transformers", "accelerate")),
    ("export", "medrega_export.cli", "export", ("torch", "transformers", "gptqmodel", "onnx")),
    ("bench", "medrega_bench.cli", "bench", ()),
)


def _mount_rooms() -> None:
    for name, module, extra, needs in _ROOMS:
        if all(importlib.util.find_spec(need) for need in needs):
            importlib.import_module(module).mount(app)
        else:
            _mount_missing(name, extra)


def _mount_missing(name: str, extra: str) -> None:
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    install = f"pip install 'medrega-edge[{extra}]'"

    @app.command(name, context_settings=anything, help=f"Not installed: {install}")
    def missing() -> None:
        raise ResourceError(f"`medrega {name}` needs an extra that is not installed; install it with: {install}.")


def main() -> None:
    """Run the command line; the exit codes are those of DESIGN.md."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that cannot show a character shows "?" instead of failing
    warnings.simplefilter("ignore")  # libraries would quote header values, and they may be a patient's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _mount_rooms()
    try:
        app()
    except MedregaError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except MemoryError:
        typer.echo("error: There is not enough memory for this; close other programs or use a smaller package.", err=True)
        sys.exit(ResourceError.exit_code)


if __name__ == "__main__":
    main()
