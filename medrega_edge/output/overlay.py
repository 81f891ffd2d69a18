"""Answer -> picture: the image with its regions drawn, numbered and named, and the notice below.

A region with a mask is drawn as its contour with both diameters, another one as its box. They differ by colour (Okabe-Ito,
safe for colour-blind eyes) and by number, boxes by dash pattern too: no information depends on colour alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICES, Language
from medrega_edge.errors import UsageError
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.io.atomic import atomic_write, check_output_path
from medrega_edge.io.safe_text import printable
from medrega_edge.masks import Mask
from medrega_edge.measures import Measures

FONT = Path(__file__).parents[1] / "fonts" / "labels.ttf"
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")  # Okabe-Ito
DASHES: tuple[tuple[int, int], ...] = ((1, 0), (12, 5), (4, 4), (18, 4), (8, 8))  # on, off, in line widths
MOST_NAMED = 8  # regions of one label: of more, the first has the name and their count, the others no name
MIN_PICTURE = 640  # pixels of the longer side: a smaller scan is enlarged, so that names are legible

Rectangle = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the canvas


def draw_answer(image: MedicalImage, answer: Answer) -> Image.Image:
    """Draw the regions of an answer, as `draw_regions`; a question mark follows the name of a best guess."""
    guesses = [number for number, region in enumerate(answer.regions) if answer.is_best_guess(region)]
    return draw_regions(image, list(enumerate(answer.regions)), answer.language, guesses)


def draw_regions(
    image: MedicalImage, numbered: Sequence[tuple[int, Region]], language: Language, guesses: Collection[int] = ()
) -> Image.Image:
    """Draw regions with their numbers, from 0, and the notice into a copy of the image, RGB; a small image is enlarged.

    `guesses` are the numbers of best guesses.
    """
    scale = max(1.0, MIN_PICTURE / max(image.width, image.height))
    size = (round(image.width * scale), round(image.height * scale))
    picture = Image.fromarray(image.pixels).resize(size, Image.Resampling.LANCZOS)
    font_size = min(40, max(14, round(max(size) / 40)))
    font = ImageFont.truetype(str(FONT), font_size)
    notice = NOTICES[language]
    # A narrow picture gets a margin on its right, so that the notice and the names have room.
    canvas_width = max(size[0], font_size + math.ceil(font.getlength(notice)))
    canvas = Image.new("RGB", (canvas_width, size[1] + 2 * font_size), "black")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    line_width = max(2, round(max(size) / 320))
    _draw_orientation(draw, font, image, size)
    counts = Counter(region.label for _, region in numbered)
    for number, region in numbered:
        colour = COLOURS[number % len(COLOURS)]
        if region.mask is not None:
            _draw_contour(canvas, region.mask, size, colour, line_width)
            if region.measures is not None and counts[region.label] <= MOST_NAMED:
                _draw_diameters(draw, region.measures, scale, colour, line_width)
            continue
        box = tuple(value * scale for value in region.box)
        _draw_box(draw, box, "black", line_width + 2, (1, 0))
        _draw_box(draw, box, colour, line_width, DASHES[number % len(DASHES)])
    occupied: list[Rectangle] = []
    named: set[str] = set()
    for number, region in numbered:
        name = region_name(region, number in guesses)
        if counts[region.label] > MOST_NAMED:
            unnamed = "?" if number in guesses else ""
            name = unnamed if region.label in named else f"{name} ×{counts[region.label]}"
            named.add(region.label)
        occupied.append(_draw_name(draw, font, number, name, region.box, scale, (canvas_width, size[1]), occupied))
    draw.text((font_size // 2, size[1] + font_size // 3), notice, fill="white", font=font)
    return canvas


def region_name(region: Region, is_guess: bool) -> str:
    """Return the name of a region as it stands in a picture: with its confidence, and a question mark after a best guess."""
    text = region.label if region.confidence is None else f"{region.label} {region.confidence:.2f}"
    return f"{text} ?" if is_guess else text


def _draw_contour(canvas: Image.Image, mask: Mask, size: tuple[int, int], colour: str, width: int) -> None:
    """Draw a line around a mask, black beside it on both sides, into a canvas on which the image has this size."""
    whole = Image.fromarray(mask.inside().astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    inside = Image.fromarray((np.asarray(whole) >= 128).astype(np.uint8) * 255)
    for reach, ink in ((width / 2 + 1, "black"), (width / 2, colour)):
        near = np.asarray(inside.filter(ImageFilter.BoxBlur(reach)))
        canvas.paste(ink, (0, 0), Image.fromarray(((near > 0) & (near < 255)).astype(np.uint8) * 255))


def _draw_diameters(draw: ImageDraw.ImageDraw, measures: Measures, scale: float, colour: str, width: int) -> None:
    """Draw both diameters with a bar at each end, on black, thinner than a contour."""
    thin = max(1, width // 2)
    for ink, thickness in (("black", thin + 2), (colour, thin)):
        for diameter in (measures.longest, measures.perpendicular):
            x1, y1, x2, y2 = (value * scale for value in diameter.line)
            draw.line([(x1, y1), (x2, y2)], fill=ink, width=thickness)
            length = math.hypot(x2 - x1, y2 - y1) or 1.0
            dx, dy = (2 * width * (y2 - y1) / length, 2 * width * (x1 - x2) / length)
            for x, y in ((x1, y1), (x2, y2)):
                draw.line([(x - dx, y - dy), (x + dx, y + dy)], fill=ink, width=thickness)


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a PNG as a whole or not at all; raises UsageError for a path that cannot be written."""
    check_png_path(path)
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def check_png_path(path: Path, *inputs: Path) -> None:
    """Raise UsageError, before any work, for a path that is no PNG, cannot be written or is one of `inputs`."""
    if path.suffix.lower() != ".png":
        raise UsageError("output.not_png")
    check_output_path(path, *inputs)


