"""A message: a code and its parameters, shown in English or Chinese.

    message = Message("image.no_frame", image=Message("image.given"), frame=7, last=3)
    str(message)                  # "The given image has no frame 7; choose one with --frame 0..3."
    message.text(Language.ZH)     # "所给图像没有第 7 帧；请用 --frame 0..3 选择。"
    message.to_dict()             # {"code": ..., "message": <English>, "params": {...}}

Each package has its English templates in `<package>/i18n/templates.py` (`TEMPLATES`, code -> template) and its Chinese in
`<package>/i18n/locale/zh_CN/LC_MESSAGES/<package>.po`. `tools/catalogues.py` keeps the two in step. A template names its
parameters in braces (`{frame}`, `{share:.0%}`). A parameter is

- text or a number: user data. It is inserted unchanged and never translated;
- a Message: inserted in the language of the whole. `{image!c}` begins it with a capital;
- a list or tuple of these: texts and numbers are joined with commas, Messages with semicolons.

`tests/test_catalogues.py` checks every `Message(...)` and `SomeError(...)` in the source against the templates.
"""

from __future__ import annotations

import gettext
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from medrega_edge.domain import Language

CODE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")  # <area>.<what>

_packages = ["medrega_edge"]  # those whose messages can be shown


def register(package: str) -> None:
    """Let the messages and help texts of another package be shown; its files are read when one is needed."""
    if package not in _packages:
        _packages.append(package)


@dataclass(frozen=True, init=False)
class Message:
    """A sentence, or a part of one: `code` names its template, `params` fill it. Equal messages have equal hashes.

    Raises ValueError if `code` is not a dotted lower-case name.
    """

    code: str
    params: Mapping[str, Any]

    def __init__(self, code: str, /, **params: Any) -> None:
        """Take parameters by the names that stand in the template; paths become text, lists tuples."""
        if not CODE.fullmatch(code):
            raise ValueError(f"{code!r} is no code; write Message('<area>.<what>', name=value)")
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "params", {name: _plain(value) for name, value in params.items()})

    def __hash__(self) -> int:
        return hash((self.code, frozenset(self.params.items())))

    def __str__(self) -> str:
        return self._filled(_templates(_package_of(self.code))[self.code], Language.EN)

    def text(self, language: Language) -> str:
        """The message in `language`; in English if there is no Chinese for it."""
        if language == Language.EN:
            return str(self)
        package = _package_of(self.code)
        return self._filled(_chinese(package).pgettext(self.code, _templates(package)[self.code]), Language.ZH)

    def to_dict(self) -> dict[str, Any]:
        """The message for JSON: its code, its English sentence, and its parameters."""
        params = {name: _for_json(value) for name, value in self.params.items()}
        return {"code": self.code, "message": str(self), "params": params}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """The message that `to_dict` gave."""
        return cls(data["code"], **{name: _from_json(value) for name, value in data["params"].items()})

    def _filled(self, template: str, language: Language) -> str:
        return _FORMATTER.vformat(template, (), {name: _shown(value, language) for name, value in self.params.items()})


def help_text(paragraph: str, language: Language) -> str:
    """A paragraph of help, its white space single, in `language`; in English if there is no Chinese for it."""
    if language == Language.ZH:
        for package in _packages:
            if (chinese := _chinese(package).pgettext("help", paragraph)) != paragraph:
                return chinese
    return paragraph


def has_chinese() -> bool:
    """Whether the Chinese catalogue is installed; without it everything is shown in English."""
    return isinstance(_chinese("medrega_edge"), gettext.GNUTranslations)


class _Formatter(string.Formatter):
    """str.format with the conversion `!c`: the first letter is a capital."""

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        if conversion == "c":
            return value[:1].upper() + value[1:]
        return super().convert_field(value, conversion)


_FORMATTER = _Formatter()


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any, language: Language) -> Any:
    if isinstance(value, Message):
        return value.text(language)
    if isinstance(value, tuple):
        return _joined(value, language)
    return value


def _joined(values: Sequence[Any], language: Language) -> str:
    holds_messages = any(isinstance(value, Message) for value in values)
    separators = {Language.EN: (", ", "; "), Language.ZH: ("、", "；")}
    separator = separators[language][holds_messages]
    return separator.join(str(_shown(value, language)) for value in values)


def _for_json(value: Any) -> Any:
    if isinstance(value, Message):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_for_json(part) for part in value]
    return value if isinstance(value, str | int | float) else str(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return Message.from_dict(value)
    return [_from_json(part) for part in value] if isinstance(value, list) else value


def _package_of(code: str) -> str:
    for package in _packages:
        if code in _templates(package):
            return package
    raise KeyError(f"no template has the code {code!r}")


@cache
def _templates(package: str) -> Mapping[str, str]:
    templates: Mapping[str, str] = import_module(f"{package}.i18n.templates").TEMPLATES
    return templates


@cache
def _chinese(package: str) -> gettext.NullTranslations:
    from importlib.resources import files  # 10 ms, which English need not wait for

    return gettext.translation(package, str(files(package) / "i18n" / "locale"), ["zh_CN"], fallback=True)
