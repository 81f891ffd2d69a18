"""Parquet as a source and as an output: the rows of the same lines as JSONL, and a schema that is that of an answer."""

import datetime
import json
import pickle

import pytest

from medrega_edge.batch import extra
from medrega_edge.batch.journal import Position
from medrega_edge.batch.questions import QuestionFile
from medrega_edge.batch.sources import open_questions
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.output import parquet_table
from medrega_edge.output.parquet_table import read_parquet, write_parquet
from medrega_edge.tasks.segmentation import Segment
from tests.codes import raises_code
from tests.edge.archives import jsonl, questions, shards, table
from tests.edge.stub import StubEngine, medrega, put
from tools import schemas

pa = pytest.importorskip("pyarrow", reason="needs the extra 'ray'")


def rows(job, start=Position(0)):
    return [row for _, row in job.answers(StubEngine(), start)]


@pytest.mark.parametrize("images", ["path", "bytes", "struct"])
def test_the_rows_are_those_of_the_same_lines_as_jsonl(tmp_path, images):
    lines = questions(10)
    for line in lines[::2]:
        line["language"] = "zh"  # null in the others
    plain = rows(QuestionFile(jsonl(tmp_path / "plain", lines)))
    job = open_questions(table(tmp_path / "table" / "q.parquet", lines, images))
    found = rows(job)
    if images == "bytes":  # which have no name
        for row in plain:
            row["image"]["path"] = None
    assert len(job) == 10
    assert json.dumps(found) == json.dumps(plain)
    assert json.dumps(rows(job, Position(7))) == json.dumps(plain[7:])


def test_files_of_a_folder_follow_in_their_order(tmp_path):
    lines = questions(12)
    for number, start in ((2, 0), (10, 8)):
        table(tmp_path / "t" / f"{number}.parquet", lines[start : start + 8], "struct")
    assert [row["id"] for row in rows(open_questions(tmp_path / "t"))] == [f"q{n}" for n in range(12)]


def test_a_part_is_small_and_gives_its_rows_elsewhere(tmp_path):
    job = open_questions(table(tmp_path / "q.parquet", questions(10), "bytes"))
    whole = list(job.answers(StubEngine(), Position(0)))
    parts = [pickle.dumps(part) for part in job.parts(Position(2))]
    assert max(map(len, parts)) < 1500
    assert [row for part in parts for row in pickle.loads(part).answers(StubEngine())] == whole[2:]


def parquet(path, columns):
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "code", "params"),
    [
        ({"id": [1], "image": ["a"]}, "batch.table_missing_column", {"column": "question"}),
        ({"id": [1], "image": ["a"], "question": ["x"], "lang": ["en"]}, "batch.table_unknown_column", {"column": "lang"}),
        ({"id": pa.array([], pa.int64()), "image": [], "question": []}, "batch.no_row", {}),
    ],
)
def test_a_table_that_holds_no_questions_is_refused(tmp_path, columns, code, params):
    with raises_code(UsageError, code, **params):
        open_questions(parquet(tmp_path / "q.parquet", columns))


def test_a_file_that_is_no_table_is_refused(tmp_path):
    (tmp_path / "q.parquet").write_bytes(b"PAR1 and no more")
    with raises_code(UsageError, "batch.table_unreadable", number=1):
        open_questions(tmp_path / "q.parquet")


def test_a_value_that_a_line_cannot_have_costs_its_row(tmp_path):
    columns = {
        "id": [datetime.date(2026, 11, 30), None],
        "image": [b"", None],
        "question": ["x", "x"],
    }
    path = parquet(tmp_path / "q.parquet", columns)
    assert [row["error"]["code"] for row in rows(open_questions(path))] == ["io.line_not_json", "image.empty"]


@pytest.mark.parametrize("module", ["pyarrow", "ray"])
def test_what_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch, module):
    folder, out = shards(tmp_path / "s", questions(1)), tmp_path / "a.jsonl"
    found = extra.find_spec
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == module else found(name))
    options = {"pyarrow": ["--parquet", tmp_path / "a.parquet"], "ray": ["--engine", "ray"]}[module]
    with raises_code(ResourceError, "cli.missing_extra", extra="ray", missing=(module,)):
        medrega("batch", folder, "--out", out, *options)
    assert not out.exists()


@pytest.mark.parametrize("engine", ["spark", "ray:", "ray:host", "ray:ray://host:1", "ray:host:1 --x"])
def test_an_engine_that_is_none_is_refused(tmp_path, engine):
    folder = shards(tmp_path / "s", questions(1))
    with raises_code(UsageError, "batch.engine"):
        medrega("batch", folder, "--out", tmp_path / "a.jsonl", "--engine", engine)


# ---- answers as Parquet