def _draw_box(draw: ImageDraw.ImageDraw, box: tuple[float, ...], colour: str, width: int, dash: tuple[int, int]) -> None:
    x1, y1, x2, y2 = box
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    if dash[1] == 0:
        draw.line(corners, fill=colour, width=width, joint="curve")
        return
    on, off = dash[0] * width, dash[1] * width
    for (ax, ay), (bx, by) in pairwise(corners):
        length = max(abs(bx - ax), abs(by - ay))
        dx, dy = ((bx - ax) / length, (by - ay) / length) if length else (0.0, 0.0)
        at = 0.0
        while at < length:
            end = min(at + on, length)
            draw.line([(ax + dx * at, ay + dy * at), (ax + dx * end, ay + dy * end)], fill=colour, width=width)
            at += on + off


def _draw_orientation(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, image: MedicalImage, size: tuple[int, int]
) -> None:
    """Write the patient's directions at the middle of each side, where the file states them."""
    positions = (((0, 0.5), "lm"), ((0.5, 0), "ma"), ((1, 0.5), "rm"), ((0.5, 1), "md"))
    for letters, ((x, y), anchor) in zip(image.patient_orientation or (), positions, strict=False):
        at = (4 + x * (size[0] - 8), 4 + y * (size[1] - 8))
        draw.text(at, letters, fill="white", font=font, anchor=anchor, stroke_width=2, stroke_fill="black")


def _draw_name(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    number: int,
    name: str,
    box: PixelBox,
    scale: float,
    size: tuple[int, int],
    occupied: list[Rectangle],
) -> Rectangle:
    """Write a region's number and name beside its box, off the `occupied` rectangles if possible; return its rectangle."""
    text = f"{number + 1} {printable(name)}".rstrip()
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x1, y1, _, y2 = (value * scale for value in box)
    x = min(max(0.0, x1), max(0.0, size[0] - width))
    rectangle = (x, 0.0, x + width, height)
    for y in (y1 - height, y2, y1, *(y2 + height * step for step in range(1, 12))):
        y = min(max(0.0, y), size[1] - height)
        rectangle = (x, y, x + width, y + height)
        if not any(_overlap(rectangle, other) for other in occupied):
            break
    draw.rectangle(rectangle, fill="black", outline=COLOURS[number % len(COLOURS)])
    draw.text((rectangle[0] + 3 - left, rectangle[1] + 3 - top), text, fill="white", font=font)
    return rectangle


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
