"""`medrega model`: the model packages that are found, what they are, and whether their files are whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.cli.console import print_json, print_result, user_language
from medrega_edge.cli.help import App
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import MedregaError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_edge.package.package import Package

model_app = App(help="List, inspect or verify model packages.")


@model_app.command("list")
def model_list() -> None:
    """List the packages that are installed.

    medrega model list
    """
    from medrega_edge.package.package import Package
    from medrega_edge.package.registry import list_packages

    for folder in list_packages():
        try:
            package = Package.open(folder)
        except MedregaError as error:
            print_result(Message("package.unusable", folder=folder.name, problem=error.message))
            continue
        manifest, size = package.manifest, package.total_bytes / 1e6
        print_result(f"{manifest.name}  {manifest.version}  {manifest.precision}  {size:.1f} MB  {package.folder}")


@model_app.command("info")
def model_info(
    model: Annotated[
        str | None, typer.Argument(metavar="PACKAGE", help="Package folder or name; default: the one that answers.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest and certificate as JSON.")] = False,
    whole: Annotated[
        bool, typer.Option("--certificate", help="Show the whole certificate: modalities, worst items, errors, hashes.")
    ] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="List the structures that it can locate and the label sets instead.")
    ] = False,
) -> None:
    """Show what a package is and how accurate it was measured to be.

    medrega model info

    medrega model info --labels
    """
    from medrega_edge.inference import memory
    from medrega_edge.inference.devices import available_threads, decoder_threads
    from medrega_edge.output.certificate_text import certificate_lines
    from medrega_edge.package import intervals
    from medrega_edge.package.certificate import read
    from medrega_edge.package.manifest import PREFILL
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    if labels:
        _list_labels(package)
        return
    text = package.text("certificate")
    certificate = read(text)
    manifest, peak = package.manifest, memory.peak(package.manifest)
    if as_json:
        both = {"manifest": json.loads(manifest.to_json()), "certificate": json.loads(text), "peak_memory_bytes": peak}
        print_json(both)
        return
    available = available_threads()
    threads = decoder_threads(manifest, available)
    print_result(Message("package.info_name", name=manifest.name))
    print_result(Message("package.info_version", version=manifest.version))
    print_result(Message("package.info_source", source=manifest.source))
    print_result(Message("package.info_precision", precision=manifest.precision))
    print_result(Message("package.info_tasks", tasks=manifest.tasks))
    print_result(Message("package.info_languages", languages=manifest.languages))
    print_result(Message("package.info_modalities", modalities=manifest.modalities))
    print_result(Message("package.info_size", megabytes=package.total_bytes / 1e6))
    print_result(Message("package.info_memory", megabytes=peak / 1e6))
    if PREFILL in manifest.files:
        print_result(Message("package.info_prefill", precision=manifest.files[PREFILL].precision))
    if manifest.regions:
        print_result(Message("package.info_regions", bins=manifest.regions.bins))
    if manifest.masks:
        print_result(Message("package.info_masks"))
    if (found := intervals.find(package)) is not None:
        print_result(Message("package.info_intervals", data=found.data))
    print_result(Message("package.info_threads", used=threads, available=available))
    print_result(Message("package.info_manifest", sha256=package.sha256))
    print_result(Message("package.info_certificate") if whole else Message("package.info_certificate_short"))
    language = user_language()
    for line in certificate_lines(certificate, language, whole):
        print_result(line)
    print_result(NOTICE_ZH if language is Language.ZH else NOTICE)


def _list_labels(package: Package) -> None:
    from medrega_edge.prompts.templates import PromptBook
    from medrega_edge.vocabulary.label_sets import LABEL_SETS
    from medrega_edge.vocabulary.terminology import term_of

    for en, zh in PromptBook.from_json(package.text("prompts")).labels:
        term = term_of(en)
        print_result(f"{en}  {zh}" + (f"  SCT {term.snomed}" if term and term.snomed else ""))
    for label_set in LABEL_SETS.values():
        print_result(f"--set {label_set.name}: " + ", ".join(f"{en} {zh}" for en, zh in label_set.labels))


@model_app.command("verify")
def model_verify(
    model: Annotated[
        str | None, typer.Argument(metavar="PACKAGE", help="Package folder or name; default: the one that answers.")
    ] = None,
) -> None:
    """Check every file of a package against its manifest.

    medrega model verify path/to/package
    """
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    package.verify()
    print_result(Message("package.verified", name=package.manifest.name, version=package.manifest.version))


@model_app.command("path")
def model_path(
    model: Annotated[
        str | None, typer.Argument(metavar="PACKAGE", help="Package folder or name; default: the one that answers.")
    ] = None,
) -> None:
    """Print the folder of a package.

    medrega model path
    """
    from medrega_edge.package.registry import find_package

    print_result(str(find_package(model).folder))
