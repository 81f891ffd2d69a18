"""`medrega node`: a node in a DICOM network that answers what it receives.

What it needs is an extra, so nothing of it is imported before a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_edge.cli.console import print_json, print_result, print_status, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import OwnLanguageOption, ThreadsOption
from medrega_edge.cli.plugins import check_extra
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.i18n.message import Message

EXTRA = "pacs"
NETWORK = "DICOM network"  # group of the help
node_app = App(help="Answer the studies that arrive over DICOM, and send the results on.")

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Peers, rules and limits of the node.")]


@node_app.command("run")
def node_run(config: ConfigArgument, threads: ThreadsOption = None, language: OwnLanguageOption = None) -> None:
    """Receive studies, answer them by the rules, and send the results, until it is interrupted.

    medrega node run node.toml

    What was acknowledged is on the disk: after a kill or a power cut the same command goes on, and nothing is lost or
    answered twice. Each event is a line of JSON on standard error, without names and UIDs.
    """
    check_extra("node run", EXTRA)
    from medrega_edge.node.config import read_config
    from medrega_edge.node.service import own_parts, run

    read = read_config(config)
    print_status(NOTICE_ZH if user_language() is Language.ZH else NOTICE)

    def on_ready(port: int) -> None:
        print_status(Message("node.ready", title=read.ae_title, host=read.host, port=port))

    run(read, on_ready, own_parts(threads))


@node_app.command("status")
def node_status(
    config: ConfigArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    language: OwnLanguageOption = None,
) -> None:
    """Show what a node has done and what waits; the node may run meanwhile.

    medrega node status node.toml
    """
    check_extra("node status", EXTRA)
    from medrega_edge.node import status
    from medrega_edge.node.config import read_config

    read = read_config(config)
    found, running = status.counts(read), status.is_running(read.folder)
    if as_json:
        print_json({"running": running, **found.to_dict()})
        return
    for line in status.lines(found, running):
        print_result(line)


@node_app.command("check")
def node_check(config: ConfigArgument, language: OwnLanguageOption = None) -> None:
    """Check the configuration and the model package, and ask each peer by C-ECHO whether it is there.

    medrega node check node.toml
    """
    check_extra("node check", EXTRA)
    from medrega_edge.errors import MedregaError
    from medrega_edge.node import status
    from medrega_edge.node.config import read_config

    fault = 0
    for finding in status.check(read_config(config)):
        if isinstance(finding, MedregaError):
            print_result(Message("doctor.fault", problem=finding.message))
            fault = fault or finding.exit_code
        else:
            print_result(finding)
    if fault:
        raise typer.Exit(fault)


@node_app.command("retry")
def node_retry(config: ConfigArgument, language: OwnLanguageOption = None) -> None:
    """Try the dead letters again: jobs and deliveries that were given up. The node may run meanwhile.

    medrega node retry node.toml
    """
    check_extra("node retry", EXTRA)
    from medrega_edge.node import status
    from medrega_edge.node.config import read_config

    print_result(Message("node.retried", count=status.retry(read_config(config))))


def mount(app: App) -> None:
    """Register `node`."""
    app.add_typer(node_app, name="node", rich_help_panel=NETWORK)
