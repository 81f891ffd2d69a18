"""`medrega`: parse, call the engine, render, map errors to exit codes; the only place that prints and exits.

Heavy imports wait inside the commands, so `--help` and `--version` load neither numpy nor onnxruntime. Results go to
standard output, talk to standard error.
"""

from __future__ import annotations

import errno
import functools
import importlib
import importlib.util
import inspect
import json
import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from medrega_edge import __version__
from medrega_edge.errors import InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.plain import json_text, printable
from medrega_edge.prompts import NOTICE, NOTICE_ZH

if TYPE_CHECKING:
    from rich.console import Console

    from medrega_edge.batch import Asking
    from medrega_edge.engine import Engine
    from medrega_edge.package import Package
    from medrega_edge.results import Answer

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
bundle_app = typer.Typer(context_settings=HELP, no_args_is_help=True, help="Everything for a machine without a network.")
app.add_typer(bundle_app, name="bundle")

ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.", envvar="MEDREGA_MODEL")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all.", envvar="MEDREGA_THREADS")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda; never another than the one named.")]
TaskOption = Annotated[str | None, typer.Option(help="Task; default: read off the question.")]
LanguageOption = Annotated[str | None, typer.Option("--lang", help="en or zh; default: language of the question.")]
WindowOption = Annotated[str | None, typer.Option(help="lung|soft|brain|bone|liver|mediastinum (CT), or C,W.")]
PlaneOption = Annotated[str | None, typer.Option(help="Of a NIfTI volume: axial, coronal or sagittal.")]
IdentifiersOption = Annotated[
    bool, typer.Option("--include-identifiers", help="Put paths of images into the JSON; they may name patients.")
]

ImageOrOther = Annotated[str, typer.Argument(metavar="IMAGE", help="PNG, JPEG, TIFF, DICOM or NIfTI; or --sample.")]
OptionalImage = Annotated[str | None, typer.Argument(metavar="IMAGE", help="PNG, JPEG, TIFF, DICOM or NIfTI; or --sample.")]


@dataclass
class Shared:
    """The options of every command that answers about one image."""

    sample: Annotated[str | None, typer.Option(help="A scan that ships with the program: abdomen-mri.")] = None
    language: LanguageOption = None
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of a file with several, from 0.")] = None
    window: WindowOption = None
    plane: PlaneOption = None
    slice_: Annotated[int | None, typer.Option("--slice", min=0, help="Slice of a NIfTI volume, from 0.")] = None
    save: Annotated[Path | None, typer.Option(help="Write the image with its regions drawn, as PNG.")] = None
    dicom: Annotated[str | None, typer.Option(help="Write DICOM objects, of sr,gsps,sc; with --dicom-to.")] = None
    dicom_to: Annotated[Path | None, typer.Option(help="Folder for the DICOM objects.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (schema 1) and nothing else.")] = False
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 5 when the answer carries warnings.")] = False
    include_identifiers: IdentifiersOption = False
    model: ModelOption = None
    threads: ThreadsOption = None
    device: DeviceOption = "cpu"


