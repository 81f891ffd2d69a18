"""`medrega mcp`: the tools for agents, over standard input and output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from medrega_edge.cli.console import print_status, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import ModelOptions, OwnLanguageOption, image_option, with_shared_options
from medrega_edge.i18n.message import Message


@with_shared_options
def mcp(
    folder: Annotated[
        list[Path] | None,
        image_option(metavar="FOLDER", help="Folder whose images may be read; once for each. Default: none."),
    ] = None,
    language: OwnLanguageOption = None,
    *,
    shared: ModelOptions,
) -> None:
    """Serve the Model Context Protocol on standard input and output, for agents that call tools.

    medrega mcp --folder FOLDER

    A client starts this command and ends it. Its tools are locate, segment, identify, ask, report and labels. They read
    images below the folders named here and the samples ("sample:abdomen-mri"), and write nothing but a --cache.
    """
    from medrega_edge import __version__
    from medrega_edge.mcp.folders import Folders
    from medrega_edge.mcp.protocol import Server, serve, standard_output
    from medrega_edge.mcp.tools import Toolbox

    folders = Folders(folder or ())
    server = Server(Toolbox(folders, shared.load_engine, user_language()), __version__, user_language())
    print_status(Message("mcp.started", count=len(folders)))
    with standard_output() as channel:
        serve(sys.stdin.buffer, channel, server.answer)


def mount(app: App) -> None:
    """Register `mcp`."""
    app.command(rich_help_panel="For programs and agents")(mcp)
