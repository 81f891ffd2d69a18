"""A drop folder: everything that arrives is answered once, nothing before it is whole, and our own files never."""

import json
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from medrega_edge.batch.jobs import BatchQuestion
from medrega_edge.batch.watch import LOCK, Arrivals, watch
from medrega_edge.errors import UsageError
from tests.edge.stub import StubEngine

ASKING = BatchQuestion("locate the liver")


def names(told):
    return [name for name, _ in told]


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "DOE^JANE"
    folder.mkdir()
    return folder


def test_a_file_is_told_when_it_has_come_to_rest_and_once(inbox):
    arrivals = Arrivals(inbox, settle=2)
    (inbox / "a.png").write_bytes(b"1")
    assert names(arrivals.poll(0)) == []
    assert names(arrivals.poll(1.9)) == []
    (inbox / "a.png").write_bytes(b"12")
    assert names(arrivals.poll(2.1)) == []
    assert names(arrivals.poll(4.0)) == []
    assert names(arrivals.poll(4.2)) == ["a.png"]
    assert names(arrivals.poll(9)) == []
    (inbox / "a.png").write_bytes(b"3")  # another content under the same name
    assert names(arrivals.poll(10)) == []
    assert names(arrivals.poll(13)) == ["a.png"]


def test_what_is_still_written_or_hidden_or_empty_waits(inbox):
    arrivals = Arrivals(inbox, settle=2)
    for name in ("a.png.part", "b.tmp", ".c.png", "d.PNG.TMP", "e.png~"):
        (inbox / name).write_bytes(b"1")
    (inbox / "empty.png").touch()
    arrivals.poll(0)
    assert names(arrivals.poll(10)) == []
    (inbox / "a.png.part").rename(inbox / "a.png")
    arrivals.poll(11)
    assert names(arrivals.poll(14)) == ["a.png"]


@pytest.mark.slow
def test_a_hundred_files_in_chunks_by_copy_and_by_rename_none_lost_none_twice(inbox, tmp_path):
    dice, rng = random.Random(0), np.random.default_rng(0)
    arriving = {}
    for number in range(100):
        path = tmp_path / "one.png"
        Image.fromarray(rng.integers(0, 255, (20, 20), dtype=np.uint8)).save(path)
        arriving[f"{number}.png"] = path.read_bytes()
        path.unlink()
    arrivals, told, now = Arrivals(inbox, settle=2), [], 0.0
    left = {name: [data[:100], data[100:250], data[250:]] for name, data in arriving.items()}
    while left or now < 200:
        for name in dice.sample(sorted(left), min(8, len(left))):
            renamed = int(name.removesuffix(".png")) % 2
            path = inbox / (f"{name}.part" if renamed else name)
            with path.open("ab") as file:
                file.write(left[name].pop(0))
            if not left[name]:
                del left[name]
                if renamed:
                    path.rename(inbox / name)
        # What is still being written changes within the settling time: here its time is moved on.
        for name in [name for name in left if len(left[name]) < 3]:
            os.utime(inbox / (f"{name}.part" if int(name.removesuffix(".png")) % 2 else name), (now + 1, now + 1))
        told += [(name, (inbox / name).read_bytes()) for name in names(arrivals.poll(now))]
        now += 1
    assert sorted(name for name, _ in told) == sorted(arriving)
    assert all(arriving[name] == data for name, data in told)


def watched(inbox, out, count, job="job"):
    rows = []
    stream = watch(StubEngine(), inbox, out, ASKING, job, settle=0.02)
    for each in stream:
        rows.append(each)
        if len(rows) == count:
            stream.close()
    return rows


def test_answers_are_named_after_what_a_file_holds_and_a_pause_loses_nothing(inbox, tmp_path):
    out = tmp_path / "answers"
    for number in range(3):
        Image.new("L", (20, 20), number).save(inbox / f"{number}.png")
    (inbox / "damaged.png").write_text("no image")
    (inbox / "letter.txt").write_text("no image")
    arrived = dict(watched(inbox, out, 5))
    assert arrived.pop("letter.txt") == []
    assert "error" in arrived["damaged.png"][0]
    assert [rows[0]["image"]["path"] for rows in arrived.values()] == list(arrived)
    first = list(arrived.values())
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(written) == {f"{rows[0]['id']}.jsonl" for rows in first} | {LOCK}
    assert b"DOE" not in b"".join(written.values())
    Image.new("L", (20, 20), 99).save(inbox / "new.png")
    again = dict(watched(inbox, out, 2))
    assert again["new.png"][0]["text"].endswith("99.000")
    assert again.keys() == {"new.png", "letter.txt"}
    assert {name: data for name, data in written.items() if (out / name).read_bytes() == data} == written


def test_a_file_that_changes_while_it_is_read_is_not_answered_yet(inbox, tmp_path):
    Image.new("L", (20, 20), 1).save(inbox / "a.png")
    engine = StubEngine()
    answer = engine.run

    def disturbed(*rest, **named):
        if engine.asked == 0:
            Image.new("L", (40, 40), 2).save(inbox / "a.png")
        return answer(*rest, **named)

    engine.run = disturbed
    _, rows = next(watch(engine, inbox, tmp_path / "out", ASKING, "job", settle=0.02))
    assert rows[0]["image"]["width"] == 40
    assert len(list((tmp_path / "out").glob("*.jsonl"))) == 1


def test_places_that_will_not_do(inbox, tmp_path):
    for folder, out, job, code in (
        (inbox, inbox, "job", "batch.output_inside"),
        (inbox, inbox / "answers", "job", "batch.output_inside"),
        (tmp_path / "nowhere", tmp_path / "answers", "job", "batch.no_watch_folder"),
        (inbox, tmp_path / "no" / "answers", "job", "io.unwritable"),
    ):
        with pytest.raises(UsageError) as error:
            next(watch(StubEngine(), folder, out, ASKING, job, 0.02))
        assert error.value.code == code
    Image.new("L", (20, 20)).save(inbox / "a.png")
    stream = watch(StubEngine(), inbox, tmp_path / "answers", ASKING, "job", 0.02)
    next(stream)
    with pytest.raises(UsageError) as error:
        next(watch(StubEngine(), inbox, tmp_path / "answers", ASKING, "job", 0.02))
    assert error.value.code == "batch.busy"
    stream.close()
    with pytest.raises(UsageError) as error:
        next(watch(StubEngine(), inbox, tmp_path / "answers", ASKING, "other", 0.02))
    assert error.value.code == "batch.other_answers"


def test_the_command_ends_when_interrupted(inbox, tmp_path):
    out = tmp_path / "answers"
    Image.new("L", (20, 20)).save(inbox / "scan.png")
    options = ["--question", "locate the liver", "--out", str(out), "--settle", "0.1"]
    command = [sys.executable, "-m", "tests.edge.stub", "watch", str(inbox), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    too_late = threading.Timer(60, process.kill)
    too_late.start()
    try:
        said = process.stdout.readline()  # until the answer is printed, however long that takes
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    finally:
        too_late.cancel()
        process.kill()
    assert process.returncode == 130, told
    assert said.decode("utf-8").startswith("scan.png: locate the liver")
    (answers,) = out.glob("*.jsonl")
    assert json.loads(answers.read_text("utf-8"))["regions"]
