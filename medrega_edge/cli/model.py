"""`medrega model`: which model packages are there, what they are, whether they are whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.cli.console import echo
from medrega_edge.domain import NOTICE
from medrega_edge.errors import MedregaError
from medrega_edge.io.safe_text import json_text

if TYPE_CHECKING:
    from medrega_edge.package.package import Package

model_app = typer.Typer(no_args_is_help=True, help="List, inspect, verify or locate model packages.")


@model_app.command("list")
def model_list() -> None:
    """List the packages that are there."""
    from medrega_edge.package.package import Package
    from medrega_edge.package.registry import list_packages

    for folder in list_packages():
        try:
            package = Package.open(folder)
        except MedregaError as error:
            echo(f"{folder.name}  cannot be used: {error}")
            continue
        manifest, size = package.manifest, package.total_bytes / 1e6
        echo(f"{manifest.name}  {manifest.version}  {manifest.precision}  {size:.1f} MB  {package.folder}")


@model_app.command("info")
def model_info(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print manifest and certificate as JSON.")] = False,
    whole: Annotated[
        bool, typer.Option("--certificate", help="Show the whole certificate: kinds of image, worst items, errors, hashes.")
    ] = False,
    labels: Annotated[bool, typer.Option("--labels", help="List what it can locate, and the label sets, instead.")] = False,
) -> None:
    """Show what a package is and how accurate it was measured to be."""
    from medrega_edge.inference import memory
    from medrega_edge.inference.devices import available_threads, decoder_threads
    from medrega_edge.package.certificate import lines, read
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    if labels:
        _list_labels(package)
        return
    certificate = read(package.text("certificate"))
    manifest = json.loads(package.manifest.to_json())
    peak = memory.peak(package.manifest)
    if as_json:
        echo(json_text({"manifest": manifest, "certificate": certificate, "peak_memory_bytes": peak}))
        return
    for key in ("name", "version", "source", "precision"):
        echo(f"{key:<12}{manifest[key]}")
    for key in ("tasks", "languages", "modalities"):
        echo(f"{key:<12}{', '.join(manifest[key])}")
    echo(f"{'size':<12}{package.total_bytes / 1e6:.1f} MB")
    available = available_threads()
    echo(f"{'memory':<12}about {peak / 1e6:.0f} MB at its peak")
    echo(f"{'threads':<12}{decoder_threads(package.manifest, available)} of {available} for the language model")
    echo(f"{'manifest':<12}{package.sha256}")
    echo("certificate" if whole else "certificate (--certificate shows all of it)")
    for line in lines(certificate, whole):
        echo(line)
    echo(NOTICE)


def _list_labels(package: Package) -> None:
    from medrega_edge.prompts.templates import PromptBook
    from medrega_edge.vocabulary.label_sets import LABEL_SETS
    from medrega_edge.vocabulary.terminology import Term, table

    terms = table()
    for en, zh in PromptBook.from_json(package.text("prompts")).labels:
        code = terms.get(en.removeprefix("left ").removeprefix("right "), Term(en)).snomed
        echo(f"{en}  {zh}" + (f"  SCT {code}" if code else ""))
    for one in LABEL_SETS.values():
        echo(f"--set {one.name}: " + ", ".join(f"{en} {zh}" for en, zh in one.labels))


@model_app.command("verify")
def model_verify(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
) -> None:
    """Check every file of a package against its manifest."""
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    package.verify()
    echo(f"{package.manifest.name} {package.manifest.version}: every file is the one that was signed off")


@model_app.command("path")
def model_path(
    model: Annotated[str | None, typer.Argument(help="Package folder or name; default: the one that is used.")] = None,
) -> None:
    """Print the folder of a package."""
    from medrega_edge.package.registry import find_package

    echo(str(find_package(model).folder))
