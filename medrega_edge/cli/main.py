"""`medrega`: gather the commands, run one, map errors to exit codes. The only module that exits.

What a command does stands under `commands/`. Heavy imports wait inside the commands, so `--help` and `--version` load
neither numpy nor onnxruntime.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import signal
import sys
import time
import warnings
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

import typer

from medrega_edge.cli import ask, batch, bundle, model
from medrega_edge.cli.console import echo, tell
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.i18n.message import Message, has_chinese, help_text
from medrega_edge.i18n.translate import bring, users_language
from medrega_edge.io.atomic import NO_SPACE_ERRNOS

app = typer.Typer(
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


# The other three rooms come alive when what they need is installed: (command, module with `mount`, extra, needs).
_ROOMS = (
    ("train", "medrega_train.cli", "train", ("torch", "transformers", "accelerate")),
    ("export", "medrega_export.cli", "export", ("torch", "transformers", "gptqmodel", "onnx")),
    (
        "bench",
        "medrega_bench.cli.main",
        "bench",
        ("scipy", "sacrebleu", "rouge_score", "nltk", "jieba", "pycocotools", "jinja2"),
    ),
)


@cache
def _mount_rooms() -> None:
    for name, module, extra, needs in _ROOMS:
        if all(importlib.util.find_spec(need) for need in needs):
            importlib.import_module(module).mount(app)
        else:
            _mount_missing(name, extra)


def _mount_missing(name: str, extra: str) -> None:
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    install = f"pip install 'medrega-edge[{extra}]'"

    @app.command(name, context_settings=anything, help=f"Not installed: {install}")
    def missing() -> None:
        raise ResourceError(f"`medrega {name}` needs an extra that is not installed; install it with: {install}.")


PRESSED_TWICE = 1.0  # seconds: a second Ctrl-C so soon is the same wish, and would only cut short the tidying up


def main() -> None:
    """Run the command line; the exit codes are those of `errors`, 0, 1, and 130 or 143 for what was interrupted."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 - until the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # what cannot be shown, or read, is shown or read as "?"
    warnings.simplefilter("ignore")  # libraries would quote header values, and they may be a patient's
    stopped: list[int] = []
    obeyed = 0.0

    def stop(number: int, _: object) -> None:
        nonlocal obeyed
        if number == signal.SIGINT and stopped and time.monotonic() - obeyed < PRESSED_TWICE:
            return
        stopped.append(128 + number)
        obeyed = time.monotonic()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell leaves it for what runs in the background
        signal.signal(signal.SIGINT, stop)
    with suppress(ImportError):  # where there are no core files either: a crash must not write an image to a disk
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        _mount_rooms()
        for name, module, *_ in _ROOMS:
            if sys.argv[1:2] == [name]:
                bring(module.partition(".")[0])  # read when it is said in Chinese, and not by the other commands
        command = typer.main.get_command(app)
        if users_language(sys.argv[1:]) is Language.ZH:
            if not has_chinese():
                tell(Message("cli.no_chinese"))
            _put_into_chinese(command)
        code = command(standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if stopped:  # inside a library that turned the interruption into an error of its own
            sys.exit(stopped[0])
        is_known = isinstance(error, MedregaError) or (isinstance(error, OSError) and error.errno in NO_SPACE_ERRNOS)
        if not (is_known or _is_parsers(error)) and sys.argv[1:2] in [[room[0]] for room in _ROOMS]:
            raise  # who trains or exports wants to see it all; those commands read no patient's header
        code = _tell(error)
    sys.exit(code or 0)


def _put_into_chinese(command: Any) -> None:
    """Replace the help of a command, its options and the commands below it; the parser's own words stay."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]
    command.help = "\n\n".join(help_text(paragraph, Language.ZH) for paragraph in paragraphs)
    command.short_help = help_text(paragraphs[0], Language.ZH)
    for parameter in command.params:
        parameter.help = help_text(getattr(parameter, "help", None) or "", Language.ZH)
    for other in getattr(command, "commands", {}).values():
        _put_into_chinese(other)


def _is_parsers(error: Exception) -> bool:
    return hasattr(error, "format_message")


def _tell(error: Exception) -> int:
    """Say what went wrong, in words that are ours; return the exit code."""
    if _is_parsers(error):  # it would quote what was given, and that may name a patient
        for given in sorted(sys.argv[1:], key=len, reverse=True):
            if given and not re.fullmatch(r"[a-z]+|--?[a-z-]+", given):
                error.message = error.message.replace(given, "...")  # type: ignore[attr-defined]
        if users_language(sys.argv[1:]) is Language.ZH:
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
