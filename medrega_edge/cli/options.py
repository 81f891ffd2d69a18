"""Options that several commands share: each is declared once, in the group that it has in the help.

A command takes a group as one argument, whose type is a dataclass; a group may hold other groups:

    @with_shared_options
    def report(image: OptionalImage = None, *, shared: AnswerOptions) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from medrega_edge.cli.console import print_status
from medrega_edge.cli.settings import CACHE_VARIABLE
from medrega_edge.domain import Language, Task
from medrega_edge.i18n.message import Message
from medrega_edge.images.samples import SAMPLES, sample_frame

if TYPE_CHECKING:
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.images.medical_image import MedicalImage, View

QUESTION, IMAGE, OUTPUT, MODEL = "Question", "Image", "Output", "Model"  # groups of the help
WINDOWS = ("lung", "soft", "brain", "bone", "liver", "mediastinum")  # images/windowing.py, which loads numpy

question_option = partial(typer.Option, rich_help_panel=QUESTION)
image_option = partial(typer.Option, rich_help_panel=IMAGE)
output_option = partial(typer.Option, rich_help_panel=OUTPUT)
model_option = partial(typer.Option, rich_help_panel=MODEL)


def _at_most_all_processors(threads: int | None) -> int | None:
    """No more threads than processors: hundreds on a few wait for each other for minutes."""
    available = os.cpu_count() or 1
    if threads is None or threads <= available:
        return threads
    print_status(Message("cli.too_many_threads", threads=threads, processors=available))
    return available


def _windows() -> list[str]:
    return list(WINDOWS)


def _samples() -> list[str]:
    return list(SAMPLES)


TaskOption = Annotated[Task | None, question_option(help="Task. Default: guessed from the question.")]
LanguageOption = Annotated[
    Language | None,
    question_option("--lang", help="Language of the answer. Default: the question's, else the system's."),
]
OwnLanguageOption = Annotated[
    Language | None, output_option("--lang", expose_value=False, help="Language of the output. Default: the system's.")
]
ModelOption = Annotated[
    str | None, model_option("--model", "-m", metavar="PACKAGE", help="Package folder or name.", envvar="MEDREGA_MODEL")
]
ThreadsOption = Annotated[
    int | None,
    model_option(min=1, help="CPU threads; default: all.", envvar="MEDREGA_THREADS", callback=_at_most_all_processors),
]


CacheOption = Annotated[
    Path | None,
    model_option(
        metavar="FOLDER",
        help="Keep features of images here, so that a later process starts at the question. They may reveal the image.",
        envvar=CACHE_VARIABLE,
    ),
]


@dataclass(frozen=True)
class ModelOptions:
    """Which package answers, and on what."""

    model: ModelOption = None
    threads: ThreadsOption = None
    device: Annotated[
        Literal["cpu", "cuda", "auto"], model_option(help="Where the model runs; cpu and cuda never fall back.")
    ] = "cpu"
    cache: CacheOption = None
    cache_size: Annotated[
        int, model_option(min=0, metavar="MEGABYTES", help="Largest size of that folder's cache; 0: no cache.")
    ] = 2048

    @property
    def cache_folder(self) -> Path | None:
        """Folder of the cache; None for no cache."""
        return self.cache if self.cache_size else None

    @property
    def cache_bytes(self) -> int:
        """Largest size of the cache."""
        return self.cache_size << 20

    def load_engine(self) -> Engine:
        """Load the package; raises PackageError or ResourceError, and UsageError for a cache that cannot be used."""
        from medrega_edge.engine import load

        folder, size = self.cache_folder, self.cache_bytes
        engine = load(self.model, threads=self.threads, device=self.device, cache=folder, cache_bytes=size)
        if self.device == "auto":
            print_status(Message("cli.device", device=engine.device, reason=engine.device_reason))
        return engine

    def open_image(self, path: str, view: View) -> tuple[Engine, EncodedImage]:
        """Load the package while a thread reads the image, and encode it; raises as `load_engine` and `Engine.open`."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(max_workers=1) as pool:
            reading = pool.submit(_read, path, view)
            engine = self.load_engine()
            image, milliseconds = reading.result()
        return engine, engine.encode(image, milliseconds)


def _read(path: str, view: View) -> tuple[MedicalImage, float]:
    """Read an image; also returns how many milliseconds it took, its decoder imported."""
    from medrega_edge.images.reader import import_decoder, read_image

    import_decoder(path)
    begun = time.perf_counter()
    return read_image(path, view), (time.perf_counter() - begun) * 1000


@dataclass(frozen=True)
class ReadingOptions:
    """How images of any number are read."""

    window: Annotated[
        str | None,
        image_option(metavar="NAME|C,W", help=f"CT window: {', '.join(WINDOWS)}; or C,W.", autocompletion=_windows),
    ] = None
    plane: Annotated[Literal["axial", "coronal", "sagittal"] | None, image_option(help="Plane of a NIfTI volume.")] = None


