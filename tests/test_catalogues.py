"""Every message has a template, every template has Chinese and is used, and every call names the template's parameters."""

import ast
import functools
import importlib
import re
from collections import Counter

import pytest

from medrega_edge.i18n.message import CODE
from tools import catalogues
from tools.catalogues import PACKAGES, ROOT, Entry, fields

TEMPLATES = {
    code: english
    for package in PACKAGES
    for code, english in importlib.import_module(f"{package}.i18n.templates").TEMPLATES.items()
}
PRINTERS = {"print_result", "print_status", "print", "echo"}
TWO_WORDS = re.compile(r"[A-Za-z]{3,} +[A-Za-z]{2,}")
PASS_ON = {"medrega_edge/errors.py", "medrega_edge/cli/console.py"}  # hand the code that they are given to Message


def sources():
    """Every module of the four packages, parsed, by its path."""
    for package, folder in PACKAGES.items():
        for path in sorted((ROOT / folder / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text("utf-8"))


SOURCES = dict(sources())


@functools.cache
def error_names():
    """The names of MedregaError and of every class below it, wherever they are defined."""
    classes = [node for tree in SOURCES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    found = {"MedregaError"}
    while more := {c.name for c in classes if {getattr(base, "id", "") for base in c.bases} & found} - found:
        found |= more
    return found - {"InternalError"}  # takes an exception


def calls():
    """Every call that makes a message: where, the name called, its first argument if that is a literal, the node."""
    names = error_names() | {"Message", "__init__"}
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = getattr(node.args[0], "value", None) if node.args else None
                if name in names:
                    yield f"{path}:{node.lineno}", name, first if isinstance(first, str) else None, node


def coded():
    """Every message with a code: where, the code, the names of its parameters."""
    for place, name, first, node in calls():
        is_code = first is not None and CODE.fullmatch(first)
        if is_code or (name == "Message" and place.partition(":")[0] not in PASS_ON):
            given = {keyword.arg for keyword in node.keywords}
            yield place, first, given if len(node.args) == 1 else "not by name"


def test_every_code_has_a_template_and_every_call_names_its_parameters():
    wrong = [one for one in coded() if one[1] not in TEMPLATES or one[2] != fields(TEMPLATES[one[1]])]
    assert wrong == []


def test_every_template_is_used():
    assert TEMPLATES.keys() - {code for _, code, _ in coded()} == set()


def test_no_code_has_two_templates():
    each = [code for package in PACKAGES for code in importlib.import_module(f"{package}.i18n.templates").TEMPLATES]
    assert [code for code, times in Counter(each).items() if times > 1] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_template_and_help_text_has_chinese(package):
    assert catalogues.problems(package) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_chinese_console_of_before_unicode_can_show_it(package):
    assert "".join(entry.chinese for entry in catalogues.entries(package)).encode("gbk")


def test_every_error_is_raised_with_a_code():
    """`SomeError("A sentence.")`, an f-string or a variable has no template, and so no Chinese."""
    assert [place for place, name, first, _ in calls() if name in error_names() and not CODE.fullmatch(first or "")] == []


def test_what_is_printed_has_no_words_of_its_own():
    """Words that a printing function gets as a literal would stay English."""
    printed = []
    for path, tree in SOURCES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("echo", "print"):
                literals = [
                    part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                printed += [(path, text) for text in literals if re.search(r"[A-Za-z]{3,} +[A-Za-z]{2,}", text)]
    assert printed == []


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Catalogue of a package of one template and one help text, which tests change."""
    needed = [Entry("toy.lost", "Lost {what}."), Entry("help", "Where to look for what is lost.")]
    monkeypatch.setattr(catalogues, "catalogue", lambda package: tmp_path / "toy.po")
    monkeypatch.setattr(catalogues, "wanted", lambda package: needed)
    return needed, tmp_path / "toy.po"


def test_update_adds_keeps_and_drops(toy):
    needed, po = toy
    catalogues.update("toy")
    assert [problem.split(": ")[1] for problem in catalogues.problems("toy")] == ["no Chinese", "no Chinese"]
    po.write_text(
        po.read_text("utf-8").replace('msgstr ""\n\nmsgctxt "help"', 'msgstr "丢失 {what}。"\n\nmsgctxt "help"'), "utf-8"
    )
    needed[1:] = [Entry("toy.new", "New.")]
    catalogues.update("toy")
    assert catalogues.entries("toy") == [Entry("toy.lost", "Lost {what}.", "丢失 {what}。"), Entry("toy.new", "New.")]


def test_changed_english_makes_its_chinese_fuzzy(toy):
    needed, po = toy
    po.write_text(
        'msgctxt "help"\nmsgid "Where to look for what was lost."\nmsgstr "何处寻找"\n\n'
        'msgctxt "toy.lost"\nmsgid "Gone: {what}."\nmsgstr "丢失 {what}。"\n',
        "utf-8",
    )
    catalogues.update("toy")
    assert catalogues.entries("toy") == [
        Entry("toy.lost", "Lost {what}.", "丢失 {what}。", fuzzy=True),
        Entry("help", "Where to look for what is lost.", "何处寻找", fuzzy=True),
    ]
    assert all("fuzzy" in problem for problem in catalogues.problems("toy"))


def test_a_merge_of_two_branches_is_put_right(toy):
    needed, po = toy
    del needed[1:]
    block = 'msgctxt "toy.lost"\nmsgid "Lost {what}."\nmsgstr "%s"\n'
    po.write_text(block % "" + "\n" + block % "丢失 {what}。", "utf-8")
    assert "twice" in catalogues.problems("toy")[0]
    catalogues.update("toy")
    assert catalogues.problems("toy") == []


def test_a_number_formatted_otherwise_in_chinese_is_a_problem(toy):
    needed, po = toy
    needed[:] = [Entry("toy.share", "Share {share:.0%}.")]
    po.write_text('msgctxt "toy.share"\nmsgid "Share {share:.0%}."\nmsgstr "占 {share}。"\n', "utf-8")
    assert "formatted otherwise" in catalogues.problems("toy")[0]


def test_other_parameters_in_chinese_are_a_problem(toy):
    needed, po = toy
    del needed[1:]
    po.write_text('msgctxt "toy.lost"\nmsgid "Lost {what}."\nmsgstr "丢失 {which}。"\n', "utf-8")
    assert "other parameters" in catalogues.problems("toy")[0]