def test_the_command_writes_its_rows_and_reading_them_gives_the_jsonl(tmp_path, monkeypatch):
    put(monkeypatch)
    lines = questions(4)
    path = jsonl(tmp_path / "q", lines)
    for number, row_id in enumerate([7, None, ["a", 1.5], '"text"']):
        lines[number]["id"] = row_id
    lines[1]["image"] = "nowhere.png"
    path.write_text("\n".join([*map(json.dumps, lines), "{"]), "utf-8")
    out, written = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    assert medrega("batch", path, "--out", out, "--parquet", written, "--save-dir", tmp_path / "m") == 1
    wanted = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert list(read_parquet(written)) == wanted
    assert sum("error" in row for row in wanted) == 2
    with raises_code(UsageError, "batch.output_exists", options=("--parquet",)):
        medrega("batch", path, "--out", tmp_path / "b.jsonl", "--parquet", written)


def test_masks_measures_and_intervals_come_back(engine, scan, tmp_path):
    answers = [engine.run(scan, request, "zh") for request in (Segment(("liver",)), Segment(("肝脏", "脾脏")))]
    wanted = []
    for number, answer in enumerate(answers):
        row = {"id": number, **json.loads(json.dumps(answer.to_dict()))}
        del row["timings_ms"]
        wanted.append(row)
    assert any("mask" in region for row in wanted for region in row["regions"])
    write_parquet(wanted, tmp_path / "a.parquet")
    assert list(read_parquet(tmp_path / "a.parquet")) == wanted


def test_what_failed_keeps_what_is_known_of_its_place(tmp_path):
    error = {"kind": "image", "code": "image.empty", "message": "x", "params": {"image": {"a": [1]}}, "exit_code": 3}
    places = [{"path": "a.png"}, {"series": 1, "slice": None}, {"path": "b.dcm", "series": 0, "slice": 4}]
    wanted = [{"id": "x", "error": error, "image": place} for place in places] + [{"id": "y", "error": error}]
    write_parquet(wanted, tmp_path / "a.parquet")
    assert list(read_parquet(tmp_path / "a.parquet")) == wanted


def test_a_name_that_is_no_utf8_is_written_with_escapes(tmp_path):
    error = {"kind": "image", "code": "image.empty", "message": "x", "params": {}, "exit_code": 3}
    write_parquet([{"id": "x", "error": error, "image": {"path": "a\udcff.png"}}], tmp_path / "a.parquet")
    (row,) = read_parquet(tmp_path / "a.parquet")
    assert row["image"] == {"path": r"a\udcff.png"}


def test_another_file_is_no_answers(tmp_path):
    with raises_code(UsageError, "output.not_our_parquet"):
        list(read_parquet(table(tmp_path / "q.parquet", questions(1), "bytes")))
    (tmp_path / "b.parquet").write_text("x")
    with raises_code(UsageError, "output.not_our_parquet"):
        list(read_parquet(tmp_path / "b.parquet"))


def test_the_columns_are_those_of_the_published_schema():
    published = json.loads(schemas.path_of("batch_row").read_text("utf-8"))
    kinds = published["$defs"]
    wanted = kinds["AnsweredRow"]["properties"] | {"error": kinds["FailedRow"]["properties"]["error"]}
    columns = {field.name: field.type for field in parquet_table.schema()}
    assert columns.pop("id_json") == columns.pop("id") == pa.string()
    assert columns == {name: arrow_type(part, kinds) for name, part in wanted.items() if name != "id"}


def arrow_type(part, kinds):
    """The Arrow type of a part of a JSON Schema: objects of any shape are text."""
    if "$ref" in part:
        return arrow_type(kinds[part["$ref"].rpartition("/")[2]], kinds)
    if "anyOf" in part:
        (given,) = [each for each in part["anyOf"] if each != {"type": "null"}]
        return arrow_type(given, kinds)
    if part["type"] == "object":
        members = part.get("properties")
        return pa.struct([(name, arrow_type(each, kinds)) for name, each in members.items()]) if members else pa.string()
    if part["type"] == "array":
        (item,) = {arrow_type(each, kinds) for each in part.get("prefixItems") or [part["items"]]}
        return pa.list_(item)
    return {"string": pa.string(), "number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}[part["type"]]


def test_a_key_is_left_out_where_it_is_null_only_if_json_never_has_null_there():
    published = json.loads(schemas.path_of("batch_row").read_text("utf-8"))
    kinds = published["$defs"]
    named = {
        "regions": "RegionDocument", "interval": "IntervalDocument", "mask": "MaskDocument",
        "longest_diameter": "DiameterDocument", "perpendicular_diameter": "DiameterDocument",
        "warning_details": "MessageDocument", "error": "ErrorDocument", "row": "AnsweredRow",
    }  # fmt: skip
    assert named.keys() == parquet_table._LEFT_OUT.keys()
    for key, kind in named.items():
        optional = set(kinds[kind]["properties"]) - set(kinds[kind]["required"])
        extra_keys = {"error"} if key == "row" else set(parquet_table._MEASURED) if key == "mask" else set()
        assert optional | extra_keys == {*parquet_table._LEFT_OUT[key], *extra_keys}
    required = {name for name, kind in kinds.items() if "required" in kind} - {*named.values(), "FailedRow"}
    for kind in required:
        assert set(kinds[kind]["properties"]) == set(kinds[kind]["required"]), kind