def _sharing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; it receives them as one `shared`."""
    hints = get_type_hints(Shared, include_extras=True)
    own = inspect.signature(command, eval_str=True).parameters
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in own.values() if p.name != "shared"]
    parameters += [inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name]) for f in fields(Shared)]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        shared = Shared(**{f.name: given.pop(f.name) for f in fields(Shared)})
        command(shared=shared, **given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    del wrapper.__wrapped__
    return wrapper


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
        _echo(f"medrega-edge {__version__}")
        raise typer.Exit


@app.command()
@_sharing
def ask(
    image_or_question: ImageOrOther,
    question: Annotated[str | None, typer.Argument(help="What to ask; English or Chinese.")] = None,
    task: TaskOption = None,
    box: Annotated[str | None, typer.Option(help="x1,y1,x2,y2 in pixels: ask what is in this box.")] = None,
    regions_first: Annotated[
        bool, typer.Option("--cot", help="Find the regions that matter first, then answer with them (Regional CoT).")
    ] = False,
    *,
    shared: Shared,
) -> None:
    """Answer one QUESTION about IMAGE.

    medrega ask scan.png "locate the liver"

    medrega ask --sample abdomen-mri "请定位肝脏" --save marked.png
    """
    if shared.sample is not None and question is None:
        image, question = None, image_or_question
    elif question is None:
        raise UsageError('Give an IMAGE and a QUESTION, for example: medrega ask scan.png "locate the liver".')
    else:
        image = image_or_question
    request: dict[str, Any] = {"question": question, "task": task, "regions_first": regions_first}
    request["box"] = _box(box) if box else None
    _answer_one(image, request, shared)


@app.command()
@_sharing
def locate(
    image_or_name: ImageOrOther,
    names: Annotated[list[str] | None, typer.Argument(help="What to locate: one name or several.")] = None,
    *,
    shared: Shared,
) -> None:
    """Locate structures and lesions by name.

    medrega locate scan.png liver spleen "both kidneys" --save marked.png
    """
    names = list(names or ())
    if shared.sample is not None:
        names.insert(0, image_or_name)
    if not names:
        raise UsageError("Say what to locate, for example: medrega locate scan.png liver.")
    image = None if shared.sample is not None else image_or_name
    request = {"question": ", ".join(names), "task": "detect"}
    _answer_one(image, request, shared)


@app.command()
@_sharing
def identify(
    image: OptionalImage = None,
    box: Annotated[str, typer.Option(help="x1,y1,x2,y2 in pixels of the image.")] = ...,  # type: ignore[assignment]
    *,
    shared: Shared,
) -> None:
    """Name what lies in a box.

    medrega identify scan.png --box 52,80,182,195 --lang zh
    """
    request = {"question": "", "task": "identify", "box": _box(box)}
    _answer_one(image, request, shared)


@app.command()
@_sharing
def classify(
    image: OptionalImage = None,
    labels: Annotated[str | None, typer.Option(help="Candidates, separated by commas.")] = None,
    label_set: Annotated[str | None, typer.Option("--set", help="A named list of them; see `model info --labels`.")] = None,
    several: Annotated[bool, typer.Option("--several", help="More than one may be right.")] = False,
    regions_first: Annotated[bool, typer.Option("--cot", help="Find regions first, then decide with them.")] = False,
    *,
    shared: Shared,
) -> None:
    """Choose among labels for the whole image.

    medrega classify skin.png --set skin

    medrega classify xray.png --labels "fracture,no fracture"
    """
    if (labels is None) == (label_set is None):
        raise UsageError("Give the candidates with --labels a,b,c or the name of a list with --set, one of the two.")
    candidates = label_set or [part.strip() for part in re.split("[,，;；]", labels or "")]
    request = {
        "question": "" if label_set else str(labels),
        "task": "classify",
        "labels": candidates,
        "several": several,
        "regions_first": regions_first,
    }
    _answer_one(image, request, shared)


@app.command()
@_sharing
def report(
    image: OptionalImage = None,
    grounded: Annotated[bool, typer.Option("--grounded", help="Locate what the report names.")] = False,
    *,
    shared: Shared,
) -> None:
    """Describe an image: its kind, the part of the body, what is seen, what is abnormal.

    medrega report scan.png --grounded --save marked.png
    """
    request = {"question": "", "task": "grounded_report" if grounded else "report"}
    _answer_one(image, request, shared)


@app.command()
@_sharing
def chat(
    image: OptionalImage = None,
    *,
    shared: Shared,
) -> None:
    """Ask about one image many times: it is looked at once. One question a line; an empty line ends.

    medrega chat scan.png
    """
    from medrega_edge import render
    from medrega_edge.images import View

    engine = _engine(shared.model, shared.threads, shared.device)
    encoded = engine.open(_place(image, shared.sample), view=View(shared.frame, shared.window, shared.plane, shared.slice_))
    talk = _console(stderr=True)
    while True:
        talk.print("? ", end="")
        line = sys.stdin.readline()
        if not line.strip():
            break
        try:
            answer = engine.ask(encoded, line.strip(), language=shared.language)
        except UsageError as error:  # the next question may be a better one
            talk.print(printable(f"error: {error}"), soft_wrap=True)
            continue
        _say_what_was_asked(answer)
        render.show(answer, _console())


def _place(image: str | None, sample: str | None) -> str:
    """The file to look at: the one named, or a sample's."""
    if (image is None) == (sample is None):
        raise UsageError("Give an IMAGE or --sample, one of the two.")
    if image is not None:
        return image
    from medrega_edge.samples import sample_path

    assert sample is not None
    return str(sample_path(sample))