@dataclass(frozen=True)
class PictureOptions(ReadingOptions):
    """Which picture of a file or folder is meant, and how it is read."""

    series: Annotated[int | None, image_option(min=0, help="Series in a folder of DICOM files, from 0.")] = None
    frame: Annotated[int | None, image_option(min=0, help="Frame of a file with several, from 0.")] = None
    slice_: Annotated[int | None, image_option("--slice", min=0, help="Slice of a volume or series, from 0.")] = None
    sample: Annotated[
        str | None,
        image_option(
            metavar="NAME",
            help=f"Instead of IMAGE, a scan that ships with the program: {', '.join(SAMPLES)}.",
            autocompletion=_samples,
        ),
    ] = None

    def view(self, question: str = "") -> View:
        """How to read the image that `question` is about."""
        from medrega_edge.images.medical_image import View
        from medrega_edge.tasks.window_words import window_preset_for

        frame = self.frame
        if frame is None and self.sample is not None:
            frame = sample_frame(self.sample)
        return View(
            frame=frame,
            window=self.window,
            plane=self.plane,
            slice=self.slice_,
            default_preset=window_preset_for(question),
            series=self.series,
        )


GuessOption = Annotated[
    bool, question_option("--guess", help="Give the best guess where the model is not sure; it is often wrong.")
]
MinConfidenceOption = Annotated[
    float,
    question_option(
        "--min-confidence",
        min=0.0,
        max=1.0,
        metavar="SHARE",
        help="State nothing that is less sure, 0 to 1; the answer says what it leaves out.",
    ),
]


@dataclass(frozen=True)
class PrintOptions:
    """How an answer is printed."""

    as_json: Annotated[bool, output_option("--json", help="Print each answer as one line of JSON, and nothing else.")] = (
        False
    )
    strict: Annotated[
        bool, output_option("--strict", help="Exit with code 5 if an answer has warnings or best guesses.")
    ] = False
    include_identifiers: Annotated[
        bool, output_option("--include-identifiers", help="Put the path of the image into the JSON; it may name a patient.")
    ] = False


@dataclass(frozen=True)
class FileOptions(PrintOptions):
    """How an answer is printed, and which files are written about it."""

    save: Annotated[
        Path | None, output_option(metavar="FILE.png", help="Write the image with the regions drawn, as PNG.")
    ] = None
    mask: Annotated[
        Path | None,
        output_option(metavar="FILE.png|.nii.gz", help="Write the masks: value i is region i, 0 the rest."),
    ] = None
    dicom: Annotated[
        str | None, output_option(metavar="KINDS", help="Write DICOM objects: any of sr,gsps,sc,seg,pdf; needs --dicom-to.")
    ] = None
    dicom_to: Annotated[
        Path | None, output_option(metavar="FOLDER", help="Folder for the DICOM objects; it is made if missing.")
    ] = None


@dataclass(frozen=True)
class ImageOptions:
    """The options of every command that asks about one image."""

    language: LanguageOption = None
    picture: PictureOptions = PictureOptions()
    output: PrintOptions = PrintOptions()
    model: ModelOptions = ModelOptions()


@dataclass(frozen=True)
class AnswerOptions(ImageOptions):
    """The options of every command that gives one answer about one image."""

    output: FileOptions = FileOptions()


@dataclass(frozen=True)
class ManyImagesOptions:
    """The options of every command that asks one question about many images."""

    task: TaskOption = None
    language: LanguageOption = None
    min_confidence: MinConfidenceOption = 0.0
    reading: ReadingOptions = ReadingOptions()
    de_identified: Annotated[
        bool, output_option("--de-identified", help="Name files by hash only: file names may name patients.")
    ] = False
    save_dir: Annotated[
        Path | None,
        output_option(metavar="FOLDER", help="Write each image with the regions drawn into this folder, as PNG."),
    ] = None
    model: ModelOptions = ModelOptions()


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each argument of a command whose type is a dataclass by the fields of the dataclass, as options."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for own in inspect.signature(command, eval_str=True).parameters.values():
        if is_dataclass(own.annotation):
            groups[own.name] = own.annotation
            parameters += [inspect.Parameter(n, keyword, default=d, annotation=a) for n, a, d in _options(own.annotation)]
        else:
            parameters.append(own.replace(kind=keyword))

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        built = {name: _built(kind, given) for name, kind in groups.items()}
        command(**built, **given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    del wrapper.__wrapped__
    return wrapper


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a group's options, read once for all commands that take the group."""
    return get_type_hints(kind, include_extras=True)


def _options(kind: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default of each option of a group, those of the groups that it holds among them."""
    hints = _hints(kind)
    for one in fields(kind):
        if is_dataclass(hints[one.name]):
            yield from _options(hints[one.name])
        else:
            yield one.name, hints[one.name], one.default


def _built(kind: Any, given: dict[str, Any]) -> Any:
    """Build a group from the options that it takes out of `given`."""
    hints = _hints(kind)
    return kind(
        **{f.name: _built(hints[f.name], given) if is_dataclass(hints[f.name]) else given.pop(f.name) for f in fields(kind)}
    )
