"""`medrega`: gather the commands, run one, map errors to exit codes. The only module that exits.

Heavy imports wait inside the commands, so `--help` and `--version` load neither numpy nor onnxruntime.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
from copy import copy
from typing import Annotated

import typer

from medrega_edge.cli import ask, batch, bundle, chat, doctor, inspect, labels, mcp, model, node, serve
from medrega_edge.cli.console import print_result, print_status, problem_line, set_user_language, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.plugins import CommandGroup
from medrega_edge.cli.settings import CACHE_VARIABLE, settings
from medrega_edge.cli.signals import Interruption
from medrega_edge.cli.usage import usage_error
from medrega_edge.domain import Language
from medrega_edge.errors import InternalError, MedregaError, ResourceError
from medrega_edge.i18n.message import Message, has_chinese
from medrega_edge.i18n.user_language import users_language
from medrega_edge.io.core_dumps import forbid_core_dumps

app = App(cls=CommandGroup)


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", "-V", is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """Answer questions about a medical image, with the regions that each answer names.

    medrega ask scan.png "locate the liver"

    medrega ask ct.dcm "请定位肝脏" --save marked.png

    medrega report chest.png --lang zh --json

    Questions may be English or Chinese. The program runs on this machine and sends nothing anywhere.
    """
    if version:
        from medrega_edge import __version__

        print_result(f"medrega-edge {__version__}")
        raise typer.Exit


ask.mount(app)
chat.mount(app)
inspect.mount(app)
batch.mount(app)
labels.mount(app)
mcp.mount(app)
serve.mount(app)
node.mount(app)
app.add_typer(model.model_app, name="model", rich_help_panel="Model packages")
app.add_typer(bundle.bundle_app, name="bundle", rich_help_panel="Model packages")
doctor.mount(app)


class NothingLeft(SystemExit):
    """The end of a command after which no thread and no library has anything left to do; `code` is an integer."""

    code: int


def main() -> None:
    """Run the command line; the exit codes are those of `errors`, 0, 1, and 130 or 143 for what was interrupted.

    It ends with SystemExit: for a command of this package with `NothingLeft`.
    """
    gc.set_threshold(50_000)  # a start makes half a million objects, and none of them is garbage
    _prepare_streams()
    warnings.simplefilter("ignore")  # libraries would quote header values, and they may be a patient's
    interruption, command = Interruption(), None
    try:
        forbid_core_dumps()
        set_user_language(users_language(sys.argv[1:]))  # also where the settings cannot be read
        own = settings()
        set_user_language(users_language(sys.argv[1:], own.language))
        if own.model is not None:
            from medrega_edge.package.registry import MODEL_VARIABLE

            os.environ.setdefault(MODEL_VARIABLE, own.model)
        if own.cache is not None:
            os.environ.setdefault(CACHE_VARIABLE, str(own.cache))
        command = typer.main.get_command(_only_named_command(app))
        if user_language() is Language.ZH and not has_chinese():
            print_status(Message("cli.no_chinese"))
        code = command(prog_name="medrega", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except SystemExit as end:
        code = end.code
    except Exception as error:
        problem = _known_error(error)
        if interruption.exit_code:  # a library turned the interruption into an error of its own
            code = interruption.exit_code
        elif problem is None and getattr(command, "loaded_plugin", None):
            raise  # who trains or exports wants to see it all; those commands read no patient's header
        else:
            no_memory = isinstance(error, MemoryError)
            problem = problem or (ResourceError("cli.no_memory") if no_memory else InternalError(error))
            print_status(problem_line(problem.message))
            code = problem.exit_code
    interruption.finish(code or 0)
    is_plugin = getattr(command, "loaded_plugin", None) is not None
    raise (SystemExit if is_plugin or threading.active_count() > 1 else NothingLeft)(code or 0)


def _only_named_command(whole: App) -> App:
    """Return the app with the one command that the first argument names, else whole: to read all options takes 20 ms."""
    named = [each for each in whole.registered_commands if each.callback and [each.callback.__name__] == sys.argv[1:2]]
    if not named or "_MEDREGA_COMPLETE" in os.environ:
        return whole
    # onnxruntime makes the products of these commands: threads of numpy's BLAS would only be started and wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    chosen = copy(whole)
    chosen.registered_commands, chosen.registered_groups = named, []
    return chosen


def _prepare_streams() -> None:
    """Replace each standard stream that is closed; what a stream cannot encode is escaped, on a terminal shown as "?"."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 - until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace" if name == "stdin" or stream.isatty() else "backslashreplace")


def _known_error(error: Exception) -> MedregaError | None:
    """The error for a user, if it is one of ours, of the parser, or of a disk that is full."""
    from medrega_edge.io.atomic import NO_SPACE_ERRNOS

    if isinstance(error, OSError) and error.errno in NO_SPACE_ERRNOS:  # of standard output or another library
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        return ResourceError("cli.no_space")
    return error if isinstance(error, MedregaError) else usage_error(error)


if __name__ == "__main__":
    main()
