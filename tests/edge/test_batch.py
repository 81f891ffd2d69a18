"""Batches: the same bytes whatever happened on the way, one at a time, folders with series, CSV for spreadsheets."""

import csv
import errno
import hashlib
import json
import os
import subprocess
import sys
import threading

import filelock
import numpy as np
import pytest
from PIL import Image

from medrega_edge.batch.batch_line import BatchLine
from medrega_edge.batch.journal import HEADER, Journal, Position
from medrega_edge.cli import console
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import image_names
from medrega_edge.output.csv_table import safe_cell, write_csv
from tests.edge.dicoms import dicom
from tests.edge.stub import medrega, put
from tools.kill_batch import kill_until_done


@pytest.fixture
def stub(monkeypatch):
    return put(monkeypatch)


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 32), value, np.uint8)).save(path)
    return path


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def refused(call, *arguments):
    """The code of the UsageError that `call` raises."""
    with pytest.raises(UsageError) as error:
        call(*arguments)
    return error.value.code


def ask_folder(folder, out, *more):
    return medrega("batch", folder, "--question", "locate the liver", "--out", out, *more)


@pytest.fixture
def series(tmp_path):
    """A folder as a scanner leaves it: ten files numbered without zeros, frames, a damaged image, and what is no image."""
    folder = tmp_path / "DOE^JANE"
    for number in range(1, 11):
        picture(folder / "series" / f"IM{number}.png", number)
    (folder / "cine.dcm").write_bytes(dicom(np.full((3, 32, 32), [[[10]], [[20]], [[30]]], np.uint8)))
    (folder / "letter.txt").write_text("about a patient")
    (folder / "damaged.png").write_text("about a patient")
    (folder / "DICOMDIR").write_bytes(b"")
    picture(folder / ".hidden.png")
    (folder / "link.png").symlink_to(folder / "series" / "IM1.png")
    return folder


def test_a_folder_is_gone_through_in_order_frame_by_frame(stub, series, tmp_path):
    out = tmp_path / "answers.jsonl"
    assert ask_folder(series, out) == 1  # the damaged image
    rows = rows_of(out)
    frames = hashlib.sha256((series / "cine.dcm").read_bytes()).hexdigest()[:16]
    assert [row["id"] for row in rows[:3]] == [f"{frames}-{n}" for n in range(3)]
    assert [row["image"]["frame"] for row in rows[:3]] == [0, 1, 2]
    assert len({row["text"] for row in rows[:3]}) == 3
    assert rows[3]["error"]["exit_code"] == 3
    assert [row["text"] for row in rows[4:]] == [f"locate the liver: {n}.000" for n in range(1, 11)]
    for row in rows[4:]:
        assert row["image"]["sha256"].startswith(row["id"])
    assert all("timings_ms" not in row for row in rows)
    names = ["cine.dcm"] * 3 + ["damaged.png"] + [f"series/IM{n}.png" for n in range(1, 11)]
    assert [row["image"]["path"] for row in rows] == names
    assert "DOE" not in out.read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DOE^JANE", "answers.jsonl"]


def test_a_de_identified_batch_names_no_file_anywhere(stub, series, tmp_path, capsys):
    out, table, page, pictures = (tmp_path / name for name in ("a.jsonl", "a.csv", "a.html", "marked"))
    ask_folder(series, out, "--csv", table, "--gallery", page, "--save-dir", pictures, "--de-identified")
    written = [path.read_text("utf-8") for path in (out, table, page)] + sorted(path.name for path in pictures.iterdir())
    assert not [name for name in ("cine", "damaged", "IM1") if name in "".join([*written, *capsys.readouterr()])]
    assert {row.get("picture") for row in rows_of(out)} == {path.name for path in pictures.iterdir()} | {None}


def test_what_is_no_image_is_counted_and_what_failed_is_named(stub, series, tmp_path, capsys):
    ask_folder(series, tmp_path / "a.jsonl")
    said = capsys.readouterr().err.splitlines()
    assert str(Message("batch.not_images", count=1)) in said
    assert [line for line in said if line.startswith("failed: damaged.png: ")]
    assert said[-2:] == [
        str(Message("batch.finished", answered=13, failed=1)),
        str(Message("cli.written", path=tmp_path / "a.jsonl")),
    ]


