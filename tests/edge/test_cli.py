"""The command as a person runs it: output, exit codes, files. Where the process matters, it is one of its own."""

import io
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import typer
from PIL import Image

from medrega_edge.cli import chat
from medrega_edge.domain import NOTICE
from medrega_edge.i18n.message import Message
from medrega_edge.images.samples import sample_path

SCAN = str(sample_path("abdomen-mri"))


def process(*arguments, **variables):
    environment = {**os.environ, "COLUMNS": "100", **variables}
    environment.pop("MEDREGA_MODEL", None)
    command = [sys.executable, "-m", "medrega_edge", *arguments]
    return subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)


def test_an_answer_has_text_box_and_notice():
    run = process("ask", SCAN, "locate the liver")
    assert run.returncode == 0, run.stderr
    out = run.stdout.decode()
    assert "The liver is here." in out
    assert "[1]" in out
    assert "not a medical device" in out
    assert b"locate: liver" in run.stderr


def test_json_is_one_object_and_nothing_else_and_chinese_survives():
    run = process("ask", "--sample", "abdomen-mri", "请定位肝脏", "--json", PYTHONIOENCODING="cp1252")
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert answer["regions"][0]["label"] == "肝脏"
    assert run.stderr == b""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "gbk", "ascii", "shift_jis", "cp437"])
def test_json_and_redirected_text_lose_no_letter_on_any_code_page(monkeypatch, encoding):
    from medrega_edge.cli import console, main

    value = {"text": "肝脏 é 😀 \x1b"}
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    main._prepare_streams()
    console.print_json(value)
    sys.stdout.flush()
    data = sys.stdout.buffer.getvalue()
    assert json.loads(data.decode("utf-8-sig" if encoding.startswith("utf-8") else encoding)) == value
    assert encoding.startswith("utf") or data.isascii()
    console.print_result("肝脏")
    sys.stdout.flush()
    text = sys.stdout.buffer.getvalue()[len(data) :].decode("utf-8" if encoding == "ascii" else encoding).strip()
    assert text in ("肝脏", r"肝\u810f", r"\u809d\u810f")


def test_a_gbk_console_and_a_chinese_path_do_not_break_it(tmp_path):
    path = tmp_path / "扫描 肝.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    for encoding in ("gbk", "ascii"):
        run = process("ask", str(path), "请定位肝脏", PYTHONIOENCODING=encoding)
        assert run.returncode == 0, run.stderr
        assert b"Traceback" not in run.stderr


def test_the_marked_picture_differs_inside_the_frame_only_by_boxes(tmp_path, medrega):
    marked = tmp_path / "标记.png"
    run = medrega("ask", SCAN, "locate the liver", "--save", marked)
    assert run.code == 0, run.err
    picture = np.asarray(Image.open(marked).convert("RGB")).astype(int)
    assert ((abs(picture - [0xE6, 0x9F, 0x00]).sum(axis=2)) < 30).sum() > 200  # the first colour of the palette
    assert [path.name for path in tmp_path.iterdir()] == ["标记.png"]


def test_a_line_says_that_files_are_written_and_json_stands_alone(tmp_path, medrega):
    arguments = ("ask", SCAN, "locate the liver", "--save", tmp_path / "a.png", "--dicom", "sr", "--dicom-to", tmp_path)
    run = medrega(*arguments)
    told = [line for line in run.err.splitlines() if line.startswith("wrote")]
    assert told == [f"wrote {tmp_path / 'a.png'}", f"wrote {tmp_path / 'medrega-sr.dcm'}"]
    for path in tmp_path.iterdir():
        path.unlink()
    assert medrega(*arguments, "--json").err == ""


def test_files_are_written_before_a_pipe_gets_the_answer(tmp_path):
    """`medrega ask ... --save a.png | head -1` closes the pipe at the first line."""
    command = [sys.executable, "-m", "medrega_edge", "ask", str(SCAN), "locate the liver", "--save", str(tmp_path / "a.png")]
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run(command, stdout=writer, stderr=subprocess.DEVNULL, timeout=120, check=False)
    os.close(writer)
    assert (tmp_path / "a.png").stat().st_size > 0


