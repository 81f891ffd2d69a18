"""`medrega doctor`: whether everything that an answer needs is there and works."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import typer

from medrega_edge.cli.console import print_result, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import CacheOption, ModelOption, ModelOptions, OwnLanguageOption
from medrega_edge.errors import MedregaError
from medrega_edge.i18n.message import Message, has_chinese

EXTRAS = ("dicom", "codecs", "nifti", "serve", "pacs", "ray")
SAMPLE, QUESTION = "abdomen-mri", "locate the liver"


def doctor(model: ModelOption = None, cache: CacheOption = None, language: OwnLanguageOption = None) -> None:
    """Check this installation: program, model package, memory, devices, extras, cache, and one answer.

    medrega doctor
    """
    fault = 0
    for check in (_program, _settings, _package, _processor, _extras, partial(_cache, cache), _answer):
        try:
            for finding in check(model):
                print_result(finding)
        except MedregaError as error:
            print_result(Message("doctor.fault", problem=error.message))
            fault = fault or error.exit_code
    if fault:
        raise typer.Exit(fault)


def _program(model: str | None) -> Iterator[Message]:
    from medrega_edge import __version__

    yield Message("doctor.program", version=__version__, python=platform.python_version(), system=platform.platform())
    yield Message("doctor.language", language=user_language().value)
    if not has_chinese():
        yield Message("cli.no_chinese")


def _settings(model: str | None) -> Iterator[Message]:
    from medrega_edge.cli.settings import settings_path

    path = settings_path()
    yield Message("doctor.settings", path=path) if path.is_file() else Message("doctor.no_settings", path=path)


def _package(model: str | None) -> Iterator[Message]:
    from medrega_edge.inference import memory
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    package.verify()
    yield Message("package.verified", name=package.manifest.name, version=package.manifest.version)
    memory.check(package)
    needed, free = memory.peak(package.manifest) / 1e6, memory.free()
    if free is not None:
        yield Message("doctor.memory", needed=needed, free=free / 1e6)


def _processor(model: str | None) -> Iterator[Message]:
    from medrega_edge.inference.devices import available_threads, choose_device

    device, reason = choose_device("auto")
    yield Message("doctor.threads", count=available_threads())
    yield Message("cli.device", device=device, reason=reason)


def _extras(model: str | None) -> Iterator[Message]:
    from importlib.metadata import PackageNotFoundError, distribution

    from medrega_edge.cli.plugins import missing_requirements

    try:
        installed = distribution("medrega-edge")
    except PackageNotFoundError:  # run from a checkout
        return
    for extra in EXTRAS:
        if missing_requirements(installed, extra):
            yield Message("doctor.no_extra", extra=extra, install=f"pip install 'medrega-edge[{extra}]'")
        else:
            yield Message("doctor.extra", extra=extra)


def _cache(folder: Path | None, model: str | None) -> Iterator[Message]:
    from medrega_edge.inference.prefix_cache import own_folder, usage

    if folder is None or not os.path.exists(folder):  # a check makes no folder
        yield Message("doctor.no_cache")
        return
    count, size = usage(own_folder(folder))
    yield Message("doctor.cache", path=folder, count=count, size=size / 1e6)


def _answer(model: str | None) -> Iterator[Message]:
    from medrega_edge.images.samples import sample_path

    engine = ModelOptions(model).load_engine()
    begun = time.perf_counter()
    engine.ask(engine.open(sample_path(SAMPLE)), QUESTION)
    yield Message("doctor.answered", sample=SAMPLE, milliseconds=(time.perf_counter() - begun) * 1000)


def mount(app: App) -> None:
    """Register `doctor`."""
    app.command(rich_help_panel="Installation")(doctor)