def test_marked_pictures_are_named_after_their_images(stub, tmp_path):
    folder, pictures = tmp_path / "in", tmp_path / "marked"
    for name in ("a.png", "sub/b.png", "sub/c.png.png", "sub/c.png"):
        picture(folder / name)
    (folder / "d.dcm").write_bytes(dicom(np.full((2, 32, 32), [[[10]], [[20]]], np.uint8)))
    assert ask_folder(folder, tmp_path / "a.jsonl", "--save-dir", pictures) == 0
    names = [path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")]
    wanted = ["a.png", "d.dcm.frame0.png", "d.dcm.frame1.png", "sub/b.png", "sub/c.png", "sub/c.png.png.png"]
    assert sorted(names) == wanted
    assert sorted(row["picture"] for row in rows_of(tmp_path / "a.jsonl")) == wanted
    with Image.open(pictures / "a.png") as marked:
        assert max(marked.size) >= 640


def test_the_gallery_is_one_file_that_loads_and_runs_nothing(stub, series, tmp_path):
    page = tmp_path / "a.html"
    picture(series / "<script>.png", 7)
    medrega("batch", series, "--question", "where is the <b>liver</b>?", "--out", tmp_path / "a.jsonl", "--gallery", page)
    text = page.read_text("utf-8")
    assert text.count("<figure>") == len(rows_of(tmp_path / "a.jsonl")) == 15
    assert text.count("data:image/jpeg;base64,") == 14
    assert "<script" not in text
    assert "<b>" not in text
    assert "://" not in text
    assert NOTICE in text
    assert NOTICE_ZH in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DOE^JANE", "a.html", "a.jsonl"]


def test_rows_of_a_file_of_questions_name_the_images_of_its_lines(stub, tmp_path):
    picture(tmp_path / "in" / "a.png")
    lines = [{"id": 1, "image": "in/a.png", "question": "x"}, {"id": 2, "image": "in/none.png", "question": "x"}]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, lines)))
    medrega("batch", tmp_path / "q.jsonl", "--out", tmp_path / "a.jsonl", "--save-dir", tmp_path / "marked")
    rows = rows_of(tmp_path / "a.jsonl")
    assert [row["image"]["path"] for row in rows] == ["in/a.png", "in/none.png"]
    assert [path.name for path in (tmp_path / "marked").iterdir()] == ["line-1.png"]
    medrega("batch", tmp_path / "q.jsonl", "--out", tmp_path / "b.jsonl", "--de-identified")
    assert [row.get("image", {}).get("path") for row in rows_of(tmp_path / "b.jsonl")] == [None, None]


def test_names_are_in_the_order_of_their_numbers(tmp_path):
    for name in ("b2.png", "b10.png", "a/2.png", "a/10.png", "b02.png", "²5.png"):
        picture(tmp_path / name)
    assert image_names(tmp_path) == ["a/2.png", "a/10.png", "b02.png", "b2.png", "b10.png", "²5.png"]


