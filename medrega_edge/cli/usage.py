"""Errors of the command line's parser as errors of ours: one sentence, in the user's language.

They name options and arguments of the program, never a value that was given: it may name a patient.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from typer._click import exceptions as parser

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.samples import SAMPLES

_HARMLESS = re.compile("[a-z]+|--?[a-z-]+")  # what may be quoted: such words are commands and options, mistyped


def no_command(ctx: Any, given: str) -> UsageError:
    """The error for a command that is not there."""
    similar = get_close_matches(given, ctx.command.list_commands(ctx))
    if similar:
        return UsageError("cli.no_command_similar", name=_quotable(given), similar=similar)
    return UsageError("cli.no_command", name=_quotable(given), command=ctx.command_path)


def usage_error(error: Exception) -> UsageError | None:
    """The error for one that the parser raised; None for any other exception."""
    if not isinstance(error, parser.UsageError):
        return None
    command = error.ctx.command_path if error.ctx else "medrega"
    match error:
        case parser.NoSuchOption(possibilities=[_, *_]):
            return UsageError("cli.no_option_similar", name=_quotable(error.option_name), similar=error.possibilities)
        case parser.NoSuchOption():
            return UsageError("cli.no_option", name=_quotable(error.option_name), command=command)
        case parser.MissingParameter():
            return UsageError("cli.missing_parameter", name=_name(error.param), command=command)
        case parser.BadParameter():
            return UsageError("cli.wrong_value", name=_name(error.param), expected=_expected(error.param))
        case parser.BadOptionUsage(option_name="--sample"):
            return UsageError("cli.no_value_of", name="--sample", choices=SAMPLES)
        case parser.BadOptionUsage():
            return UsageError("cli.no_value", name=error.option_name)
    if command == "medrega ask":
        return UsageError("cli.quote_question")
    return UsageError("cli.too_many_arguments", command=command)


def _quotable(given: str) -> str:
    return given if _HARMLESS.fullmatch(given) else "..."


def _name(parameter: Any) -> str:
    """The name of an option or argument, as the help shows it."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper())


def _expected(parameter: Any) -> Message:
    """What a parameter takes."""
    kind = parameter.type_descriptor
    if kind.choices:
        return Message("cli.expected_choice", choices=[str(getattr(choice, "value", choice)) for choice in kind.choices])
    if parameter.min is not None:
        return Message("cli.expected_number_from", least=parameter.min)
    return Message("cli.expected_number") if kind.annotation in (int, float) else Message("cli.expected_other")
