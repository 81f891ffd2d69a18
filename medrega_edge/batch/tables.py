"""Parquet files as a job: the columns are the keys of a line of a batch, and a row is a question.

`image` holds paths, relative to the file, or the bytes of the images: a binary column, or the struct `{bytes, path}` of
Hugging Face's datasets. A process that answers reads the bytes itself, and for that their whole row group, so images belong
into small ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from medrega_edge.batch.batch_line import BatchLine
from medrega_edge.batch.extra import require
from medrega_edge.batch.questions import Line, Questions, TextLine, file_keys
from medrega_edge.batch.rows import RowOptions
from medrega_edge.errors import ImageError, UsageError

KEYS = tuple(each.name for each in dataclass_fields(BatchLine))
REQUIRED = ("id", "image", "question")
ROWS_AT_A_TIME = 1024  # that are read as questions


@dataclass(frozen=True)
class Cell:
    """The bytes in one row of a row group, both counted from 0; `column` may be a member of a struct: "image.bytes"."""

    path: str
    group: int
    row: int
    column: str

    def read(self) -> bytes:
        """Return the bytes; raises ImageError where they cannot be had."""
        try:
            value = _column(self.path, self.group, self.column)[self.row].as_py()
        except MemoryError:
            raise
        except Exception as error:  # whatever pyarrow raises on a file that is damaged or has changed
            raise ImageError("image.cannot_open", reason=type(error).__name__) from None
        return value or b""


@lru_cache(maxsize=1)  # the rows of a group are asked for one after the other
def _column(path: str, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        values = file.read_row_group(group, columns=[column], use_threads=False).column(0)
    _, _, member = column.partition(".")
    return values.combine_chunks().field(member) if member else values


class Tables(Questions):
    """The rows of Parquet files, in the order of the files."""

    def __init__(self, paths: Sequence[Path], options: RowOptions = RowOptions()) -> None:
        """Count the rows; raises UsageError for a file that holds no questions, ResourceError without pyarrow."""
        require("pyarrow")
        super().__init__(paths[0].parent.absolute(), options)
        self._paths = [path.absolute() for path in paths]
        # Of each file: the column of bytes, None for paths, and the rows of each row group.
        self._tables = [_read_shape(path, number) for number, path in enumerate(self._paths, 1)]
        self._counts = [sum(groups) for _, groups in self._tables]
        if not sum(self._counts):
            raise UsageError("batch.no_row")
        self._keys = file_keys(self._paths, self._counts)

    def __len__(self) -> int:
        """Number of rows."""
        return sum(self._counts)

    def job_key(self) -> list[object]:
        """What tells this job from others."""
        return ["tables", self._keys, repr(self._options)]

    def lines(self, start: int) -> Iterator[Line]:
        """The rows from the item `start` on; raises UsageError for a file that cannot be read any more."""
        first = 0
        for number, (path, (column, groups)) in enumerate(zip(self._paths, self._tables, strict=True), 1):
            for group, count in enumerate(groups):
                if start < first + count:
                    for at, row in enumerate(_rows(path, number, group, column)):
                        if first + at >= start:
                            stored = None if column is None else Cell(str(path), group, at, column)
                            yield TextLine(first + at + 1, _json(row), stored)
                first += count


def _read_shape(path: Path, number: int) -> tuple[str | None, list[int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            groups = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
    except (OSError, ValueError, pa.ArrowException):
        raise UsageError("batch.table_unreadable", number=number) from None
    for name in schema.names:
        if name not in KEYS:
            raise UsageError("batch.table_unknown_column", number=number, column=name)
    for name in REQUIRED:
        if name not in schema.names:
            raise UsageError("batch.table_missing_column", number=number, column=name)
    kind = schema.field("image").type
    if pa.types.is_struct(kind) and "bytes" in [kind.field(index).name for index in range(kind.num_fields)]:
        return "image.bytes", groups
    return ("image" if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None), groups


def _rows(path: Path, number: int, group: int, column: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a group without the bytes of their images, which are named by the path beside the bytes, or by ""."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = list(file.schema_arrow.names)
            if column is not None:
                names.remove("image")
                kind = file.schema_arrow.field("image").type
                if pa.types.is_struct(kind) and "path" in [kind.field(index).name for index in range(kind.num_fields)]:
                    names.append("image.path")
            for batch in file.iter_batches(ROWS_AT_A_TIME, row_groups=[group], columns=names, use_threads=False):
                for row in batch.to_pylist():
                    if column is not None:
                        row["image"] = (row.get("image") or {}).get("path") or ""
                    yield row
    except (OSError, ValueError, pa.ArrowException):
        raise UsageError("batch.table_unreadable", number=number) from None


def _json(row: dict[str, Any]) -> str:
    """A row as a line: what is null is left out, and a value that JSON does not have stays a fault of its line."""
    given = {name: value for name, value in row.items() if value is not None or name == "id"}
    try:
        return json.dumps(given)
    except (TypeError, ValueError):
        return ""
