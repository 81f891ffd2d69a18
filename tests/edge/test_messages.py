"""Chinese for whoever asks in Chinese: every error has its sentence, whatever varies in it is kept."""

import ast
import gettext
import json
from importlib.resources import files
from pathlib import Path

import pytest

import medrega_edge
from medrega_edge.domain import Language
from medrega_edge.i18n import message
from medrega_edge.i18n.translate import said, users_language

SENTENCES = json.loads(files("medrega_edge").joinpath("messages_zh.json").read_text("utf-8"))
TELLING = {
    "UsageError",
    "ImageError",
    "ChoiceError",
    "PackageError",
    "GateError",
    "ResourceError",
    "as_image_error",
    "print_status",
}
NOTED = {"said", "told", "problems", "warnings", "blank"}  # what warnings are gathered in


def sentence(node):
    """A literal with {} for what varies; "" for what is no literal, or part of one."""
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def literals(node):
    """The outermost literals below a node."""
    if text := sentence(node):
        return [text]
    return [text for child in ast.iter_child_nodes(node) for text in literals(child)]


def told():
    """Every sentence that the runtime raises, tells or notes for a reader, with where."""
    for path in sorted(Path(medrega_edge.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            texts = []
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in TELLING:
                texts = [sentence(one) for one in node.args[:1]]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "append":
                texts = literals(node) if named(node.func.value) in NOTED else []
            elif isinstance(node, ast.AugAssign | ast.Assign) and path.parent.name != "output":
                target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
                texts = literals(node.value) if named(target) in NOTED else []
            yield from ((f"{path.name}:{node.lineno}", text) for text in texts if " " in text.strip())


def named(node):
    return getattr(node, "id", getattr(node, "attr", None))


def test_every_error_and_warning_has_its_chinese_sentence():
    assert [place for place in told() if place[1] not in SENTENCES] == []


def test_whatever_varies_is_kept():
    for english in SENTENCES:
        values = [f"<{number}>" for number in range(english.count("{}"))]
        text = english.format(*values)
        chinese = said(text, Language.ZH)
        assert all(value in chinese for value in values), english
        assert chinese != text or not values, english
        assert said(text, Language.EN) == text


def test_what_varies_may_be_a_sentence_too():
    assert said("error: The given image has a single frame; leave --frame out.", Language.ZH) == (
        "错误：所给图像只有一个帧；请去掉 --frame。"
    )
    assert said("a sentence of nobody", Language.ZH) == "a sentence of nobody"


@pytest.mark.parametrize(
    ("typed", "locale", "language"),
    [
        (["ask", "scan.png", "locate the liver"], "en_US.UTF-8", "en"),
        (["ask", "scan.png", "请定位肝脏"], "C", "zh"),
        (["ask", "scan.png", "locate the liver"], "zh_CN.GBK", "zh"),
        (["ask", "scan.png", "请定位肝脏", "--lang", "en"], "zh_CN.UTF-8", "en"),
        (["report", "scan.png", "--lang=zh"], "C", "zh"),
        (["ask", "--lang", "fr"], "POSIX", "en"),
    ],
)
def test_the_language_is_that_of_who_typed(typed, locale, language, monkeypatch):
    monkeypatch.setenv("LC_ALL", locale)
    assert users_language(typed) == language


def test_errors_and_answers_come_in_the_users_language(medrega, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert medrega("ask", "nowhere.png", "locate the liver").err == "错误：所给图像路径下没有文件；请检查路径。\n"
    assert medrega("ask", "--nonsense").err.startswith("错误：没有选项")
    assert medrega("aks").err == "错误：没有命令 'aks'；是否指 ask？\n"
    assert "回答关于医学图像的问题" in medrega("--help").out
    sample = ("--sample", "abdomen-mri", "--json")
    assert json.loads(medrega("classify", "--set", "fracture", *sample).out)["language"] == "zh"
    assert json.loads(medrega("classify", "--set", "fracture", "--lang", "en", *sample).out)["language"] == "en"
    assert json.loads(medrega("ask", "locate the liver", *sample).out)["language"] == "en"


def test_without_the_chinese_catalogue_the_command_says_so_and_speaks_english(medrega, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setattr(message, "_chinese", lambda package: gettext.NullTranslations())
    said = medrega("--help")
    assert said.err == "The Chinese texts are not installed: messages are in English; install medrega-edge again.\n"
    assert "Answer questions about a medical image" in said.out
