"""Whole questions beside other programs: rounds of faked ones, their figures, goals and table, and ours at a tiny shape."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from medrega_bench import extras, result_files
from medrega_bench.cli.main import bench_app
from medrega_bench.performance import peer_comparison, question_comparison, question_worker, results
from medrega_bench.performance.environment import Environment
from medrega_bench.performance.peer_comparison import OURS
from medrega_bench.performance.peers import PEERS, PeerError
from medrega_bench.performance.question_comparison import ONE_BY_ONE, PREFILL_8BIT, QuestionPlan
from medrega_bench.performance.question_worker import LLAMA, LLAMA_SMALL
from medrega_bench.performance.random_packages import PackageShape, TextShape, TowerShape, named
from medrega_bench.performance.results import QuestionsResult
from medrega_bench.reports import fast_table
from medrega_edge.errors import ResourceError
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder

from .test_quietness import quiet_watch

PLAN = QuestionPlan(threads=1, rounds=3, cold_rounds=2, tokens=25, images=4)
SECONDS = {  # of a first question
    OURS: 1.0,
    ONE_BY_ONE: 1.5,
    PREFILL_8BIT: 0.75,
    LLAMA: 4.0,
    LLAMA_SMALL: 5.0,
    "OpenVINO": 3.0,
    "torch bf16": 9.0,
}


class FakeWorker:
    """A worker whose questions take so many seconds; onnxruntime-genai never starts, torch fp32 fails when it is asked."""

    started_with: list[tuple[str, bool]] = []

    def __init__(self, python, script, order):
        self.name = order["peer"]
        self.started_with.append((self.name, order["cold"]))
        if self.name == "onnxruntime-genai":
            raise PeerError("bench.peer_ended", exit_code=1, problem="unsupported")
        self.started = {"version": "9", "peak_mib": 100 * SECONDS.get(self.name, 1)}

    def ask(self):
        if self.name == "torch fp32":
            raise PeerError("bench.peer_ended", exit_code=1, problem="out of breath")
        first = SECONDS[self.name]
        seconds = {"first": first, "second": first / 10, "batch": 4 * first}
        parts = {"tower": 0.6, "reading": 0.2, "answering": 0.2} if self.name == OURS else None
        return {"seconds": seconds, "tokens": 25.0, "peak_mib": 200.0, "parts": parts}

    def close(self):
        pass


@pytest.fixture
def faked(monkeypatch, tmp_path):
    """All workers are fakes; the package is the default one. Yields the scripts that were run, and with which order."""
    scripts = []
    monkeypatch.setattr(FakeWorker, "started_with", [])
    for name, value in {
        "write_package": lambda shape, folder: Package.open(default_folder()),
        "install": lambda peer, folder: tmp_path / peer.environment,
        "run_script": lambda python, script, order: scripts.append((order["peer"], Path(script).stem, order)),
        "WorkerProcess": FakeWorker,
    }.items():
        monkeypatch.setattr(question_comparison, name, value)
    monkeypatch.setattr(peer_comparison, "PAUSE_SECONDS", 0)
    return scripts


def compared(messages=None):
    tell = (messages if messages is not None else []).append
    return question_comparison.measure("0.5b", named("0.5b"), PLAN, Path("environments"), tell, quiet_watch(), PEERS)


def result():
    environment = Environment("P", 2, 8.0, "Linux", "3.11", {"onnxruntime": "1"})
    return QuestionsResult(date="d", command="c", environment=environment, plan=PLAN, questions=(compared(),))


@pytest.mark.usefixtures("faked")
def test_every_program_starts_cold_in_each_round_and_once_to_stay():
    programs = {program.name: program for program in compared().programs}
    assert list(programs) == [OURS, ONE_BY_ONE, PREFILL_8BIT, LLAMA, LLAMA_SMALL, "OpenVINO", "torch bf16"]
    for name in programs:
        assert FakeWorker.started_with.count((name, True)) == 1 + PLAN.cold_rounds  # one fills the page cache
        assert FakeWorker.started_with.count((name, False)) == 1
    theirs = programs["OpenVINO"]
    assert theirs.seconds["first"].median == 3.0 and theirs.seconds["first"].n == PLAN.rounds
    assert {stage: ratio.median for stage, ratio in theirs.ratios.items() if stage != "cold"} == {
        "first": 3.0, "second": pytest.approx(3.0), "batch": 3.0,
    }  # fmt: skip
    assert theirs.parts is None and programs[OURS].parts["tower"].median == 0.6
    assert (theirs.cold_peak_mib, theirs.peak_mib) == (300.0, 200.0)


def test_all_get_the_same_tokens_and_their_files_are_written_first(faked):
    comparison = compared()
    assert [(peer, script) for peer, script, _ in faked] == [
        (LLAMA, "gguf_files"), (LLAMA_SMALL, "gguf_files"), ("OpenVINO", "gguf_files"), ("OpenVINO", "openvino_files"),
    ]  # fmt: skip
    assert [order.get("tower_type") for _, _, order in faked] == ["F16", "Q8_0", None, None]
    assert len({order["mmproj"] for _, _, order in faked if "mmproj" in order}) == 2
    for _, _, order in faked:
        assert (order["before"], order["after"], order["question"]) == comparison.prompt
        assert (order["tokens"], order["images"], order["head_bits"]) == (25, 4, 8)
        json.dumps(order)


@pytest.mark.usefixtures("faked")
def test_a_program_that_does_not_start_or_fails_later_is_named_with_its_reason():
    messages = []
    missing = compared(messages).missing
    assert [(peer.name, peer.reason) for peer in missing] == [
        ("onnxruntime-genai", "ended with code 1: unsupported"), ("torch fp32", "ended with code 1: out of breath"),
    ]  # fmt: skip
    assert [message.params["peer"] for message in messages if message.code == "bench.peer_missing"] == [
        "onnxruntime-genai", "torch fp32",
    ]  # fmt: skip


@pytest.mark.usefixtures("faked")
def test_without_ours_there_is_no_measurement(monkeypatch):
    def dead(self):
        raise PeerError("bench.peer_ended", exit_code=1, problem="dead")

    monkeypatch.setattr(FakeWorker, "ask", dead)
    with pytest.raises(ResourceError) as error:
        compared()
    assert error.value.code == "bench.measurement_failed"


@pytest.mark.usefixtures("faked")
def test_goals_are_against_the_best_other_program_and_a_miss_is_bold():
    made = result()
    lines = fast_table.table(made).splitlines()
    goals = {line.split("|")[1].strip(): line for line in lines[2:] if line.startswith("|")}
    assert len(goals) == 10
    first = goals["first question about an image, 1 B shape, box by the grammar, against OpenVINO"]
    assert first.endswith(">= 1.50 | 3.00 | yes |")
    assert goals["second question about it, 1 B shape, token by token, against OpenVINO"].endswith("| 2.00 | **no** |")
    assert "questions about 4 images, 1 B shape, token by token, against OpenVINO" in goals
    quicker = goals["first question about an image, 1 B shape, box by the grammar, 8-bit prefill, against OpenVINO"]
    assert quicker.endswith(">= 1.50 | 4.00 | yes |")
    memory = goals["peak memory of a process with one answer, 1 B shape, OpenVINO over ours"]
    assert memory.endswith(">= 1.00 | 3.00 | yes |")
    short = fast_table.summary(made)
    assert "| second question about it, 1 B shape, box by the grammar, against OpenVINO: times as fast | 3.00" in short
    assert "token by token" not in short


@pytest.mark.usefixtures("faked")
def test_another_shape_has_a_table_and_no_goals():
    made = result()
    made = replace(made, questions=(replace(made.questions[0], shape="tiny"),))
    assert "against" not in fast_table.table(made)
    assert "| OpenVINO 9, int4-g128, head int8, tower int8 |" in fast_table.questions_table(made)


@pytest.mark.usefixtures("faked")
def test_the_table_has_every_program_and_where_our_time_goes():
    text = fast_table.questions_table(result())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1  # every row has all cells
    assert "| onnxruntime-genai | not measured: ended with code 1: unsupported |" in text
    assert "First question of medrega, answer of 25 tokens: tower 0.60 s (60%)" in text
    assert "answers of 25 tokens" in text and "Measured d with `c`" in text


@pytest.mark.usefixtures("faked")
def test_what_is_written_is_read_again(tmp_path):
    made = result()
    result_files.write(tmp_path / "result.json", made)
    assert results.read(json.loads((tmp_path / "result.json").read_text("utf-8")), "result.json") == made


@pytest.mark.usefixtures("faked")
def test_the_command_measures_whole_questions_at_the_shape_with_the_large_tower(monkeypatch, tmp_path):
    asked = []

    def measure(name, shape, plan, folder, tell, watch, peers):
        asked.append((name, shape.tower.image_size, plan.threads, plan.rounds, [peer.name for peer in peers]))
        with watch.stretch():
            return whole

    whole = compared()
    monkeypatch.setattr(question_comparison, "measure", measure)
    monkeypatch.setattr(extras, "require_export", lambda name: None)
    words = "peers --question --threads 1 --rounds 5 --wait 0 --peer OpenVINO --out".split()
    run = CliRunner().invoke(bench_app, [*words, str(tmp_path / "result.json")])
    assert run.exit_code == 0, run.output
    assert asked == [("0.5b", 448, 1, 5, ["OpenVINO"])]
    assert "OpenVINO" in run.output and "first   3.00 (3.00)" in run.output
    assert results.read(json.loads((tmp_path / "result.json").read_text("utf-8")), "r").questions == (whole,)


def test_every_program_has_a_way_to_answer_and_its_worker_imports_nothing_of_ours():
    assert set(question_worker.PROGRAMS) == {OURS, ONE_BY_ONE, PREFILL_8BIT, LLAMA_SMALL, *(peer.name for peer in PEERS)}
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print([n for n in sys.modules if n.startswith('medrega')])"
    done = subprocess.run([sys.executable, "-c", code, question_worker.__file__], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_letter_of_a_question_is_one_token_of_the_peers(monkeypatch):
    kinds = SimpleNamespace(NORMAL=1, CONTROL=3)
    monkeypatch.setitem(sys.modules, "gguf", SimpleNamespace(TokenType=kinds, GGUFWriter=None))
    monkeypatch.delitem(sys.modules, "medrega_bench.performance.gguf_files", raising=False)
    gguf_files = importlib.import_module("medrega_bench.performance.gguf_files")
    tokens, types = gguf_files.vocabulary(1000)
    assert len(tokens) == len(types) == len(set(tokens)) == 1000
    text = question_worker.letters(500)
    assert [tokens.index(letter) for letter in text] == [ord(letter) for letter in text]
    assert {tokens[index] for index in range(1000)[gguf_files.PRINTABLE]} == set(map(chr, range(33, 127)))


@pytest.mark.slow
def test_ours_answers_at_a_small_shape():
    pytest.importorskip("onnx")
    shape = PackageShape(TextShape(2, 128, 4, 2, 32, 256, 8192), TowerShape(2, 128, 256, 64, 16))
    plan = QuestionPlan(threads=1, rounds=1, cold_rounds=1, tokens=25, images=2)
    comparison = question_comparison.measure("small", shape, plan, Path("nowhere"), lambda message: None, quiet_watch(), ())
    box, plain, eight_bit = comparison.programs
    assert (box.name, plain.name, plain.tokens) == (OURS, ONE_BY_ONE, 25)
    assert eight_bit.name == PREFILL_8BIT and eight_bit.precision == "int4-g32, prefill int8, head int8, tower int8"
    assert 20 <= box.tokens <= 30  # the digits of a box differ
    assert set(box.seconds) == set(question_comparison.STAGES) and set(box.parts) == {"tower", "reading", "answering"}
    assert box.ratios["first"].median == 1 and all(spread.min > 0 for spread in plain.seconds.values())
    assert 0 < box.cold_peak_mib <= 1000