def _answer_one(image: str | None, request: dict[str, Any], shared: Shared) -> None:
    """Look at one image, ask one thing, show the answer."""
    from medrega_edge import render
    from medrega_edge.images import View
    from medrega_edge.windows import preset_for

    path = _place(image, shared.sample)
    if shared.save is not None:
        render.check_picture_place(shared.save, Path(path))
    objects = _object_places(shared)
    engine = _engine(shared.model, shared.threads, shared.device)
    preset = preset_for(request["question"])
    encoded = engine.open(path, view=View(shared.frame, shared.window, shared.plane, shared.slice_, preset))
    answer = engine.ask(encoded, language=shared.language, **request)
    if shared.as_json:
        _echo(render.to_json(answer, shared.include_identifiers))
    else:
        _say_what_was_asked(answer)
        render.show(answer, _console())
    if shared.save is not None:
        render.save_picture(render.marked(encoded.image, answer), shared.save)
    if objects:
        from medrega_edge.dicom_out import write_objects

        write_objects(answer, Path(path), render.marked(encoded.image, answer), objects)
    if shared.strict and answer.warnings:
        raise typer.Exit(5)


def _object_places(shared: Shared) -> dict[str, Path]:
    """Where the DICOM objects go that were asked for, checked before any work."""
    if (shared.dicom is None) != (shared.dicom_to is None):
        raise UsageError("--dicom and --dicom-to go together: which objects, and the folder for them.")
    if shared.dicom is None or shared.dicom_to is None:
        return {}
    from medrega_edge.dicom_out import parse_kinds, places

    return places(shared.dicom_to, parse_kinds(shared.dicom))


def _say_what_was_asked(answer: Answer) -> None:
    kind = answer.image.modality or "?"
    if answer.image.modality_confidence is not None:
        kind += f" ({answer.image.modality_confidence:.2f})"
    asked = f"{answer.task} · {answer.language} · {kind} · {answer.model.name} · {answer.device}"
    _console(stderr=True).print(printable(asked), style="dim")


