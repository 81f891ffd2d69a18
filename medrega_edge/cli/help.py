"""Help screens: plain text in the user's language, at most 80 columns wide, examples first.

Options and commands stand in the groups that their `rich_help_panel` names. A paragraph of a docstring that begins with
`medrega ` holds examples: its lines are shown as they are, so that they can be pasted.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable
from typing import Any, TypeVar
from unicodedata import east_asian_width

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from medrega_edge.cli.console import user_language
from medrega_edge.cli.usage import no_command
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message, help_text

EXAMPLES, ARGUMENTS, OPTIONS, COMMANDS = "Examples", "Arguments", "Options", "Commands"  # headings of groups without a name
OWN_TEXTS = (EXAMPLES, ARGUMENTS, OPTIONS, COMMANDS, "Show this message and exit.")  # those that no command declares
WIDTH, LONGEST_NAME = 80, 26  # columns: of a screen, and of a name that its description stands beside
CHOICES_AS_NAME = 18  # columns: choices up to this length stand for the value of an option

Row = tuple[str, str]  # a name and its description
Command = TypeVar("Command", bound=Callable[..., Any])


class _Helpful:
    """What commands and groups have in common: their help screen."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line: options that are required, then arguments."""
        parameters = ctx.command.get_params(ctx)
        arguments = [one for one in parameters if isinstance(one, TyperArgument)]
        options = [_name(one) for one in parameters if one.required and one not in arguments]
        return ["[OPTIONS]", *options, *(_name(one) if one.required else f"[{_name(one)}]" for one in arguments)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help screen."""
        formatter.write("\n".join(screen(ctx)) + "\n")


class HelpfulCommand(_Helpful, TyperCommand):
    """A command with our help screen."""


class HelpfulGroup(_Helpful, TyperGroup):
    """A group of commands with our help screen."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line."""
        return ["[OPTIONS]", "COMMAND", "[ARGS]..."]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of the group; without arguments, print the help on standard error and exit with code 2."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(UsageError.exit_code)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and remaining arguments; raises UsageError if there is no such command."""
        if not (ctx.resilient_parsing or args[0].startswith("-")) and self.get_command(ctx, args[0]) is None:
            raise no_command(ctx, args[0])
        return super().resolve_command(ctx, args)


class App(typer.Typer):
    """A typer app whose commands have our help screens. Without arguments it shows its own."""

    def __init__(self, *, cls: type[TyperGroup] = HelpfulGroup, **settings: Any) -> None:
        """Take the settings of a typer app."""
        super().__init__(
            cls=cls,
            context_settings={"help_option_names": ["-h", "--help"]},
            pretty_exceptions_enable=False,  # a traceback would show local variables, and they hold patients' data
            rich_markup_mode=None,
            **settings,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Command], Command]:
        """Return a decorator that registers a command."""
        return super().command(name, cls=HelpfulCommand, **settings)


def screen(ctx: Any) -> list[str]:
    """The lines of the help of a context's command."""
    command, width = ctx.command, min(shutil.get_terminal_size().columns, WIDTH)
    texts, examples = split_help(command.help)
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    first, *rest = _wrapped(Message("cli.usage", usage=usage).text(user_language()), width - 4)
    lines = [first, *(f"    {line}" for line in rest), "", *_wrapped(_translated(texts[0] if texts else ""), width)]
    if examples:
        lines += ["", _heading(EXAMPLES), *(f"  {line}" for line in examples)]
    for text in texts[1:]:
        lines += ["", *_wrapped(_translated(text), width)]
    for groups in (_command_groups(ctx), parameter_groups(ctx)):
        names = [display_width(name) for rows in groups.values() for name, _ in rows]
        column = max((length for length in names if length <= LONGEST_NAME), default=0)
        for heading, rows in groups.items():
            lines += ["", _heading(heading)]
            for row in rows:
                lines += _row(row, column, width)
    return [*lines, "", f"{NOTICE_ZH}。" if user_language() is Language.ZH else f"{NOTICE}."]


def split_help(text: str | None) -> tuple[list[str], list[str]]:
    """The paragraphs of a help text, each on one line, and the lines of its examples."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    examples = [line.strip() for one in paragraphs if _is_example(one) for line in one.splitlines()]
    return [" ".join(one.split()) for one in paragraphs if one and not _is_example(one)], examples


def summary(text: str | None) -> str:
    """The first sentence of a help text, in the user's language."""
    texts, _ = split_help(text)
    return re.split(r"(?<=\.) |(?<=。)", _translated(texts[0]))[0] if texts else ""


