"""`medrega bundle`: everything for a machine without a network, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_edge.cli.console import print_result
from medrega_edge.cli.help import App
from medrega_edge.cli.options import ModelOption, ModelOptions, ThreadsOption
from medrega_edge.i18n.message import Message

bundle_app = App(help="Create or verify a bundle for a machine without a network.")


@bundle_app.command("create")
def bundle_create(
    out: Annotated[Path, typer.Argument(help="The file to write, for example medrega-bundle.zip.")],
    wheels: Annotated[Path, typer.Option(help="Folder of wheels, filled by: pip download medrega-edge -d FOLDER.")],
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Write wheels, model package, hashes, SBOM and self-test into one file.

    medrega bundle create medrega-bundle.zip --wheels FOLDER
    """
    from medrega_edge.io.atomic import check_output_path
    from medrega_edge.offline_bundle.bundle import create
    from medrega_edge.offline_bundle.wheels import read_wheels
    from medrega_edge.package.registry import find_package

    check_output_path(out)
    read_wheels(wheels)  # names what is missing before the model is loaded
    create(out, wheels, find_package(model), ModelOptions(model, threads).load_engine())
    print_result(Message("bundle.created", megabytes=out.stat().st_size / 1e6))


@bundle_app.command("verify")
def bundle_verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.")],
    file_only: Annotated[bool, typer.Option("--file-only", help="Check the file, not what is installed here.")] = False,
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Check a bundle's hashes, the installed versions and the answers of this machine.

    medrega bundle verify medrega-bundle.zip
    """
    from medrega_edge.offline_bundle.bundle import check_installed, self_test, verify
    from medrega_edge.package.registry import find_package

    contents = verify(bundle)
    print_result(Message("bundle.files_verified", count=len(contents.files)))
    if file_only:
        return
    check_installed(contents, find_package(model))
    print_result(Message("bundle.installation_verified", count=len(contents.wheels)))
    questions = self_test(bundle, ModelOptions(model, threads).load_engine())
    print_result(Message("bundle.answers_verified", count=questions))