def bad_files(folder):
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("a letter about a patient\n" * 40)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:900])
    Image.new("L", (1, 1)).save(folder / "tiny.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    (folder / "folder").mkdir()
    return ["nowhere.png", "empty.png", "text.png", "cut.png", "tiny.png", "huge.png", "folder"]


def test_every_bad_image_gives_one_sentence_and_code_3(tmp_path, medrega):
    for name in bad_files(tmp_path):
        saved = tmp_path / "out.png"
        run = medrega("ask", tmp_path / name, "locate the liver", "--save", saved)
        assert run.code == 3, (name, run.err)
        assert run.err.startswith("error: ")
        assert run.err.count("\n") == 1, (name, run.err)
        assert not saved.exists()
        assert run.out == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ask", SCAN, "locate the flux capacitor"], 2),
        (["ask", SCAN], 2),
        (["ask", SCAN, "locate the liver", "--save", "out.txt"], 2),
        (["ask", SCAN, "locate the liver", "--box", "1,2"], 2),
        (["ask", SCAN, "locate the liver", "--task", "juggle"], 2),
        (["ask", "--sample", "moon", "locate the liver"], 2),
        (["ask", "--nonsense"], 2),
        (["juggle"], 2),
        (["ask", SCAN, "locate the liver", "--model", "nowhere"], 4),
        (["ask", SCAN, "locate the liver", "--device", "cuda"], 6),
        (["batch", "nowhere.jsonl", "--out", "x.jsonl"], 2),
    ],
)
def test_exit_codes(arguments, code, medrega):
    run = medrega(*arguments)
    assert run.code == code, run.err
    assert "Traceback" not in run.err