@pytest.mark.slow
def test_work_cut_at_every_byte_ends_the_same(tmp_path):
    """Whatever a kill or a power cut left of the work file, the rest is done again, and only the rest."""
    places = [Position(0), Position(1, 0, 2), Position(1, 1, 2), Position(2)]

    def run(out):
        with Journal(out, "job") as journal:
            todo = [place for place in places if place[:2] >= journal.position[:2]]
            for place in todo:
                journal.add(place, {"id": "肝" * place.item, "text": f"line\n{place.picture}"})
            left = journal.path.read_bytes()
            journal.publish()
            journal.remove()
        return out.read_bytes(), left, len(todo)

    wanted, work, rows = run(tmp_path / "whole.jsonl")
    assert rows == 4
    out = tmp_path / "a.jsonl"
    again = []
    for cut in range(len(work) + 1):
        for tail in (b"", b"\0\0\0\n", b"9 9 9\t{}\n"):
            if tail and cut < len(HEADER):
                continue  # not ours: refused, as the next test has it
            (tmp_path / "a.jsonl.part").write_bytes(work[:cut] + tail)
            result, _, rows = run(out)
            assert result == wanted
            again.append(rows)
            out.unlink()
    assert set(again) == {0, 1, 2, 3, 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.jsonl"]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(tmp_path):
    kills, finished, inherited = kill_until_done(tmp_path, 4)
    assert kills == 4
    assert finished >= 1
    assert inherited >= 1


@pytest.mark.parametrize("kind", ["another work", "a letter", "a letter in one line"])
def test_another_work_is_not_mixed_in(stub, series, tmp_path, kind):
    out = tmp_path / "answers.jsonl"
    if kind == "another work":
        with Journal(out, "another") as journal:
            journal.add(Position(0), {"id": 1})
    else:
        (tmp_path / "answers.jsonl.part").write_text("Dear colleague" + "\n" * ("line" not in kind))
    left = (tmp_path / "answers.jsonl.part").read_bytes()
    assert refused(ask_folder, series, out) == "batch.other_job"
    assert (tmp_path / "answers.jsonl.part").read_bytes() == left
    assert not out.exists()


def test_earlier_answers_are_replaced_only_by_force(stub, tmp_path):
    picture(tmp_path / "in" / "a.png", 7)
    out, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    for earlier in (out, table):
        earlier.write_text("earlier")
        assert refused(ask_folder, tmp_path / "in", out, "--csv", table) == "batch.output_exists"
        assert earlier.read_text() == "earlier"
        assert not (tmp_path / "a.jsonl.part").exists()
        assert ask_folder(tmp_path / "in", out, "--csv", table, "--force") == 0
        assert "earlier" not in earlier.read_text("utf-8-sig")
        out.unlink()
        table.unlink()


def test_an_interrupted_replacement_goes_on_without_force(stub, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name, 7)
    out = tmp_path / "a.jsonl"
    out.write_text("earlier")
    answer, done = stub.run, []

    def interrupt(*arguments, **named):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return answer(*arguments, **named)

    monkeypatch.setattr(stub, "run", interrupt)
    assert ask_folder(tmp_path / "in", out, "--force") == 130
    monkeypatch.setattr(stub, "run", answer)
    assert ask_folder(tmp_path / "in", out) == 0
    assert len(rows_of(out)) == 2


def test_one_at_a_time(stub, series, tmp_path):
    out = tmp_path / "answers.jsonl"
    with Journal(out, "first"):
        assert refused(ask_folder, series, out) == "batch.busy"
    assert not (tmp_path / "answers.jsonl.part").exists()  # nothing was answered
    outcomes = []

    def one():
        try:
            with Journal(out, "same") as journal:
                journal.publish()
                journal.remove()
            outcomes.append("done")
        except UsageError:
            outcomes.append("refused")

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("done") >= 1
    assert len(outcomes) == 16
    assert not (tmp_path / "answers.jsonl.part").exists()


def test_a_share_without_locks_is_told_for_what_it_is(stub, series, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock, "lock_descriptor", refuse)
    out = tmp_path / "answers.jsonl"
    assert refused(ask_folder, series, out) == "io.unwritable"
    assert not list(tmp_path.glob("answers*"))


def test_answers_never_lie_in_the_folder_that_is_read(stub, series, tmp_path):
    for out, more in ((series / "a.jsonl", ()), (tmp_path / "a.jsonl", ("--csv", series / "series" / "a.csv"))):
        assert refused(ask_folder, series, out, *more) == "batch.output_inside"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "a.jsonl"], "Say what to ask"),
        (["--out", "a.jsonl", "--question", "x", "--csv", "a.jsonl"], "one file"),
        (["--out", "a.jsonl", "--question", "x", "--window", "lnug"], "no window"),
        (["--out", "a.jsonl", "--question", " "], "Say what to ask"),
        (["--out", "a.jsonl", "--question", "x", "--task", "segment"], "--task cannot be used; it takes one of vqa"),
        (["--out", "a.jsonl", "--question", "x", "--lang", "de"], "--lang cannot be used; it takes one of en, zh"),
    ],
)
def test_a_request_without_sense_is_refused_at_once(stub, series, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=sentence):
        medrega("batch", series, *arguments)
    assert not list(tmp_path.glob("a.*"))


def test_a_question_for_a_file_of_questions_is_refused(stub, tmp_path):
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"id": 1, "image": "x.png", "question": "locate the liver"}\n')
    code = refused(medrega, "batch", questions, "--question", "x", "--out", tmp_path / "a.jsonl")
    assert code == "batch.question_and_file"


