"""The worst answers of a result, drawn on their images. Knows rows and images; knows no page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from medrega_bench.evaluation import paired
from medrega_bench.reports.model import Case, Section
from medrega_edge.images.reader import read_image

Row = dict[str, Any]

WORST = 8
LONGEST_SIDE = 480  # pixels of a picture in the page


def worst(result: Row, say: Mapping[str, str], pictures: Mapping[str, Path]) -> Iterator[Section]:
    """The answers of least IoU, one an image; nothing where there is no picture to show them on."""
    if not pictures:
        return
    rows = [row for row in result["packages"][0]["rows"] if paired.task_of(row) == "detect" and row["image"] in pictures]
    least: dict[str, tuple[float, Row]] = {}
    for row in rows:
        graded = paired.grade(row).worth
        if row["image"] not in least or graded < least[row["image"]][0]:
            least[row["image"]] = (graded, row)
    chosen = sorted(least.values(), key=lambda one: one[0])[:WORST]
    if chosen:
        cases = tuple(_case(row, graded, say, pictures[row["image"]]) for graded, row in chosen)
        yield Section("worst", say["worst"], say["worst_note"], cases=cases)


def _case(row: Row, graded: float, say: Mapping[str, str], path: Path) -> Case:
    image = read_image(path)
    answer = ", ".join(f"{sure:.2f}" for sure in row["confidences"] if sure is not None)
    below = (
        (say["question"], row["question"]),
        ("IoU", f"{graded:.2f}"),
        (say["x_sure"], answer) if row["boxes"] else (say["answer"], say["nothing"]),
    )
    return Case(
        _data_uri(Image.fromarray(image.pixels)),
        (image.width, image.height),
        tuple(map(tuple, row["true_boxes"])),
        tuple(map(tuple, row["boxes"])),
        below,
    )


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
