"""Commands of other packages, found through entry points of the group `medrega.commands`.

    [project.entry-points."medrega.commands"]
    train = "medrega_train.cli:mount"

The function takes a typer app and registers one command, named as the entry point. `medrega --help` shows the first line of
the docstring of its package (here `medrega_train`) and imports nothing else of it. If its distribution has an extra named as
the command, what that extra requires has to be installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from medrega_edge.cli.console import user_language
from medrega_edge.cli.help import App, HelpfulCommand, HelpfulGroup
from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from importlib.metadata import Distribution, EntryPoint, EntryPoints

GROUP = "medrega.commands"


class CommandGroup(HelpfulGroup):
    """The commands of an app and those of plug-ins; a plug-in is imported when its command is the one to run."""

    loaded_plugin: str | None = None  # name of the command that was loaded

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, plug-ins last."""
        return [*super().list_commands(ctx), *sorted(entry.name for entry in _entry_points())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; for a plug-in one that has a summary only."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        found = _entry_points().select(name=cmd_name)
        return _placeholder(found[cmd_name]) if found else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and remaining arguments; loads a plug-in. Raises ResourceError if its extra is missing."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name not in self.commands:
            command = load(_entry_points()[name])
            self.loaded_plugin = name
        return name, command, rest


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # 20 ms, which commands of the runtime need not wait for

    return entry_points(group=GROUP)


def _placeholder(entry: EntryPoint) -> HelpfulCommand:
    """A command with the name, summary and heading of an entry point's."""
    heading = None
    if entry.dist is not None and entry.name in (entry.dist.metadata.get_all("Provides-Extra") or ()):
        heading = Message("cli.extra_commands", install=_install(entry.dist, "NAME")).text(user_language())
    package = import_module(entry.module.partition(".")[0])
    return HelpfulCommand(entry.name, help=(package.__doc__ or "").partition("\n")[0], rich_help_panel=heading)


def _install(installed: Distribution, extra: str) -> str:
    return f"pip install '{installed.name}[{extra}]'"


def load(entry: EntryPoint) -> Any:
    """The command of an entry point. Raises ResourceError if its extra is not installed."""
    missing = missing_requirements(entry.dist, entry.name) if entry.dist else []
    if entry.dist and missing:
        install = _install(entry.dist, entry.name)
        raise ResourceError("cli.missing_extra", command=entry.name, extra=entry.name, missing=missing, install=install)
    app = App()
    entry.load()(app)
    return typer.main.get_group(app).commands[entry.name]


def check_extra(command: str, extra: str) -> None:
    """Raise ResourceError where what a command of the runtime needs from an extra is not installed."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        own = distribution("medrega-edge")
    except PackageNotFoundError:  # run from its source
        return
    if missing := missing_requirements(own, extra):
        install = _install(own, extra)
        raise ResourceError("cli.missing_extra", command=command, extra=extra, missing=missing, install=install)


def missing_requirements(installed: Distribution, extra: str) -> list[str]:
    """Names of the distributions that an extra of `installed` requires and that are not installed.

    What the extra takes from other extras of the same distribution counts too.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    missing = []
    for requirement in map(Requirement, installed.requires or ()):
        if requirement.marker is not None and requirement.marker.evaluate({"extra": extra}):
            if canonicalize_name(requirement.name) == canonicalize_name(installed.name):
                missing += [name for other in sorted(requirement.extras) for name in missing_requirements(installed, other)]
                continue
            try:
                distribution(requirement.name)
            except PackageNotFoundError:
                missing.append(requirement.name)
    return missing
