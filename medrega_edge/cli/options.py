"""Options that several commands share, each written once, and the engine that they ask for."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from medrega_edge.cli.console import tell

if TYPE_CHECKING:
    from medrega_edge.engine import Engine
    from medrega_edge.images.medical_image import View

ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.", envvar="MEDREGA_MODEL")]


def _as_many_as_there_are(threads: int | None) -> int | None:
    """No more threads than processors: hundreds on a few wait for each other for minutes."""
    there = os.cpu_count() or 1
    if threads is None or threads <= there:
        return threads
    tell(f"{threads} threads were asked for; there are {there} processors, and so many are used")
    return there


_THREADS = typer.Option(min=1, help="CPU threads; default: all.", envvar="MEDREGA_THREADS", callback=_as_many_as_there_are)
ThreadsOption = Annotated[int | None, _THREADS]
DeviceOption = Annotated[
    str, typer.Option(help="cpu or cuda, never another than the one named; or auto, which says what it took.")
]
TaskOption = Annotated[str | None, typer.Option(help="Task; default: read off the question.")]
LanguageOption = Annotated[
    str | None, typer.Option("--lang", help="en or zh; default: language of the question, without one the locale's.")
]
WindowOption = Annotated[str | None, typer.Option(help="lung, soft, brain, bone, liver, mediastinum (CT); or C,W.")]
PlaneOption = Annotated[str | None, typer.Option(help="Of a NIfTI volume: axial, coronal or sagittal.")]
SeriesOption = Annotated[int | None, typer.Option(min=0, help="Of a folder of DICOM files: the series, from 0.")]
IdentifiersOption = Annotated[
    bool, typer.Option("--include-identifiers", help="Put paths of images into the JSON; they may name patients.")
]


@dataclass
class ImageOptions:
    """The options of every command that looks at one image."""

    sample: Annotated[str | None, typer.Option(help="A scan that ships with the program: abdomen-mri.")] = None
    language: LanguageOption = None
    frame: Annotated[int | None, typer.Option(min=0, help="Frame of a file with several, from 0.")] = None
    window: WindowOption = None
    plane: PlaneOption = None
    series: SeriesOption = None
    slice_: Annotated[int | None, typer.Option("--slice", min=0, help="Slice of a volume or series, from 0.")] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print an answer as one line of JSON, and nothing else.")] = False
    strict: Annotated[bool, typer.Option("--strict", help="Exit with code 5 when an answer carries warnings.")] = False
    include_identifiers: IdentifiersOption = False
    model: ModelOption = None
    threads: ThreadsOption = None
    device: DeviceOption = "cpu"

    def view(self, question: str = "") -> View:
        """How to look at the image that `question` is about."""
        from medrega_edge.images.medical_image import View
        from medrega_edge.tasks.intent import window_preset_for

        return View(
            frame=self.frame,
            window=self.window,
            plane=self.plane,
            slice=self.slice_,
            default_preset=window_preset_for(question),
            series=self.series,
        )


@dataclass
class AnswerOptions(ImageOptions):
    """The options of every command that gives one answer about one image."""

    save: Annotated[Path | None, typer.Option(help="Write the image with its regions drawn, as PNG.")] = None
    dicom: Annotated[str | None, typer.Option(help="Write DICOM objects, of sr,gsps,sc; with --dicom-to.")] = None
    dicom_to: Annotated[Path | None, typer.Option(help="Folder for the DICOM objects.")] = None


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the kind of its argument `shared`; it receives them as that one argument."""
    own = inspect.signature(command, eval_str=True).parameters
    kind = own["shared"].annotation
    hints = get_type_hints(kind, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in own.values() if p.name != "shared"]
    parameters += [inspect.Parameter(f.name, keyword, default=f.default, annotation=hints[f.name]) for f in fields(kind)]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        shared = kind(**{f.name: given.pop(f.name) for f in fields(kind)})
        command(shared=shared, **given)

    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    del wrapper.__wrapped__
    return wrapper


def load_engine(model: str | None, threads: int | None, device: str) -> Engine:
    """Load a package, the default one unless named."""
    from medrega_edge.engine import load

    engine = load(model, threads=threads, device=device)
    if device == "auto":
        tell(f"device: {engine.device} ({engine.device_reason})")
    return engine