@app.command()
def batch(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="JSONL of questions, or a folder of images.")],
    out: Annotated[Path, typer.Option(help="JSONL of answers, in the same order.")],
    question: Annotated[str | None, typer.Option(help="What to ask about every image of a folder.")] = None,
    csv: Annotated[Path | None, typer.Option(help="The answers as CSV besides, one line a region.")] = None,
    task: TaskOption = None,
    language: LanguageOption = None,
    window: WindowOption = None,
    plane: PlaneOption = None,
    include_identifiers: IdentifiersOption = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Answer every line of a JSONL file, or one question about every image of a folder.

    medrega batch questions.jsonl --out answers.jsonl

    medrega batch FOLDER --question "locate the liver" --out answers.jsonl --csv answers.csv

    A line of questions holds id, image, question; task, language, box, labels may follow. Image paths are relative to the
    file. A folder is gone through with all folders in it, a file of several frames or slices picture by picture.

    What fails gives an error in its place, and exit code 1. Interrupted, the same command goes on where it stopped.
    """
    from medrega_edge.batch import Folder, Questions, check_apart, fingerprint
    from medrega_edge.files import check_place
    from medrega_edge.journal import Journal
    from medrega_edge.package import find
    from medrega_edge.table import write_csv

    places = [out] if csv is None else [out, csv]
    if csv is not None and csv.absolute() == out.absolute():
        raise UsageError("The answers and the CSV cannot be one file; name two.")
    work: Folder | Questions
    if source.is_dir():
        check_apart(source, *places)
        work = Folder(source, _asking(question, task, language, window, plane), include_identifiers)
    elif any(given is not None for given in (question, task, language, window, plane)):
        raise UsageError("What is asked stands in the file of questions; --question and its like go with a folder.")
    else:
        work = Questions(source, include_identifiers)
    for place in places:
        check_place(place, source)
    job = fingerprint(__version__, find(model).sha256, device, work.identity())
    with Journal(out, job) as journal:
        engine = _engine(model, threads, device)
        if journal.place.item or journal.place.part:
            _echo(f"going on behind the first {journal.place.item} of {len(work)}", err=True)
        with _progress(len(work), journal.place.item) as advance:
            for at, row in work.answers(engine, journal.place):
                journal.add(at, row)
                advance(at.item + (at.part + 1) / at.parts)
        journal.publish()
        if csv is not None:
            write_csv(journal.rows(), csv)
        answered, failed = _tell_failures(journal.rows())
        journal.remove()
    _echo(f"{answered} answered, {failed} failed", err=True)
    if failed:
        raise typer.Exit(1)


def _asking(question: str | None, task: str | None, language: str | None, window: str | None, plane: str | None) -> Asking:
    from medrega_edge.batch import Asking
    from medrega_edge.medical_image import View
    from medrega_edge.windows import parse_window, preset_for

    if question is None and task is None:
        raise UsageError('Say what to ask about every image, for example: --question "locate the liver".')
    if window is not None:
        parse_window(window)
    view = View(window=window, plane=plane, preset=preset_for(question or ""))
    return Asking(question or "", task, language, view)


FAILURES_TOLD = 20


def _tell_failures(rows: Iterator[dict[str, Any]]) -> tuple[int, int]:
    """List what failed, by id, the first of them; return how many rows were answered and how many not."""
    answered = failed = 0
    for row in rows:
        if "error" not in row:
            answered += 1
            continue
        failed += 1
        if failed <= FAILURES_TOLD:
            _echo(f"failed: {row['id']}: {row['error']['message']}", err=True)
    if failed > FAILURES_TOLD:
        _echo(f"failed: {failed - FAILURES_TOLD} more, each with its error in the answers", err=True)
    return answered, failed


@app.command()
def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where images arrive; they are read, never moved.")],
    question: Annotated[str, typer.Option(help="What to ask about each of them.")],
    out: Annotated[Path, typer.Option(help="Folder of answers: one JSONL a file, named after its SHA-256.")],
    task: TaskOption = None,
    language: LanguageOption = None,
    window: WindowOption = None,
    plane: PlaneOption = None,
    settle: Annotated[float, typer.Option(min=0.1, help="Seconds without a change after which a file has arrived.")] = 2.0,
    include_identifiers: IdentifiersOption = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = "cpu",
) -> None:
    """Ask about every image that arrives in a folder, until interrupted.

    medrega watch INBOX --question "locate the liver" --out ANSWERS

    Run again, it answers what came in the meantime, and nothing twice.
    """
    from medrega_edge.batch import fingerprint
    from medrega_edge.package import find
    from medrega_edge.watch import watch as watching

    asking = _asking(question, task, language, window, plane)
    job = fingerprint(__version__, find(model).sha256, device, repr(asking), include_identifiers)
    engine = _engine(model, threads, device)
    _echo("watching; interrupt to end", err=True)
    for rows in watching(engine, folder, out, asking, job, settle, include_identifiers):
        for row in rows:
            _echo(f"{row['id']}: {row['error']['message'] if 'error' in row else 'answered'}", err=True)


@model_app.command("list")
def model_list() -> None:
    """List the packages that are there."""
    from medrega_edge.package import Package, installed

    for folder in installed():
        try:
            package = Package.open(folder)
        except MedregaError as error:
            _echo(f"{folder.name}  cannot be used: {error}")
            continue
        manifest = package.manifest
        _echo(f"{manifest.name}  {manifest.version}  {manifest.precision}  {package.bytes / 1e6:.1f} MB  {package.folder}")


@model_app.command("info")
def model_info(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest and certificate as JSON.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="List what it can locate, and the label sets, instead.")] = False,
) -> None:
    """Show what a package is and how accurate it was measured to be."""
    from medrega_edge.package import find

    package = find(model)
    if labels:
        _list_labels(package)
        return
    certificate = json.loads(package.text("certificate"))
    manifest = json.loads(package.manifest.to_json())
    if as_json:
        _echo(json_text({"manifest": manifest, "certificate": certificate}))
        return
    for key in ("name", "version", "source", "precision"):
        _echo(f"{key:<12}{manifest[key]}")
    for key in ("tasks", "languages", "modalities"):
        _echo(f"{key:<12}{', '.join(manifest[key])}")
    _echo(f"{'size':<12}{package.bytes / 1e6:.1f} MB")
    _echo(f"{'manifest':<12}{package.sha256}")
    _echo("certificate")
    _echo(json_text(certificate, indent=1))
    _echo(NOTICE)


def _list_labels(package: Package) -> None:
    from medrega_edge.label_sets import LABEL_SETS
    from medrega_edge.prompts import PromptBook
    from medrega_edge.terms import Term, table

    terms = table()
    for en, zh in PromptBook.from_json(package.text("prompts")).labels:
        code = terms.get(en.removeprefix("left ").removeprefix("right "), Term(en)).snomed
        _echo(f"{en}  {zh}" + (f"  SCT {code}" if code else ""))
    for one in LABEL_SETS.values():
        _echo(f"--set {one.name}: " + ", ".join(f"{en} {zh}" for en, zh in one.labels))


@model_app.command("verify")
def model_verify(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
) -> None:
    """Check every file of a package against its manifest."""
    from medrega_edge.package import find

    package = find(model)
    package.verify()
    _echo(f"{package.manifest.name} {package.manifest.version}: every file is the one that was signed off")


@model_app.command("path")
def model_path(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
) -> None:
    """Print the folder of a package."""
    from medrega_edge.package import find

    _echo(str(find(model).folder))


@bundle_app.command("create")
def bundle_create(
    out: Annotated[Path, typer.Argument(help="The file to write, for example medrega-bundle.zip.")],
    wheels: Annotated[Path, typer.Option(help="Folder of wheels, filled by: pip download medrega-edge -d FOLDER.")],
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Put wheels, model package, hashes, SBOM and self-test into one file.

    medrega bundle create medrega-bundle.zip --wheels FOLDER
    """
    from medrega_edge.bundle import create, read_wheels
    from medrega_edge.files import check_place
    from medrega_edge.package import find

    check_place(out)
    read_wheels(wheels)  # what is missing is told before the model is loaded
    create(out, wheels, find(model), _engine(model, threads, "cpu"))
    _echo(f"{out.stat().st_size / 1e6:.1f} MB; its README.txt says how to install it")


