"""Which kind of job a source is, by its ending: JSONL, Parquet, tar; or a folder of them, or of images."""

from __future__ import annotations

import os
from pathlib import Path

from medrega_edge.batch.questions import QuestionFile, Questions
from medrega_edge.batch.rows import RowOptions
from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import natural_sort_key

TABLE, SHARD = ".parquet", ".tar"


def open_questions(source: Path, options: RowOptions = RowOptions()) -> Questions | None:
    """The questions of a file, or of a folder that holds nothing but Parquet files or shards; None for other folders.

    Raises UsageError for what cannot be read, ResourceError where an extra has to be installed.
    """
    if os.path.isdir(source):  # Path.is_dir raises for a name that is too long
        paths = _files_of_one_ending(source)
        if paths is None:
            return None
    else:
        paths = [source]
    ending = paths[0].suffix.lower()
    if ending == TABLE:
        from medrega_edge.batch.tables import Tables

        return Tables(paths, options)
    if ending == SHARD:
        from medrega_edge.batch.shards import Shards

        return Shards(paths, options)
    return QuestionFile(source, options)


def _files_of_one_ending(folder: Path) -> list[Path] | None:
    """The files of a folder, if they are all Parquet files or all shards; the first other one ends the search.

    What programs put beside such files begins with a point or a line: `_SUCCESS`.
    """
    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "_")):
                    continue
                ending = os.path.splitext(entry.name)[1].lower()
                if ending not in (TABLE, SHARD) or not entry.is_file(follow_symlinks=False):
                    return None
                if found and os.path.splitext(found[0])[1].lower() != ending:
                    return None
                found.append(entry.name)
    except OSError as error:
        raise UsageError("io.unreadable_folder", reason=error.strerror or "") from None
    return [folder / name for name in sorted(found, key=natural_sort_key)] or None