def test_a_batch_keeps_order_and_names_what_failed(tmp_path, medrega):
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "图.png")
    lines = [
        {"id": 1, "image": SCAN, "question": "locate the liver"},
        {"id": "two", "image": "图.png", "question": "请定位肝脏"},
        {"id": 3, "image": "nowhere.png", "question": "locate the liver"},
        {"id": 4, "image": SCAN, "question": "", "box": [10, 10, 90, 90]},
        {"id": 5, "image": SCAN},
    ]
    questions, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    questions.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n{not json\n", "utf-8")
    run = medrega("batch", questions, "--out", out)
    assert run.code == 1, run.err
    answers = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [answer["id"] for answer in answers] == [1, "two", 3, 4, 5, None]
    assert [answer.get("error", {}).get("exit_code") for answer in answers] == [None, None, 3, None, 2, 2]
    assert answers[0]["regions"]
    single = json.loads(medrega("ask", SCAN, "locate the liver", "--json").out)
    assert answers[0]["regions"] == single["regions"]
    assert "failed: Line 6 is not valid JSON." in run.err.splitlines()
    nowhere = tmp_path / "nowhere.jsonl"
    assert medrega("batch", nowhere, "--out", out).err.strip().endswith(str(Message("cli.no_such_file", path=nowhere)))


def test_no_more_threads_than_processors(medrega, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    run = medrega("ask", SCAN, "locate the liver", "--threads", "500")
    assert run.code == 0
    assert str(Message("cli.too_many_threads", threads=500, processors=2)) in run.err
    assert "threads" not in medrega("ask", SCAN, "locate the liver", "--threads", "2").err


def test_a_folder_that_is_not_there_is_not_watched(tmp_path, medrega):
    run = medrega("watch", tmp_path / "nowhere", "--question", "locate the liver", "--out", tmp_path / "answers")
    assert (run.code, run.err) == (2, "error: The folder to watch is not there; make it, or name another.\n")


def test_model_commands(medrega):
    for arguments in (["list"], ["info"], ["verify"], ["path"]):
        run = medrega("model", *arguments)
        assert run.code == 0, run.err
        assert run.out
    both = json.loads(medrega("model", "info", "--json").out)
    assert {"manifest", "certificate"} <= set(both)


def test_help_and_version_are_light():
    probe = (
        "import sys; sys.argv = ['medrega', {!r}]\n"
        "from medrega_edge.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {{'numpy', 'onnxruntime', 'torch', 'transformers', 'PIL', 'pydicom', 'tokenizers'}} & set(sys.modules)\n"
        "heavy |= {{'pydantic', 'filelock', 'prompt_toolkit'}} & set(sys.modules) if '--help' in sys.argv else set()\n"
        "assert not heavy, heavy\n"
    )
    for option in ("--help", "--version"):
        run = subprocess.run([sys.executable, "-c", probe.format(option)], capture_output=True, check=False)
        assert run.returncode == 0, run.stderr
        assert b"medrega" in run.stdout.lower()


def test_a_closed_stream_is_no_fault_of_the_program():
    for closed in ("<&-", ">&-", "2>&-"):
        line = f'exec "{sys.executable}" -m medrega_edge --version {closed}'
        assert subprocess.run(["sh", "-c", line], capture_output=True, check=False).returncode == 0, closed


def test_interrupted_is_130():
    command = [sys.executable, "-m", "tests.edge.stub", "chat", SCAN]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert running.stderr.read(2) == b"? "  # it waits for a question
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130
    finally:
        running.kill()
        running.communicate()


def test_a_chat_as_json_is_a_line_an_answer(medrega):
    run = medrega("chat", SCAN, "--json", "--strict", stdin="locate the liver\n定位火箭\n请定位肝脏\n\nnot read\n")
    first, wrong, last = map(json.loads, run.out.splitlines())
    assert (first["language"], last["language"]) == ("en", "zh")
    assert first["regions"][0]["box"] == last["regions"][0]["box"]
    assert wrong["error"]["exit_code"] == 2
    doubts = [answer["warnings"] or [each for each in answer["regions"] if each["best_guess"]] for answer in (first, last)]
    assert run.code == (5 if any(doubts) else 0)


def test_strict_fails_on_a_best_guess(medrega, monkeypatch):
    codes = []
    for likely in (1.1, 0.0):
        monkeypatch.setattr("medrega_edge.answer.LIKELY", likely)
        codes.append(medrega("locate", SCAN, "liver", "--strict").code)
    assert codes == [5, 0]


def test_commands_of_a_chat(medrega, tmp_path):
    picture = tmp_path / "a.png"
    typed = [
        "/save x.png",
        "/box 54,72,182,194",
        f"/save {picture}",
        "/box",
        "/save",
        "/nonsense",
        "/help",
        "quit",
        "not read",
    ]
    run = medrega("chat", SCAN, stdin="\n".join(typed))
    assert run.code == 0
    with Image.open(picture) as marked:
        assert marked.format == "PNG"
    said = run.err.splitlines()
    for code, params in (("chat.nothing_to_save", {}), ("chat.no_box", {}), ("chat.no_file", {})):
        assert any(line.endswith(str(Message(code, **params))) for line in said)
    assert any("/nonsense" in line for line in said)
    assert any(line.endswith(str(Message("chat.help_quit"))) for line in said)
    assert run.out.count(NOTICE) == 1


def test_a_question_of_a_chat_may_go_on_from_the_last(medrega):
    typed = ["locate the liver", "and the spleen?", "where is it?", "肝脏呢？", "它在哪里？"]
    ran = medrega("chat", SCAN, "--json", stdin="\n".join(typed))
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert [(answer["task"], answer["language"]) for answer in answers] == [("detect", "en")] * 3 + [("detect", "zh")] * 2
    liver, spleen, same_spleen, liver_zh, same_liver_zh = [[region["box"] for region in one["regions"]] for one in answers]
    assert (spleen, liver, liver) == (same_spleen, liver_zh, same_liver_zh)


def test_a_chat_stays_in_the_language_that_was_asked_for(medrega):
    typed = ["locate the liver", "in Chinese please", "and the spleen?", "用英文回答", "再说一遍", "/box 0,0,200,200"]
    ran = medrega("chat", SCAN, "--json", stdin="\n".join(typed))
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert [answer["language"] for answer in answers] == ["en", "zh", "zh", "en", "en", "en"]
    liver, liver_zh, spleen_zh, spleen, again, _ = [[region["box"] for region in one["regions"]] for one in answers]
    assert (liver, spleen_zh, spleen) == (liver_zh, spleen, again)


def test_a_chat_says_how_sure_its_last_answer_is(medrega):
    ran = medrega("chat", SCAN, "--json", stdin="locate the liver\nare you sure?\n你确定吗？\n")
    (answer,) = [json.loads(line) for line in ran.out.splitlines()]
    region = answer["regions"][0]
    assert ran.err.count(f"{region['label']} {region['confidence']:.2f}") == 2


@pytest.mark.parametrize(("question", "is_chosen"), [("are you sure?", False), ("are you sure it is the liver?", True)])
def test_only_the_bare_question_is_about_the_last_answer(medrega, question, is_chosen):
    ran = medrega("chat", SCAN, "--json", stdin=f"locate the liver\n{question}\n")
    assert len(ran.out.splitlines()) == 1 + is_chosen


def test_which_is_larger_compares_the_last_two_questions_of_a_chat(medrega):
    ran = medrega("chat", SCAN, "--json", stdin="how big is the liver?\nand the spleen?\nwhich is larger?\n")
    last = json.loads(ran.out.splitlines()[-1])
    assert last["intent"] == "compare" and "liver is larger than spleen" in last["text"].casefold()


@pytest.mark.parametrize(("thanks", "said"), [("thanks!", "You are welcome"), ("好的，谢谢你", "不客气")])
def test_a_chat_takes_thanks(medrega, thanks, said):
    ran = medrega("chat", SCAN, stdin=f"{thanks}\n")
    assert ran.code == 0 and said in ran.err and "error" not in ran.err


def test_an_interrupted_answer_of_a_chat_does_not_end_it(medrega, monkeypatch, engine):
    monkeypatch.setattr(chat, "_typed_lines", lambda kind: iter(["locate the liver", "where is the spleen?"]))
    run, asked = type(engine).run, []

    def interrupted(*arguments, **options):
        asked.append(arguments)
        if len(asked) == 1:
            signal.raise_signal(signal.SIGINT)
        return run(*arguments, **options)

    monkeypatch.setattr(type(engine), "run", interrupted)
    monkeypatch.setattr(chat, "_at_terminal", lambda: True)
    ended = medrega("chat", SCAN)
    assert ended.code == 0
    assert ended.out.count(NOTICE) == 1
    assert str(Message("chat.stopped")) in ended.err.splitlines()


@pytest.mark.parametrize(
    ("command", "stdin"),
    [
        (["ask", SCAN, "Why is the liver bright?"], ""),
        (["ask", SCAN, "肝脏正常吗？"], ""),
        (["report", SCAN, "--lang", "zh"], ""),
        (["report", SCAN, "--grounded"], ""),
        (["chat", SCAN], "写一份报告\n\n"),
        (["ask", SCAN, "locate the liver"], ""),
        (["ask", SCAN, "肝脏正常吗？", "--json"], ""),
    ],
)
def test_on_a_terminal_free_text_appears_while_it_is_generated(medrega, monkeypatch, command, stdin):
    pieces, echo = [], typer.echo

    def recorded(text, nl=True, **options):
        pieces.extend([] if nl else [text])
        echo(text, nl=nl, **options)

    monkeypatch.setattr(typer, "echo", recorded)
    plain = medrega(*command, stdin=stdin)
    assert pieces == []
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    shown = medrega(*command, stdin=stdin)
    assert bool(pieces) is ("locate the liver" not in command and "--json" not in command)
    assert shown.out.startswith("".join(pieces))
    if "--json" not in command:  # which tells the time it took
        assert re.sub(r"\x1b\[[0-9;]*m", "", shown.out) == plain.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", SCAN, "What is this?", "--box", ""], "x1,y1,x2,y2"),
        (["identify", SCAN, "--box", ""], "x1,y1,x2,y2"),
        (["identify", SCAN, "--box", "1,2,3,4,5"], "x1,y1,x2,y2"),
        (["ask", SCAN, "locate the liver", "--model", ""], "is empty"),
        (["model", "info", ""], "is empty"),
        (["classify", SCAN, "--set", ""], "no label set ''"),
        (["classify", SCAN, "--labels", ""], "two or more different labels"),
    ],
)
def test_an_empty_value_is_no_default(medrega, arguments, sentence):
    run = medrega(*arguments)
    assert run.code == 2
    assert sentence in run.err


def test_a_chat_has_no_picture_to_save(medrega, tmp_path):
    run = medrega("chat", SCAN, "--save", tmp_path / "a.png", stdin="locate the liver\n\n")
    assert (run.code, list(tmp_path.iterdir())) == (2, [])


def test_an_interruption_that_a_library_swallows_is_one_all_the_same(medrega, monkeypatch, tmp_path):
    """Seen in a tensor library: the interrupt came out of it as a ValueError."""
    from medrega_edge import engine

    def swallow(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("no shape") from None

    monkeypatch.setattr(engine, "load", swallow)
    ran = medrega("ask", "--sample", "abdomen-mri", "locate the liver")
    assert (ran.code, ran.err) == (130, "")


@pytest.mark.parametrize(
    "wrong", [["speed", "--out", "speed.json", "--repeats", "2"], ["speed", "--nonsense"], ["nonsense"]]
)
def test_a_wrong_line_for_the_bench_is_one_sentence_too(medrega, wrong):
    ran = medrega("bench", *wrong)
    assert ran.code == 2
    assert ran.err.startswith("error: ") and ran.err.count("\n") == 1
