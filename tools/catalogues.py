"""Chinese catalogues: compile them, bring them in step with the English, check them.

    python -m tools.catalogues compile    write each .mo that is older than its .po
    python -m tools.catalogues update     add new messages and help texts, drop old ones, sort; changed English becomes fuzzy
    python -m tools.catalogues check      exit with 1 if a text has no Chinese, is fuzzy, or names other parameters

A .po entry is `msgctxt` (the code, or "help"), `msgid` (the English), `msgstr` (the Chinese). An entry marked fuzzy is shown
in English until someone corrects its Chinese and deletes the line `#, fuzzy`.
"""

from __future__ import annotations

import difflib
import importlib
import string
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po

from medrega_edge.cli.help import OWN_TEXTS, App, split_help
from tools.compile_catalogues import PACKAGES, ROOT, catalogue, compile_all

COMMANDS = {  # the module that holds the commands
    "medrega_edge": "medrega_edge.cli.main",
    "medrega_export": "medrega_export.cli",
    "medrega_train": "medrega_train.cli",
    "medrega_bench": "medrega_bench.cli.main",
}
HEADER = r"""# Written by `python -m tools.catalogues update`; correct the Chinese here, the English in the source.
msgid ""
msgstr ""
"Language: zh_CN\n"
"Content-Type: text/plain; charset=utf-8\n"

"""
HELP = "help"
LOOKS_LIKE = 0.7  # a help text so similar to a deleted one is that text, changed


class Entry(NamedTuple):
    """One text: its code (or "help"), its English, its Chinese ("" if there is none)."""

    code: str
    english: str
    chinese: str = ""
    fuzzy: bool = False


def entries(package: str) -> list[Entry]:
    """What the .po of a package holds; twice what two branches added, if they were merged since the last update."""
    found = []
    for block in catalogue(package).read_text("utf-8").split("\n\n"):
        for message in read_po(block.splitlines(), locale="zh_CN"):
            if message.id and message.context:
                found.append(Entry(message.context, str(message.id), str(message.string or ""), message.fuzzy))
    return found


def wanted(package: str) -> list[Entry]:
    """Every template and help text of a package."""
    templates: dict[str, str] = importlib.import_module(f"{package}.i18n.templates").TEMPLATES
    texts = [Entry(code, english) for code, english in templates.items()]
    return sorted({*texts, *(Entry(HELP, text) for text in help_of(package))})


def help_of(package: str) -> Iterator[str]:
    """Every paragraph of help of the commands of a package."""
    module = importlib.import_module(COMMANDS[package])
    if package == "medrega_edge":
        yield from OWN_TEXTS
        yield from _help_below(typer.main.get_command(module.app))
    else:
        yield (importlib.import_module(package).__doc__ or "").partition("\n")[0]  # in `medrega --help`
        app = App(add_completion=False)
        module.mount(app)
        yield from _help_below(typer.main.get_command(app))


def _help_below(command: Any) -> Iterator[str]:
    """Every paragraph of help of a command and those below it, but for examples."""
    yield from split_help(command.help)[0]
    for one in (command, *command.params):
        yield from filter(None, (getattr(one, "rich_help_panel", None), one is not command and getattr(one, "help", None)))
    for other in getattr(command, "commands", {}).values():
        yield from _help_below(other)


def update(package: str) -> None:
    """Bring the .po of a package in step with its English."""
    held = entries(package) if catalogue(package).is_file() else []
    merged = [_with_chinese(entry, held) for entry in wanted(package)]
    texts = Catalog(locale="zh_CN")
    for entry in merged:
        texts.add(entry.english, entry.chinese, context=entry.code, flags=["fuzzy"] if entry.fuzzy else [])
    catalogue(package).parent.mkdir(parents=True, exist_ok=True)
    with catalogue(package).open("wb") as target:
        target.write(HEADER.encode())
        write_po(target, texts, width=0, omit_header=True)  # a text stays on its line, so that branches merge


def _with_chinese(entry: Entry, held: list[Entry]) -> Entry:
    """The entry with the Chinese that the .po has for it, or had for its English before it was changed."""
    same = [old for old in held if (old.code, old.english) == (entry.code, entry.english)]
    if same:
        return max(same, key=lambda old: (bool(old.chinese), not old.fuzzy))
    before = [old for old in held if old.code == entry.code and old.chinese]
    if entry.code == HELP:
        similar = difflib.get_close_matches(entry.english, [old.english for old in before], 1, LOOKS_LIKE)
        before = [old for old in before if old.english in similar]
    return entry._replace(chinese=before[0].chinese, fuzzy=True) if before else entry


def problems(package: str) -> list[str]:
    """What is wrong with the .po of a package, a line for each text."""
    held, needed = entries(package), wanted(package)
    by_key = {(entry.code, entry.english): entry for entry in held}
    keys = {(entry.code, entry.english) for entry in needed}
    found = [f"twice: {key}" for key, times in Counter((e.code, e.english) for e in held).items() if times > 1]
    found += [f"in no template or help: {key}" for key in sorted(by_key.keys() - keys)]
    for key in sorted(keys):
        entry = by_key.get(key)
        if entry is None or not entry.chinese:
            found.append(f"no Chinese: {key}")
        elif entry.fuzzy:
            found.append(f"fuzzy: {key}")
        elif entry.code != HELP and fields(entry.chinese) != fields(entry.english):
            found.append(f"other parameters in Chinese: {key}")
        elif entry.code != HELP and formats(entry.chinese) != formats(entry.english):
            found.append(f"parameters formatted otherwise in Chinese: {key}")
    return [f"{package}: {problem}" for problem in found]


def fields(template: str) -> set[str]:
    """The names of a template's parameters."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def formats(template: str) -> set[tuple[str, str]]:
    """The names of the parameters that have a format, each with its format."""
    return {(name, form) for _, name, form, _ in string.Formatter().parse(template) if name is not None and form}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit status."""
    for folder in PACKAGES.values():
        sys.path.insert(0, str(ROOT / folder))
    found = []
    for package in PACKAGES if arguments != ["compile"] else ():
        if arguments == ["update"]:
            update(package)
        found += problems(package)
    for problem in found:
        print(problem)  # noqa: T201
    if arguments in (["compile"], ["update"]):
        compile_all()
    elif arguments != ["check"]:
        raise SystemExit(__doc__)
    return 1 if found and arguments == ["check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
