"""Shards as a source: the rows of the same lines as JSONL, and no sample is lost in silence."""

import json
import pickle

import pytest

from medrega_edge.batch.journal import Position
from medrega_edge.batch.questions import QuestionFile
from medrega_edge.batch.shards import Shards
from medrega_edge.batch.sources import open_questions
from medrega_edge.errors import UsageError
from tests.codes import raises_code
from tests.edge.archives import jsonl, png, questions, sample, shards, tar
from tests.edge.stub import StubEngine, medrega, put

LINE = json.dumps({"question": "locate the liver"}).encode()


def rows(job, start=Position(0)):
    return [row for _, row in job.answers(StubEngine(), start)]


def without_path(row):
    return json.dumps({**row, "image": {**row["image"], "path": None}})


def test_the_rows_are_those_of_the_same_lines_as_jsonl(tmp_path):
    lines = questions(10)
    plain = rows(QuestionFile(jsonl(tmp_path / "plain", lines)))
    job = open_questions(shards(tmp_path / "shards", lines))
    packed = rows(job)
    assert len(job) == 10
    assert [row["image"]["path"] for row in packed[3:5]] == ["shard-0.tar/3.png", "shard-1.tar/4.png"]
    assert list(map(without_path, packed)) == list(map(without_path, plain))
    assert rows(job, Position(7)) == packed[7:]


def test_a_part_is_small_and_gives_its_rows_elsewhere(tmp_path):
    job = open_questions(shards(tmp_path / "shards", questions(10)))
    whole = list(job.answers(StubEngine(), Position(0)))
    parts = [pickle.dumps(part) for part in job.parts(Position(2))]
    assert max(map(len, parts)) < 1500
    assert [row for part in parts for row in pickle.loads(part).answers(StubEngine())] == whole[2:]


def test_samples_are_told_by_their_names(tmp_path):
    uid = "1.2.840.113619.2"
    members = [
        (f"a/{uid}.PNG", png(1)), (f"a/{uid}.json", LINE), (f"a/{uid}.cls", b"3"),
        ("b.json", LINE),
        ("c.png", png(2)), ("c.json", LINE), ("c.dcm", png(3)),
        ("d.png", png(4)),
        ("._e.png", b"of another program"), ("README.txt", b"read me"),
        ("f.json", b"{"), ("f.png", png(5)),
        ("g.png", png(6)), ("g.json", json.dumps({"id": 7, "image": "elsewhere.png", "question": "x"}).encode()),
    ]  # fmt: skip
    found = rows(Shards([tar(tmp_path / "s.tar", members)]))
    assert [row["id"] for row in found] == [uid, None, None, None, None, 7]
    codes = [row.get("error", {}).get("code") for row in found]
    assert codes == [None, "batch.shard_sample", "batch.shard_sample", "batch.shard_sample", "io.line_not_json", None]
    assert found[1]["error"]["params"] == {"line": 2}
    assert found[0]["image"]["path"] == f"s.tar/a/{uid}.png"
    assert found[5]["image"]["path"] == "s.tar/g.png"


@pytest.mark.parametrize("damage", ["header", "cut", "no end", "second archive", "text"])
def test_a_damaged_shard_is_refused_as_a_whole(tmp_path, damage):
    path = tar(tmp_path / "s.tar", [member for line in questions(6) for member in sample(line)])
    data = bytearray(path.read_bytes())
    first = 512 + -(-len(png(0)) // 512) * 512  # where the second header begins
    if damage == "header":
        data[first + 3] ^= 0xFF
    elif damage == "cut":
        del data[len(data) // 2 :]
    elif damage == "no end":
        del data[len(bytes(data).rstrip(b"\0")) // 512 * 512 + 512 :]
    elif damage == "second archive":
        data += bytes(data)
    else:
        data = bytearray(b"no tar" * 1000)
    path.write_bytes(data)
    with raises_code(UsageError, "batch.shard_unreadable", number=1):
        Shards([path])


def test_a_shard_that_lost_samples_since_they_were_counted_ends_the_job(tmp_path):
    folder = shards(tmp_path / "shards", questions(6), each=3)
    job = open_questions(folder)
    shards(folder, questions(2))
    with raises_code(UsageError, "batch.shard_unreadable", number=1):
        list(job.parts(Position(0)))


def test_bytes_that_are_gone_cost_their_row(tmp_path):
    path = shards(tmp_path / "shards", questions(2)) / "shard-0.tar"
    part = list(open_questions(path).parts(Position(0)))[1]
    path.write_bytes(b"")
    ((_, row),) = part.answers(StubEngine())
    assert row["error"]["code"] == "io.line_not_json"


def test_shards_without_a_sample_are_refused(tmp_path):
    with raises_code(UsageError, "batch.no_sample"):
        Shards([tar(tmp_path / "s.tar", [("a.txt", b"")])])


def test_only_a_folder_of_nothing_else_is_one_of_shards(tmp_path):
    folder = shards(tmp_path / "shards", questions(2))
    for name in ("_SUCCESS", ".hidden.png"):
        (folder / name).touch()
    assert isinstance(open_questions(folder), Shards)
    (folder / "a.png").touch()
    assert open_questions(folder) is None


def test_the_command_takes_a_folder_of_shards(tmp_path, monkeypatch):
    put(monkeypatch)
    folder, out = shards(tmp_path / "shards", questions(5)), tmp_path / "a.jsonl"
    assert medrega("batch", folder, "--out", out) == 0
    assert [json.loads(line)["id"] for line in out.read_text("utf-8").splitlines()] == [f"q{n}" for n in range(5)]
    with raises_code(UsageError, "batch.question_and_file"):
        medrega("batch", folder, "--question", "x", "--out", tmp_path / "b.jsonl")
    with raises_code(UsageError, "batch.output_inside"):
        medrega("batch", folder, "--out", folder / "b.jsonl")


def test_other_bytes_are_another_job(tmp_path):
    folder = shards(tmp_path / "shards", questions(3))
    before = open_questions(folder).job_key()
    assert open_questions(folder).job_key() == before
    shards(folder, [line | {"question": "locate the spleen"} for line in questions(3)])
    assert open_questions(folder).job_key() != before
