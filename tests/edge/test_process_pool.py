"""A batch over several processes gives the rows of one, in order; its processes end with it, however it ends."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medrega_edge.batch import process_pool
from medrega_edge.batch.jobs import BatchQuestion, ImageFolder
from medrega_edge.batch.journal import Position
from medrega_edge.batch.questions import CHUNK_SIZE, QuestionFile
from medrega_edge.errors import PackageError
from medrega_edge.inference import memory
from medrega_edge.package.registry import find_package
from tests.edge.dicoms import dicom
from tests.edge.stub import StubEngine

PACKAGE = find_package()


def questions(folder, images):
    """A file of questions about images, by their names; `None` stands for a line that is no JSON."""
    rows = [{"id": n, "image": f"{image}.png", "question": "locate the liver"} for n, image in enumerate(images)]
    lines = ["{" if row["image"] == "None.png" else json.dumps(row) for row in rows]
    path = folder / "questions.jsonl"
    path.write_text("\n".join(lines))
    return QuestionFile(path)


def series(folder, count):
    """A folder with one DICOM series, its frames in two files of three and the other slices in files of their own."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    uids = {"Modality": "MR", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1"}
    for number in range(count):
        values = rng.integers(0, 255, (3, 64, 64) if number < 2 else (64, 64), dtype=np.uint8)
        named = uids | {"SOPInstanceUID": f"1.2.1.{number}", "InstanceNumber": str(number)}
        (folder / f"{count - number}.dcm").write_bytes(dicom(values, **named))
    return folder


def pictures(folder, count):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def test_lines_about_one_image_stay_together_and_no_piece_is_long(tmp_path):
    work = questions(tmp_path, ["a"] * 3 + ["b"] + [None] * 2 + ["a"] * (CHUNK_SIZE + 2))
    parts = [(part.start.item, part.stop) for part in work.parts(Position(0))]
    assert parts == [(0, 3), (3, 4), (4, 6), (6, 6 + CHUNK_SIZE), (6 + CHUNK_SIZE, 8 + CHUNK_SIZE)]
    assert [(part.start.item, part.stop) for part in work.parts(Position(2))][0] == (2, 3)


def test_files_go_one_by_one_and_a_begun_one_goes_on_where_it_stopped(tmp_path):
    work = ImageFolder(pictures(tmp_path / "in", 3), BatchQuestion("locate the liver"))
    assert [part[:2] for part in work.parts(Position(0))] == [(Position(0), 1), (Position(1), 2), (Position(2), 3)]
    assert [part[:2] for part in work.parts(Position(1, 2, 5))] == [(Position(1, 2, 5), 2), (Position(2), 3)]


def test_a_part_of_a_series_is_small_and_gives_its_rows_elsewhere(tmp_path, monkeypatch):
    (series(tmp_path / "in", 60) / "letter.png").write_text("no image")
    monkeypatch.chdir(tmp_path)
    work = ImageFolder(Path("in"), BatchQuestion("locate the liver"))
    whole = list(work.answers(StubEngine(), Position(0)))
    assert [row["image"]["slice"] for _, row in whole[:-1]] == list(range(64))
    parts = [pickle.dumps(part) for part in work.parts(Position(1))]
    assert max(map(len, parts)) < 1500
    monkeypatch.chdir("/")
    found = [row for part in parts for row in pickle.loads(part).answers(StubEngine())]
    assert found == [row for row in whole if row[0].item]


@pytest.mark.parametrize(
    ("threads", "device", "items", "free", "processes"),
    [
        (4, "cpu", 1000, None, 4),
        (4, "cpu", 40, None, 2),  # the others would not be worth their start
        (4, "cpu", 5, None, 1),
        (1, "cpu", 1000, None, 1),
        (4, "cuda", 1000, None, 1),
        (4, "cpu", 1000, 3, 3),
        (4, "cpu", 1000, 0, 1),  # it is the engine that refuses a package for want of memory
    ],
)
def test_how_many_processes_a_small_package_gets(threads, device, items, free, processes, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: None if free is None else free * memory.peak(PACKAGE.manifest))
    assert process_pool.process_count(PACKAGE, threads, device, items) == processes


def test_a_large_package_is_run_by_one(monkeypatch):
    monkeypatch.setattr(process_pool, "LARGE", PACKAGE.total_bytes)
    assert process_pool.process_count(PACKAGE, 4, "cpu", 1000) == 1


@pytest.mark.slow
def test_two_processes_give_the_rows_of_one_in_order(tmp_path):
    work = ImageFolder(pictures(tmp_path / "in", 6), BatchQuestion("locate the liver"))
    one = list(process_pool.answers(work, Position(0), 1, None, 1))
    two = list(process_pool.answers(work, Position(0), 2, None, 2))
    assert [place.item for place, _ in two] == list(range(6))
    assert json.dumps(two) == json.dumps(one)
    assert json.dumps(list(process_pool.answers(work, Position(4), 2, None, 2))) == json.dumps(one[4:])


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_as_the_error_it_is(tmp_path):
    work = ImageFolder(pictures(tmp_path / "in", 2), BatchQuestion("locate the liver"))
    with pytest.raises(PackageError) as error:
        list(process_pool.answers(work, Position(0), 2, str(tmp_path / "nowhere"), 2))
    assert error.value.code == "package.not_found"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_a_batch_that_was_killed(tmp_path, kill):
    folder = pictures(tmp_path / "in", 200)
    command = [sys.executable, "-m", "medrega_edge", "batch", str(folder), "--question", "locate the liver"]
    environment = {**os.environ, "MEDREGA_THREADS": "2"}
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "a.jsonl")], stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    part = tmp_path / "a.jsonl.part"
    while not part.exists() or part.read_bytes().count(b"\n") < 4:  # rows come: both are at work
        assert process.poll() is None
        time.sleep(0.02)
    begun = _of_session(process.pid)
    os.kill(process.pid, kill)
    said = process.communicate(timeout=10)[1].decode()
    assert "Traceback" not in said
    assert len(begun) >= 3
    deadline = time.monotonic() + 10
    while _of_session(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _of_session(process.pid)


def _of_session(session):
    """Processes of a session that run."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                state, _, _, of = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                continue
            if int(of) == session and state != "Z":
                found.append(int(name))
    return found