LINE = {"id": 1, "image": "x.png", "question": "locate the liver"}


@pytest.mark.parametrize(
    ("more", "code", "key"),
    [
        ({"lang": "zh"}, "batch.line_lang", None),
        ({"lables": ["a"]}, "batch.line_unknown_key", "lables"),
        ({"image": 3}, "batch.line_text", "image"),
        ({"question": None}, "batch.line_text", "question"),
        ({"window": 40}, "batch.line_text", "window"),
        ({"several": 1}, "batch.line_true_or_false", "several"),
        ({"regions_first": "yes"}, "batch.line_true_or_false", "regions_first"),
        ({"labels": ["a", 1]}, "batch.line_labels", None),
        ({"labels": 3}, "batch.line_labels", None),
        ({"frame": 1.0}, "batch.line_whole_number", "frame"),
        ({"slice": True}, "batch.line_whole_number", "slice"),
        ({"series": "0"}, "batch.line_whole_number", "series"),
        ({"box": [1, 2, 3]}, "batch.line_box", None),
        ({"box": [1, 2, 3, True]}, "batch.line_box", None),
        ({"box": [1, 2, 3, 1e9]}, "batch.line_box", None),
    ],
)
def test_a_line_that_does_not_fit_is_refused_by_its_number_and_key(more, code, key):
    with pytest.raises(UsageError) as error:
        BatchLine.from_json(json.dumps(LINE | more), 7)
    assert error.value.message == Message(code, line=7, **({"key": key} if key else {}))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("{", "io.line_not_json"),
        ("[" * 100_000, "io.line_not_json"),
        ('{"id": NaN}', "io.line_not_json"),
        ("[1]", "io.line_not_object"),
        ('{"id": 1, "id": 2}', "io.line_duplicate_key"),
        ('{"id": "\\ud800"}', "io.line_half_character"),
        ('{"id": 1, "image": "x.png"}', "batch.line_missing_key"),
    ],
)
def test_a_line_that_is_no_question_is_refused(line, code):
    assert refused(BatchLine.from_json, line, 1) == code


def test_a_line_may_have_every_key_of_a_question_with_its_truth():
    about = {"modality": "ct", "object": None, "setting": "vqa_en", "truth": {"text": "yes", "regions": []}}
    line = BatchLine.from_json(json.dumps(LINE | about | {"box": [1, 2.5, 30, 40], "labels": ["a"], "task": None}), 1)
    assert (line.box, line.labels, line.task) == ((1, 2.5, 30, 40), ("a",), None)


def test_a_key_that_is_spelt_as_the_option_is_not_passed_over(stub, tmp_path):
    questions, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    questions.write_text('{"id": 1, "image": "x.png", "question": "locate the liver", "lang": "zh"}\n')
    assert medrega("batch", questions, "--out", out) == 1
    assert json.loads(out.read_text())["error"]["code"] == "batch.line_lang"


def test_how_far_it_is_without_a_terminal(stub, series, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0)
    ask_folder(series, tmp_path / "a.jsonl")
    told = [line for line in capsys.readouterr().err.splitlines() if "min left" in line]
    assert told[-1] == "11 of 12, about 0 min left"


def test_a_fault_of_ours_costs_one_row_and_names_nobody(stub, series, tmp_path, monkeypatch):
    answer = stub.run

    def sometimes(image, *rest, **named):
        if image.image.pixels.mean() == 4:
            raise KeyError("DOE^JANE")
        return answer(image, *rest, **named)

    monkeypatch.setattr(stub, "run", sometimes)
    out = tmp_path / "a.jsonl"
    assert ask_folder(series, out) == 1
    failed = [row["error"] for row in rows_of(out) if "error" in row]
    assert [error["exit_code"] for error in failed] == [3, 70]
    assert "KeyError" in failed[1]["message"]
    assert "DOE" not in out.read_text("utf-8")


