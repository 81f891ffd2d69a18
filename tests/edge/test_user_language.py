"""The person's language: taken from what they typed, else from the locale; errors, help and answers use it."""

import gettext
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medrega_edge.i18n import message
from medrega_edge.i18n.user_language import users_language


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
    assert medrega("ask", "nowhere.png", "locate the liver").err == "错误：文件不存在：nowhere.png\n"
    assert medrega("ask", "--nonsense").err.startswith("错误：没有选项")
    assert medrega("aks").err == "错误：没有命令 'aks'；是否指 ask？\n"
    assert "回答关于医学图像的问题" in medrega("--help").out
    sample = ("--sample", "abdomen-mri", "--json")
    assert json.loads(medrega("classify", "--set", "fracture", *sample).out)["language"] == "zh"
    assert json.loads(medrega("classify", "--set", "fracture", "--lang", "en", *sample).out)["language"] == "en"
    assert json.loads(medrega("ask", "locate the liver", *sample).out)["language"] == "en"


@pytest.mark.parametrize("arguments", [("inspect", "--sample", "abdomen-mri"), ("labels", "--model", "x"), ("doctor",)])
def test_commands_without_an_answer_take_a_language(medrega, monkeypatch, arguments):
    from medrega_edge.cli import doctor

    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(doctor, "_answer", lambda model: ())
    english, chinese = (medrega(*arguments, *language) for language in ((), ("--lang", "zh")))
    assert (english.out + english.err).isascii()
    assert not (chinese.out + chinese.err).isascii()


def test_without_the_chinese_catalogue_the_command_says_so_and_speaks_english(medrega, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setattr(message, "_chinese", lambda package: gettext.NullTranslations())
    said = medrega("--help")
    assert said.err == "The Chinese texts are not installed: messages are in English; install medrega-edge again.\n"
    assert "Answer questions about a medical image" in said.out


def test_the_runtime_reads_its_own_sentences_only():
    code = (
        "import sys; sys.argv = ['medrega', 'locate', 'nowhere.png', 'liver']\n"
        "sys.addaudithook(lambda event, given: event == 'open' and str(given[0]).endswith('.mo') and print(given[0]))\n"
        "from medrega_edge.cli.main import main; main()"
    )
    environment = {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1", "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False)
    assert run.stderr == "错误：文件不存在：nowhere.png\n"
    read = {Path(line).name for line in run.stdout.splitlines()}
    assert read == {"medrega_edge.mo"}
