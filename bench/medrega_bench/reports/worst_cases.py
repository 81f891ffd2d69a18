"""The worst answers of a result, drawn on their images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image

from medrega_bench.evaluation import paired
from medrega_bench.evaluation.results import AnswerRow, RunResult
from medrega_bench.reports.model import Case, Section
from medrega_edge.images.reader import read_image

WORST = 8
LONGEST_SIDE = 480  # pixels of a picture in the page


def worst(result: RunResult, say: Mapping[str, str], pictures: Mapping[str, Path]) -> Iterator[Section]:
    """The answers of least IoU, one an image; nothing where there is no picture to show them on."""
    least: dict[str, tuple[float, AnswerRow]] = {}
    for row in result.packages[0].rows:
        if row.task == "detect" and row.image in pictures:
            worth = paired.grade(row).worth
            if row.image not in least or worth < least[row.image][0]:
                least[row.image] = worth, row
    chosen = sorted(least.values(), key=lambda pair: pair[0])[:WORST]
    if chosen:
        cases = tuple(_case(row, worth, say, pictures[row.image]) for worth, row in chosen)
        yield Section("worst", say["worst"], say["worst_note"], cases=cases)


def _case(row: AnswerRow, worth: float, say: Mapping[str, str], path: Path) -> Case:
    image = read_image(path)
    confidences = ", ".join(f"{value:.2f}" for value in row.confidences if value is not None)
    below = (
        (say["question"], row.question),
        ("IoU", f"{worth:.2f}"),
        (say["x_sure"], confidences) if row.boxes else (say["answer"], say["nothing"]),
    )
    picture = _data_uri(Image.fromarray(image.pixels))
    return Case(picture, (image.width, image.height), row.true_boxes, row.boxes, below)


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