@bundle_app.command("verify")
def bundle_verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    file_only: Annotated[bool, typer.Option("--file-only", help="Check the file, not what is installed here.")] = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Check every hash of a bundle, what is installed against it, and that this machine answers as it should."""
    from medrega_edge.bundle import check_installed, self_test, verify
    from medrega_edge.package import find

    contents = verify(bundle)
    _echo(f"{len(contents['files'])} files: each is the one that was put there")
    if file_only:
        return
    check_installed(contents, find(model))
    _echo(f"{len(contents['wheels'])} packages and the model: installed are those of the bundle")
    asked = self_test(bundle, _engine(model, threads, "cpu"))
    _echo(f"{asked} questions: answered as they should be")


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"The box '{text}' cannot be read; write it as x1,y1,x2,y2 in pixels.") from None
    return x1, y1, x2, y2


def _engine(model: str | None, threads: int | None, device: str) -> Engine:
    from medrega_edge.engine import load

    return load(model, threads=threads, device=device)


def _echo(text: str, err: bool = False) -> None:
    typer.echo(printable(text), err=err)


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, emoji=False, markup=False)


SECONDS_BETWEEN = 30.0  # lines of progress, where nobody watches a bar


@contextmanager
def _progress(total: int, done: int) -> Iterator[Callable[[float], None]]:
    """Show how far the work is and how long it will take; gives what is to be called with the number of items done."""
    console = _console(stderr=True)
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as progress:
            shown = progress.add_task("", total=total, completed=done)
            yield lambda now: progress.update(shown, completed=now)
        return
    begun = told = time.monotonic()

    def tell(now: float) -> None:
        nonlocal told
        seconds = time.monotonic()
        if seconds - told >= SECONDS_BETWEEN and now < total:
            told = seconds
            left = (seconds - begun) / (now - done) * (total - now)
            _echo(f"{int(now)} of {total}, about {left / 60:.0f} min left", err=True)

    yield tell


# The other three rooms come alive when what they need is installed: (command, module with `mount`, extra, needs).
_ROOMS = (
    ("train", "medrega_train.cli", "train", ("torch", "transformers", "accelerate")),
    ("export", "medrega_export.cli", "export", ("torch", "transformers", "gptqmodel", "onnx")),
    ("bench", "medrega_bench.cli", "bench", ("scipy", "sacrebleu", "rouge_score", "nltk", "jieba", "pycocotools", "jinja2")),
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
    """Run the command line; the exit codes are those of `errors`, 0, 1, and 130 or 143 for what was interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that cannot show a character shows "?" instead of failing
    warnings.simplefilter("ignore")  # libraries would quote header values, and they may be a patient's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with suppress(ImportError):  # where there are no core files either: a crash must not write an image to a disk
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        _mount_rooms()
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if not isinstance(error, MedregaError) and sys.argv[1:2] in [[room[0]] for room in _ROOMS]:
            raise  # who trains or exports wants to see it all; those commands read no patient's header
        code = _tell(error)
    sys.exit(code or 0)


def _tell(error: Exception) -> int:
    """Say what went wrong, in words that are ours; return the exit code."""
    if hasattr(error, "format_message"):  # of the parser: it would quote what was given, and that may name a patient
        for given in sorted(sys.argv[1:], key=len, reverse=True):
            if given and not re.fullmatch(r"[a-z]+|--?[a-z-]+", given):
                error.message = error.message.replace(given, "...")  # type: ignore[attr-defined]
        error.show()  # type: ignore[attr-defined]
        return UsageError.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of standard output: files have their own words
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        error = ResourceError("There is no room to write the output; make room and ask again.")
    if isinstance(error, MemoryError):
        error = ResourceError("There is not enough memory for this; close other programs or use a smaller package.")
    if not isinstance(error, MedregaError):
        error = InternalError(error)
    _echo(f"error: {error}", err=True)
    return error.exit_code


if __name__ == "__main__":
    main()
