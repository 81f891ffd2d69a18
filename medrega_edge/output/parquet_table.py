"""Rows of a batch -> Parquet, and back: one row an answer, nested as in JSON, every file with the same schema.

An answered row has the columns of an answer, a failed one `error` and what is known of its image. What a row lacks is null.
JSON of any shape stays JSON: the text columns `facts` and `params`. `id` is text; where the line had another value than
text, `id_json` holds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

ROWS_A_GROUP = 8192  # so many are in memory
_AS_JSON = ("facts", "params")  # objects of any shape
# Keys that a JSON object lacks where they are null; every other null is one of JSON's.
_LEFT_OUT = {
    "row": ("error", "picture"),
    "regions": ("box_mm", "interval", "mask"),
    "interval": ("width_mm", "height_mm"),
    "mask": ("area_mm2", "longest_diameter", "perpendicular_diameter", "length_unit"),
    "longest_diameter": ("interval",),
    "perpendicular_diameter": ("interval",),
    "warning_details": ("message_zh",),
    "error": ("message_zh",),
}
_MEASURED = ("mean_value", "value_unit")  # of a mask that has diameters: null there, and lacking without them


@cache
def schema() -> pa.Schema:
    """The columns of every file; needs pyarrow."""
    import pyarrow as pa

    text, number, whole, truth = pa.string(), pa.float64(), pa.int64(), pa.bool_()
    numbers, texts = pa.list_(number), pa.list_(text)

    def struct(**members: pa.DataType) -> pa.DataType:
        return pa.struct(list(members.items()))

    diameter = struct(length=number, line=numbers, interval=numbers)
    interval = struct(
        level=number, inner=numbers, outer=numbers, width=numbers, height=numbers, width_mm=numbers, height_mm=numbers
    )
    mask = struct(
        size=pa.list_(whole),
        counts=text,
        area=whole,
        centroid=numbers,
        box=numbers,
        score=number,
        area_mm2=number,
        longest_diameter=diameter,
        perpendicular_diameter=diameter,
        length_unit=text,
        mean_value=number,
        value_unit=text,
    )
    region = struct(
        label=text, box=numbers, confidence=number, best_guess=truth, box_mm=numbers, interval=interval, mask=mask
    )
    image = struct(
        path=text,
        width=whole,
        height=whole,
        modality=text,
        frame=whole,
        window=numbers,
        sha256=text,
        spacing_mm=numbers,
        modality_confidence=number,
        sides=texts,
        series=whole,
        slice=whole,
        spacing_areas=pa.list_(numbers),
        window_function=text,
    )
    certified = struct(right=number, answers=whole, label=text, modality=text)
    message = {"code": text, "message": text, "params": text, "message_zh": text}
    columns = {
        "id": text,
        "id_json": text,
        "schema_version": whole,
        "text": text,
        "raw_text": text,
        "task": text,
        "intent": text,
        "facts": text,
        "language": text,
        "regions": pa.list_(region),
        "not_found": texts,
        "confidence": number,
        "guess": text,
        "labels": pa.list_(struct(label=text, confidence=number)),
        "image": image,
        "model": struct(name=text, version=text, sha256=text, precision=text, certified=certified),
        "device": text,
        "finish": text,
        "tokens": struct(prompt=whole, generated=whole),
        "warnings": texts,
        "warning_details": pa.list_(struct(**message)),
        "notice": text,
        "picture": text,
        "error": struct(**message, kind=text, exit_code=whole),
    }
    return pa.schema(list(columns.items()))


def write_parquet(rows: Iterable[Row], path: Path) -> None:
    """Write the rows of a batch as a whole or not at all; needs pyarrow. Raises UsageError or ResourceError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns, waiting = schema(), iter(rows)
    with atomic_write(path) as file, pq.ParquetWriter(file, columns, compression="zstd") as writer:
        while some := list(islice(waiting, ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist([_flat(row) for row in some], columns))


def read_parquet(path: Path) -> Iterator[Row]:
    """The rows of a file that `write_parquet` made, as its JSONL has them; raises UsageError for another file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(schema()):
                raise UsageError("output.not_our_parquet")
            for batch in file.iter_batches(ROWS_A_GROUP, use_threads=False):
                yield from map(_nested, batch.to_pylist())
    except (OSError, pa.ArrowException):
        raise UsageError("output.not_our_parquet") from None


def _flat(row: Row) -> Row:
    """A row as the columns hold it."""
    row_id = row["id"]
    is_text = isinstance(row_id, str) or row_id is None
    ids = {"id": row_id if is_text else json.dumps(row_id), "id_json": None if is_text else json.dumps(row_id)}
    flat: Row = _with_json_text(row)
    return flat | ids


def _with_json_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: json.dumps(member) if key in _AS_JSON else _with_json_text(member)
            for key, member in value.items()
            if key != "id"
        }
    if isinstance(value, str):  # a file name may hold bytes that are no UTF-8; JSON has escapes for them
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return [_with_json_text(member) for member in value] if isinstance(value, list) else value


def _nested(flat: Row) -> Row:
    """A row of columns as JSON has it."""
    row_id = flat["id"] if flat["id_json"] is None else json.loads(flat["id_json"])
    if flat["error"] is None:
        row: Row = _as_json({key: value for key, value in flat.items() if key not in ("id", "id_json")}, "row")
        return {"id": row_id} | row
    row = {"id": row_id, "error": _as_json(flat["error"], "error")}
    place = {key: value for key, value in (flat["image"] or {}).items() if value is not None}
    if "series" in place:
        place.setdefault("slice", None)
    return row | ({"image": place} if place else {})


def _as_json(value: Any, name: str) -> Any:
    """A value of the key `name`: without the keys that JSON lacks where they are null."""
    if isinstance(value, list):
        return [_as_json(member, name) for member in value]
    if not isinstance(value, dict):
        return value
    lacking = {key for key in _LEFT_OUT.get(name, ()) if value[key] is None}
    if "longest_diameter" in lacking:
        lacking |= set(_MEASURED)
    return {
        key: json.loads(member) if key in _AS_JSON else _as_json(member, key)
        for key, member in value.items()
        if key not in lacking
    }
