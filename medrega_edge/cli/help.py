"""Help of commands in the language of who typed the command."""

from __future__ import annotations

from typing import Any

from medrega_edge.cli.console import user_language
from medrega_edge.domain import Language
from medrega_edge.i18n.message import help_text


def translate_help(command: Any) -> None:
    """Put the help of a command, its options and the commands below it into the user's language."""
    if user_language() is Language.EN:
        return
    paragraphs = [" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n")]
    command.help = "\n\n".join(help_text(paragraph, Language.ZH) for paragraph in paragraphs)
    command.short_help = help_text(paragraphs[0], Language.ZH)
    for parameter in command.params:
        parameter.help = help_text(getattr(parameter, "help", None) or "", Language.ZH)
    for other in getattr(command, "commands", {}).values():
        translate_help(other)
