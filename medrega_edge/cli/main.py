"""`medrega`: gather the commands, run one, map errors to exit codes. The only module that exits.

Heavy imports wait inside the commands, so `--help` and `--version` load neither numpy nor onnxruntime.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from typing import Annotated

import typer

from medrega_edge.cli import ask, batch, bundle, model
from medrega_edge.cli.console import echo, set_user_language, tell, user_language
from medrega_edge.cli.help import translate_help
from medrega_edge.cli.plugins import CommandGroup
from medrega_edge.cli.signals import Interruption, forbid_core_dumps
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.i18n.message import Message, has_chinese
from medrega_edge.i18n.translate import users_language
from medrega_edge.io.atomic import NO_SPACE_ERRNOS

app = typer.Typer(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a traceback would show local variables, and they hold patients' data
    rich_markup_mode=None,
    epilog=f"{NOTICE}. {NOTICE_ZH}。",
)


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
        from medrega_edge import __version__

        echo(f"medrega-edge {__version__}")
        raise typer.Exit


ask.mount(app)
batch.mount(app)
app.add_typer(model.model_app, name="model")
app.add_typer(bundle.bundle_app, name="bundle")


def main() -> None:
    """Run the command line; the exit codes are those of `errors`, 0, 1, and 130 or 143 for what was interrupted."""
    arguments = sys.argv[1:]
    _prepare_streams()
    warnings.simplefilter("ignore")  # libraries would quote header values, and they may be a patient's
    interruption = Interruption()
    forbid_core_dumps()
    set_user_language(users_language(arguments))
    command = typer.main.get_command(app)
    try:
        if user_language() is Language.ZH and not has_chinese():
            tell(Message("cli.no_chinese"))
        translate_help(command)
        code = command(prog_name="medrega", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if interruption.exit_code:  # inside a library that turned the interruption into an error of its own
            sys.exit(interruption.exit_code)
        is_known = isinstance(error, MedregaError) or (isinstance(error, OSError) and error.errno in NO_SPACE_ERRNOS)
        if not (is_known or _is_parsers(error)) and getattr(command, "loaded_plugin", None):
            raise  # who trains or exports wants to see it all; those commands read no patient's header
        code = _tell(error, arguments)
    sys.exit(code or 0)


def _prepare_streams() -> None:
    """Replace each standard stream that is closed; show as "?" what a stream cannot encode."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 - until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _is_parsers(error: Exception) -> bool:
    return hasattr(error, "format_message")


def _tell(error: Exception, arguments: list[str]) -> int:
    """Print what went wrong, without what was given; return the exit code."""
    if _is_parsers(error):  # it would quote what was given, and that may name a patient
        for given in sorted(arguments, key=len, reverse=True):
            if given and not re.fullmatch(r"[a-z]+|--?[a-z-]+", given):
                error.message = error.message.replace(given, "...")  # type: ignore[attr-defined]
        if user_language() is Language.ZH:
            tell(f"error: {error.format_message()}")  # type: ignore[attr-defined]
        else:
            error.show()  # type: ignore[attr-defined]
        return UsageError.exit_code
    if isinstance(error, OSError) and error.errno in NO_SPACE_ERRNOS:  # of standard output or another library
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer goes there
        error = ResourceError("There is no room to write the output; make room and ask again.")
    if isinstance(error, MemoryError):
        error = ResourceError("There is not enough memory for this; close other programs or use a smaller package.")
    if not isinstance(error, MedregaError):
        error = InternalError(error)
    tell(Message("cli.error", problem=error.message))
    return error.exit_code


if __name__ == "__main__":
    main()
