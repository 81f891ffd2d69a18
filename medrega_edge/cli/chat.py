"""`medrega chat`: questions and commands about one image, line by line. The only module that imports prompt_toolkit."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medrega_edge.cli.ask import (
    ONE_IMAGE,
    ImageArgument,
    answer_and_show,
    image_path,
    kind_of_image,
    parse_box,
    save_picture,
)
from medrega_edge.cli.console import console, print_json, print_status, problem_line, user_language
from medrega_edge.cli.help import App
from medrega_edge.cli.options import GuessOption, ImageOptions, with_shared_options
from medrega_edge.cli.settings import in_folder
from medrega_edge.cli.signals import interruptible
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.tasks.base import TaskRequest

_COMMANDS = {
    "/box": ("/box X1,Y1,X2,Y2", Message("chat.help_box")),
    "/save": ("/save FILE.png", Message("chat.help_save")),
    "/help": ("/help", Message("chat.help_help")),
    "/quit": ("/quit", Message("chat.help_quit")),
}
_SAVE = re.compile(
    r"(?:please )?(?:save|export|download)(?: (?:it|this|that|the (?:answer|picture|image|result|boxes)))*[.!]?"
    r"|(?:请)?(?:保存|导出|下载)(?:一下|它|图片|图像|结果|答案)*[。！]?",
    re.IGNORECASE,
)
_OTHER_NAMES = {
    "quit": "/quit",
    "exit": "/quit",
    "/exit": "/quit",
    "退出": "/quit",
    "help": "/help",
    "?": "/help",
    "帮助": "/help",
}


@with_shared_options
def chat(
    image: ImageArgument = None,
    guess: GuessOption = False,
    *,
    shared: ImageOptions,
) -> None:
    """Ask several questions about one image; it is loaded only once.

    Write one question a line. /help lists the commands, /quit ends the chat. The history stays in memory.

    medrega chat scan.png
    """
    path = image_path(image, shared.picture.sample)
    engine, encoded = shared.model.open_image(path, shared.picture.view())
    conversation = _Conversation(engine, encoded, Path(path), shared, guess)
    if _at_terminal():
        conversation.greet()
        lines = _typed_lines(conversation.kind)
    else:
        lines = _piped_lines()
    for line in lines:
        if not conversation.take(line):
            break
    if shared.output.strict and conversation.warned:
        raise typer.Exit(5)


class _Conversation:
    """What was asked and answered about one image so far. `warned`: an answer had warnings or best guesses."""

    def __init__(self, engine: Engine, image: EncodedImage, path: Path, shared: ImageOptions, guess: bool) -> None:
        from medrega_edge.tasks.memory import Memory

        self.warned = False
        self._guess = guess
        self._engine, self._image, self._path, self._shared = engine, image, path, shared
        self._answer: Answer | None = None
        self._memory = Memory()
        self._lines: list[str] = []

    @property
    def kind(self) -> str:
        """The kind of image, for a person."""
        return kind_of_image(self._engine.modality(self._image), user_language())

    @property
    def _language(self) -> Language:
        """The language of the answer to the last line; of a command, that of the line before it. A wish counts most."""
        from medrega_edge.tasks.base import parse_language
        from medrega_edge.tasks.small_talk import language_in, last_wish

        if wished := last_wish(self._lines):
            return wished
        if self._shared.language:
            return parse_language(self._shared.language)
        return language_in(self._lines) if self._lines else user_language()

    def greet(self) -> None:
        """Say what the chat is about, and how to go on."""
        picture, model = self._image.image, self._engine.package.manifest.name
        print_status(Message("chat.banner", kind=self.kind, width=picture.width, height=picture.height, model=model))
        print_status(Message("chat.banner_help"))
        print_status(NOTICE_ZH if user_language() is Language.ZH else NOTICE)

    def take(self, line: str) -> bool:
        """Answer a question or follow a command; returns whether the chat goes on."""
        line = _OTHER_NAMES.get(line.casefold(), line)
        name, _, rest = line.partition(" ")
        if name == "/quit":
            return False
        from medrega_edge.tasks.small_talk import reply

        if not name.startswith("/"):
            self._lines.append(line)
        if said := reply(line, self._answer):
            print_status(said.text(self._language))
            return True
        try:
            if _SAVE.fullmatch(line):
                raise UsageError("chat.no_file")
            if name.startswith("/"):
                self._follow(name, rest.strip())
            else:
                self._ask(line)
        except MedregaError as error:  # the next question may be a better one
            if self._shared.output.as_json:
                print_json({"error": error.to_dict()})
            else:
                print_status(problem_line(error.message).text(self._language))
        return True

    def _follow(self, name: str, value: str) -> None:
        from medrega_edge.tasks.conversation import about_box

        if name == "/help":
            for usage, meaning in (("", Message("chat.help_question")), *_COMMANDS.values()):
                print_status(f"  {usage:<18}{meaning.text(user_language())}")
        elif name == "/box":
            if not value:
                raise UsageError("chat.no_box")
            self._answer_and_remember(about_box(parse_box(value), self._memory, self._engine.terminology), "")
        elif name == "/save":
            self._save(value)
        else:
            raise UsageError("chat.no_such_command", name=name, commands=list(_COMMANDS))

    def _save(self, file: str) -> None:
        from medrega_edge.output.overlay import check_png_path

        if not file:
            raise UsageError("chat.no_file")
        if self._answer is None:
            raise UsageError("chat.nothing_to_save")
        path = in_folder(Path(file).expanduser())
        check_png_path(path, self._path)
        save_picture(self._image, self._answer, path, quiet=self._shared.output.as_json)

    def _ask(self, question: str) -> None:
        request = self._engine.next_request(self._image, question, self._memory)
        self._answer_and_remember(request, question)

    def _answer_and_remember(self, request: TaskRequest, line: str) -> None:
        self._memory.remember(request, self._show(request), line)

    def _show(self, request: TaskRequest) -> Answer | None:
        """Answer a request; at a terminal, Ctrl-C ends the answer and not the chat."""
        answer = None
        with interruptible() if _at_terminal() else nullcontext():
            answer = answer_and_show(self._engine, self._image, request, self._language, self._shared, self._guess)
        if answer is None:
            print_status("\n" + Message("chat.stopped").text(user_language()))
            return None
        self._answer = answer
        self.warned = self.warned or bool(answer.warnings or answer.best_guesses)
        return answer


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _piped_lines() -> Iterator[str]:
    """The lines of standard input, up to an empty one."""
    while True:
        console(stderr=True).print("? ", end="")
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def _typed_lines(kind: str) -> Iterator[str]:
    """What is typed at a terminal, with editing and a history that no file holds."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.output import create_output

    keys = KeyBindings()

    @keys.add("c-c")
    def _(event: Any) -> None:
        """Drop the line; without one, end the chat."""
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    os.environ.setdefault("PROMPT_TOOLKIT_NO_CPR", "1")  # else it waits for terminals that do not tell their cursor's place
    session: PromptSession[str] = PromptSession(
        completer=WordCompleter([*_COMMANDS], sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
        output=create_output(sys.stderr),
    )
    while True:
        try:
            line = session.prompt(f"{kind}> ").strip()
        except EOFError:
            return
        except KeyboardInterrupt:  # of a key: as a signal, it is one interruption even if it is typed twice
            signal.raise_signal(signal.SIGINT)
            return
        if line:
            yield line


def mount(app: App) -> None:
    """Register `chat`."""
    app.command(rich_help_panel=ONE_IMAGE)(chat)