def test_the_csv_says_the_same_and_runs_nothing(stub, series, tmp_path):
    table = tmp_path / "a.csv"
    ask_folder(series, tmp_path / "a.jsonl", "--csv", table)
    data = table.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    lines = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
    rows = rows_of(tmp_path / "a.jsonl")
    assert len(lines) == sum(len(row.get("regions", [0])) for row in rows)
    assert [line["label"] for line in lines[:2]] == ["'=cmd()", "肝脏"]
    assert [float(lines[0][corner]) for corner in ("x1", "y1", "x2", "y2")] == [1, 2, 3, 4]
    assert [line["best_guess"] for line in lines[:3]] == ["False", "False", "False"]
    assert (lines[6]["error"], lines[0]["notice"]) == (rows[3]["error"]["message"], NOTICE)


def test_the_csv_is_in_the_language_of_the_person(tmp_path):
    problem, warning = Message("image.empty", image=Message("image.given")), Message("task.cut_off")
    region = {"label": "肝脏", "box": [1, 2, 3, 4], "confidence": 0.3, "best_guess": True}
    answered = {"id": 1, "regions": [region], "warning_details": [warning.to_dict()], "notice": NOTICE}
    write_csv([{"id": 2, "error": problem.to_dict()}, answered], tmp_path / "a.csv", Language.ZH)
    failed, guessed = csv.DictReader((tmp_path / "a.csv").read_text("utf-8-sig").splitlines())
    assert failed["error"] == problem.text(Language.ZH)
    assert (guessed["warnings"], guessed["notice"]) == (warning.text(Language.ZH), NOTICE_ZH)
    assert guessed["best_guess"] == "True"


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\r\n=1", "＝1", "\u200b=1", "\x00=1", "\ud800=1"]
)
def test_a_cell_is_never_a_formula(text):
    shown = safe_cell(text)
    assert shown.isprintable()
    assert not shown.strip().startswith(("=", "+", "-", "@", "＝"))
    assert safe_cell(-1.5) == -1.5


@pytest.mark.slow
def test_a_full_disk_keeps_what_was_answered(stub, series, tmp_path):
    """Under a limit on the size of files the batch stops with code 6; without it, it goes on where it stopped."""
    whole, out = tmp_path / "whole.jsonl", tmp_path / "a.jsonl"
    ask_folder(series, whole)
    asked = stub.asked
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY)); "
        "from tests.edge import stub; from medrega_edge import engine; from medrega_edge.cli import main as cli; "
        "engine.load = lambda *_, **__: stub.StubEngine(); cli.main()"
    )
    options = ["batch", str(series), "--question", "locate the liver", "--out", str(out)]
    run = subprocess.run([sys.executable, "-c", limited, *options], capture_output=True, check=False)
    assert run.returncode == ResourceError.exit_code, run.stderr
    assert run.stderr.decode().splitlines()[-1].startswith("error: There is no room")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["DOE^JANE", "a.jsonl.part", "whole.jsonl"]
    ask_folder(series, out)
    assert out.read_bytes() == whole.read_bytes()
    assert stub.asked < 2 * asked


MEMORY = """
import sys
from pathlib import Path
from medrega_edge.batch import jobs
from medrega_edge.cli import main as cli
answers, seen = jobs.ImageFolder.answers, []
def counted(self, *rest):
    for number, row in enumerate(answers(self, *rest), 1):
        yield row
        if number % 50 == 0:
            sizes = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            seen.append(int(sizes["VmRSS"].split()[0]))
jobs.ImageFolder.answers = counted
sys.argv[0] = "medrega"
try:
    cli.main()
finally:
    sys.stdout.write(repr(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_five_hundred_images(tmp_path):
    """From the hundredth image to the last, with the shipped model, memory grows by less than 8 MB."""
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(500):
        Image.fromarray(rng.integers(0, 255, (512, 512), dtype=np.uint8)).save(folder / f"{number}.png", compress_level=0)
    options = ["batch", str(folder), "--question", "locate the liver", "--out", str(tmp_path / "a.jsonl")]
    options += ["--threads", "1"]  # in one process, the one that is looked into
    run = subprocess.run([sys.executable, "-c", MEMORY, *options], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    sizes = json.loads(run.stdout)
    assert len(sizes) == 10
    assert max(sizes[2:]) - sizes[1] < 8 * 1024, sizes
    sys.stdout.write(f"RSS in KiB after every 50 images: {sizes}\n")
