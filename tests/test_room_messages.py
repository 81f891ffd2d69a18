"""Chinese for whoever exports, trains and measures: every error, warning, help and line of progress has its sentence."""

import ast
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from medrega_edge.domain import Language
from medrega_edge.i18n import translate
from medrega_edge.i18n.translate import bring, said
from tests.edge.test_messages import NOTED, TELLING, literals, named, sentence

ROOMS = {"medrega_export": "export", "medrega_bench": "bench"}
FOLDER = Path(__file__).parents[1]
SHOWN = {"show", "timed", "PeerError", "RuntimeError", "Entry"}  # what else is called with a sentence
GATHERED = {"shortages", "phrases", "fallen", "unheld"}  # what else warnings are gathered in


def own(package):
    return json.loads(files(package).joinpath("messages_zh.json").read_text("utf-8"))


def told(package):
    """Every sentence that a room raises, tells or notes for a reader, with where."""
    for path in sorted((FOLDER / ROOMS[package] / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            texts = []
            if isinstance(node, ast.Call) and named(node.func) in TELLING | SHOWN:
                texts = [text for one in node.args[:1] for text in literals(one)]
            elif isinstance(node, ast.Call) and named(node.func) == "LeftOut":
                texts = [sentence(node.args[1])]
            elif isinstance(node, ast.Call) and named(node.func) == "append":
                texts = literals(node) if named(node.func.value) in NOTED | GATHERED else []
            elif isinstance(node, ast.AugAssign | ast.Assign):
                target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
                texts = literals(node.value) if named(target) in NOTED | GATHERED else []
            elif isinstance(node, ast.Return) and path.name in ("gate.py", "gates.py"):
                texts = literals(node)
            yield from ((f"{path.name}:{node.lineno}", text) for text in texts if " " in text.strip())


@pytest.fixture(params=ROOMS)
def package(request, monkeypatch):
    """A room whose sentences are known, until the test ends."""
    monkeypatch.setattr(translate, "_PACKAGES", ["medrega_edge"])
    bring(request.param)
    yield request.param
    translate._patterns.cache_clear()


def test_every_sentence_has_its_chinese_one(package):
    assert [place for place in told(package) if said(place[1], Language.ZH) == place[1]] == []


def test_whatever_varies_is_kept(package):
    for english in own(package):
        values = [f"<{number}>" for number in range(english.count("{}"))]
        chinese = said(english.format(*values), Language.ZH)
        assert all(value in chinese for value in values), english
        assert chinese != english.format(*values), english


def test_a_chinese_console_of_before_unicode_can_show_it(package):
    assert "".join(own(package).values()).encode("gbk")


def test_a_sentence_in_a_sentence_behind_its_prefix(package):
    if package == "medrega_export":
        missed = "iou_drop of 'detect' in 'en' is 0.5, more than 0.01"
        waits = (
            "the package waits beside its place, in the folder '.p.new': the same command with another gate, or without, "
        )
        chinese = said(f"error: {missed}; {waits}takes it from there; or delete that folder.", Language.ZH)
        assert chinese.startswith("错误：任务 'detect'（语言 'en'）的 iou_drop 为 0.5，超过 0.01；模型包暂存")


PLACED = {
    "Line 2 of 'q.csv' needs text as 'bbox'.": "'q.csv' 的第 2 行的 'bbox' 须为文本。",
    "Line 2 of 'q.jsonl', turn 3, needs text as 'value'.": "'q.jsonl' 的第 2 行第 3 句的 'value' 须为文本。",
    "Entry 2 of 'q.json' needs four numbers as 'q'.": "'q.json' 的第 2 个条目的 'q' 须为四个数。",
    "Line 2 of 'q.csv' has 'a: b' as 'task', which is none of: vqa.": "'q.csv' 的第 2 行的 'task' 为 'a: b'；只可为：vqa。",
    "Line 2 of 'q.csv': box [3, 1] needs x1 < x2 and y1 < y2.": "'q.csv' 的第 2 行：方框 [3, 1] 须 x1 < x2 且 y1 < y2。",
    "'q.jsonl': Line 3 is not valid JSON.": "'q.jsonl'：第 3 行不是有效的 JSON。",
    "warning: Line 3: 'liver' has no box.": "警告：第 3 行：'liver' 没有方框。",
    "warning: Line 3, truth: 'liver' has no box; standard metrics leave it out.": (
        "警告：第 3 行的真值：'liver' 没有方框；标准指标不计入。"
    ),
    "missed: accuracy of 'vqa' in 'zh' fell by 0.2 (0.1 to 0.3)": (
        "未通过：任务 'vqa'（语言 'zh'）的 accuracy 下降 0.2（0.1 至 0.3）"
    ),
    "not held: jump_forward_gain on cpu, 2 threads, is not steady": "未检验：jump_forward_gain（cpu，2 线程）不稳定",
    "  3  left out: an empty answer (first: Line 2 of 'q.csv')": "  3  未采用：答案为空（首个：'q.csv' 的第 2 行）",
}


def test_a_place_in_a_file_is_chinese_too(monkeypatch):
    monkeypatch.setattr(translate, "_PACKAGES", ["medrega_edge"])
    bring("medrega_bench")
    assert {english: said(english, Language.ZH) for english in PLACED} == PLACED
    translate._patterns.cache_clear()


def test_a_name_in_quotes_is_kept_whatever_it_is():
    assert said("There is no sample 'frame'; choose one of: abdomen-mri.", Language.ZH) == (
        "没有样例 'frame'；可选：abdomen-mri。"
    )


def test_the_runtime_reads_its_own_sentences_only():
    code = (
        "import sys; sys.argv = ['medrega', 'locate', 'nowhere.png', 'liver']\n"
        "sys.addaudithook(lambda event, given: event == 'open' and str(given[0]).endswith('.mo') and print(given[0]))\n"
        "from medrega_edge.cli.main import main; main()"
    )
    environment = {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1", "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, encoding="utf-8", check=False)
    assert run.stderr == "错误：所给图像路径下没有文件；请检查路径。\n"
    read = {Path(line).name for line in run.stdout.splitlines()}
    assert read == {"medrega_edge.mo"}