def parameter_groups(ctx: Any) -> dict[str, list[Row]]:
    """Arguments and options as rows by the heading of their group, required ones first, options without a group last."""
    found: dict[str, list[Any]] = {}
    unnamed: list[Any] = []
    for parameter in ctx.command.get_params(ctx):
        heading = parameter.rich_help_panel or (ARGUMENTS if isinstance(parameter, TyperArgument) else None)
        if not parameter.hidden:
            (found.setdefault(heading, []) if heading else unnamed).append(parameter)
    return {
        heading: [(_name(one), _description(one, ctx)) for one in sorted(group, key=lambda one: not one.required)]
        for heading, group in {**found, OPTIONS: unnamed}.items()
    }


def _command_groups(ctx: Any) -> dict[str, list[Row]]:
    """Commands as rows by the heading of their group."""
    found: dict[str, list[Row]] = {}
    for name in ctx.command.list_commands(ctx) if isinstance(ctx.command, TyperGroup) else ():
        command = ctx.command.get_command(ctx, name)
        if not command.hidden:
            found.setdefault(command.rich_help_panel or COMMANDS, []).append((name, summary(command.help)))
    return found


def _is_example(paragraph: str) -> bool:
    return paragraph.lstrip().startswith("medrega ")


def _name(parameter: Any) -> str:
    """The name of a parameter with what stands for its value."""
    if isinstance(parameter, TyperArgument):
        return _value_name(parameter) + ("..." if parameter.nargs == -1 else "")
    names = ", ".join(sorted(parameter.opts, key=len))
    return names if parameter.is_flag else f"{names} {_value_name(parameter)}"


def _value_name(parameter: Any) -> str:
    """What stands for the value of a parameter: IMAGE, N, PATH, or a few choices."""
    if parameter.metavar is not None:
        return str(parameter.metavar)
    if isinstance(parameter, TyperArgument):
        return str(parameter.name).upper()
    kind = parameter.type_descriptor
    choices = "|".join(_choices(parameter))
    if choices:
        return choices if len(choices) <= CHOICES_AS_NAME else str(parameter.name).upper()
    return "PATH" if kind.is_path else "N" if kind.annotation in (int, float) else "TEXT"


def _choices(parameter: Any) -> list[str]:
    return [str(getattr(choice, "value", choice)) for choice in parameter.type_descriptor.choices or ()]


def _description(parameter: Any, ctx: Any) -> str:
    """The help of a parameter, in the user's language, with its choices, default, variable and limits in brackets."""
    notes: list[Message] = []
    choices = _choices(parameter)
    if choices and "|" not in _value_name(parameter):
        notes.append(Message("cli.help_choices", choices=choices))
    default = parameter.get_default(ctx, call=False)
    if default is not None and default is not False and parameter.show_default:
        notes.append(Message("cli.help_default", value=getattr(default, "value", default)))
    if getattr(parameter, "min", None) not in (None, 0, 1):
        notes.append(Message("cli.help_least", value=parameter.min))
    if parameter.envvar:
        notes.append(Message("cli.help_variable", name=parameter.envvar))
    if parameter.required and parameter.param_type_name == "option":
        notes.append(Message("cli.help_required"))
    text = _translated(parameter.help or "")
    return f"{text} [{Message('cli.help_notes', notes=notes).text(user_language())}]".strip() if notes else text


def _translated(text: str) -> str:
    return help_text(" ".join(text.split()), user_language())


def _heading(text: str) -> str:
    return Message("cli.help_heading", text=_translated(text)).text(user_language())


def _row(row: Row, column: int, width: int) -> list[str]:
    """A name and its description beside it; below it if the name is long."""
    name, description = row
    indent = column + 4
    lines = [" " * indent + line for line in _wrapped(description, width - indent)] or [""]
    if display_width(name) > column:
        return [f"  {name}", *lines]
    return [f"  {name}{' ' * (column - display_width(name) + 2)}{lines[0].lstrip()}".rstrip(), *lines[1:]]


_PIECES = re.compile("(?:[\u3400-\u9fff]|[^\\s\u3400-\u9fff，。；：、]*)[，。；：、）”]*\\s*")  # a line may end after each


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines; Chinese takes two columns a character and may be broken after each."""
    lines: list[str] = []
    for piece in filter(None, _PIECES.findall(text)):
        if lines and display_width(lines[-1] + piece.rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.rstrip() for line in lines]


def display_width(text: str) -> int:
    """Number of terminal columns that a text takes."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
