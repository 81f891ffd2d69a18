"""Annotated images -> questions with truth, one JSON object a line, as `medrega batch` reads them.

Knows the data's layout and one fixed wording per task and language; knows no model. The truth stands beside each question:
`{"text": model text, "regions": [{"label", "boxes": [[x1, y1, x2, y2], ...]}]}`, boxes in pixels of the original image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.prompts import Language, Task
from medrega_edge.regions import Geometry, PixelBox, RegionText, format_region

SKIPPED_LABELS = frozenset({"retinal blood vessels"})  # they fill the whole image
DETECT_WORDING = {Language.EN: "locate the {name}", Language.ZH: "请定位{name}"}
IDENTIFY_WORDING = {Language.EN: "What is this?", Language.ZH: "这是什么？"}


def read_records(data: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a split, near-duplicates of other splits left out; raises UsageError naming a bad line."""
    path = data / "records.jsonl"
    if not path.is_file():
        raise UsageError(f"There is no records.jsonl in '{data.name}'; name the data folder with --data.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if row["split"] == split and not row["dup_of_eval"]:
                    yield row
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"Line {number} of records.jsonl cannot be read: {error!r}.") from None


def questions_of(
    records: Iterable[dict[str, Any]], data: Path, languages: Iterable[Language] = tuple(Language)
) -> Iterator[dict[str, Any]]:
    """Two questions per image, object of a single region, and language: where is it, and what is in its box?"""
    for record in records:
        geometry = Geometry(record["width"], record["height"])
        for region in record["regions"]:
            if region["label_en"] in SKIPPED_LABELS or len(region["boxes"]) != 1:
                continue
            (box,) = region["boxes"]
            for language in languages:
                name = region["label_en"] if language is Language.EN else region["label_zh"]
                about = {
                    "image": str((data / record["image"]).resolve()),
                    "language": language.value,
                    "modality": record["modality"],
                    "object": region["label_en"],
                }
                key = f"{record['id']}/{region['label_en']}/{language}"
                written = format_region(RegionText(name, (geometry.to_grid(PixelBox(*box)),)))
                yield about | {
                    "id": f"{key}/detect",
                    "task": Task.DETECT.value,
                    "question": DETECT_WORDING[language].format(name=name),
                    "truth": {"text": written, "regions": [{"label": name, "boxes": [box]}]},
                }
                yield about | {
                    "id": f"{key}/identify",
                    "task": Task.IDENTIFY.value,
                    "question": IDENTIFY_WORDING[language],
                    "box": box,
                    "truth": {"text": name, "regions": []},
                }
