"""Questions that need no data: pydicom's own scans with boxes read by eye, and phantoms drawn here, whose boxes are known.

The phantoms are seeded: the same pixels everywhere. They show whether a package is whole, whether it got worse, and how it
runs on this machine. Only images of patients show how well it sees patients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.evaluation.records import AnnotatedQuestion, AnnotatedRegion, Record
from medrega_edge.images.reader import read_image
from medrega_edge.images.samples import sample_path
from medrega_edge.io.atomic import atomic_write

NAME = "quick"
EACH = 3  # phantoms of a kind

Mask = npt.NDArray[np.bool_]
Region = tuple[str, str, list[list[float]]]  # English, Chinese, boxes in pixels
Colour = tuple[float, float, float]

# Boxes in the abdominal MRI that comes with pydicom, read by eye on an enlarged picture; each edge is within 3 pixels. The
# liver's holds the lesion in it. What is cut off or blurred into its neighbour (pancreas, bowel) is left out.
_ABDOMEN: tuple[Region, ...] = (
    ("liver", "肝脏", [[52, 80, 181, 195]]),
    ("spleen", "脾脏", [[359, 120, 400, 238]]),
    ("right kidney", "右肾", [[118, 189, 184, 249]]),
    ("left kidney", "左肾", [[290, 199, 348, 251]]),
)
_ABDOMEN_QA = (
    ("en", "Which part of the body does this image belong to?", "Abdomen"),
    ("en", "Does the picture contain liver?", "Yes"),
    ("en", "Does the picture contain lung?", "No"),
    ("en", "What modality is used to take this image?", "MRI"),
    ("zh", "这张图片属于身体的哪个部位?", "腹部"),
    ("zh", "图中包含肝脏吗?", "包含"),
)
# Of these the kind is certain and no box is: they are asked what is not in them.
_SCANS = {"CT_small.dcm": "ct", "examples_rgb_color.dcm": "ultrasound"}


class Canvas:
    """A picture being drawn: `pixels` [height, width, 3], 0..1, and ellipses in shares of width and height."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, colour: Colour) -> None:
        """Begin with one colour."""
        self.rng = rng
        self.pixels = np.tile(np.array(colour, float), (height, width, 1))
        self._y, self._x = np.mgrid[0:height, 0:width] + 0.5

    def near(self, value: float, by: float) -> float:
        """A number about `value`, so that no two phantoms are alike."""
        return float(value + self.rng.uniform(-by, by))

    def blob(self, x: float, y: float, rx: float, ry: float, wobble: float = 0.0) -> Mask:
        """Where an ellipse lies; `wobble` makes its border uneven by that share of its radius."""
        height, width = self.pixels.shape[:2]
        dx, dy = (self._x / width - x) / rx, (self._y / height - y) / ry
        angle = np.arctan2(dy, dx)
        border = sum(np.sin(k * angle + self.rng.uniform(0, 2 * np.pi)) / k for k in (2, 3, 5))
        inside: Mask = np.hypot(dx, dy) <= 1 + wobble * border
        return inside

    def paint(self, where: Mask, colour: Colour, cover: float = 1.0) -> Mask:
        """Colour a mask, what was there shining through where `cover` is below 1."""
        self.pixels[where] += cover * (np.array(colour) - self.pixels[where])
        return where

    def speckle(self, strength: float) -> None:
        """Multiply by noise, as ultrasound has it."""
        self.pixels *= self.rng.gamma(1 / strength**2, strength**2, self.pixels.shape[:2])[..., None]

    def grain(self, strength: float) -> None:
        """Add noise."""
        self.pixels += self.rng.normal(0, strength, self.pixels.shape[:2])[..., None]

    def picture(self) -> Image.Image:
        """The picture as it is saved."""
        return Image.fromarray((self.pixels.clip(0, 1) * 255).round().astype(np.uint8))


def box_of(mask: Mask) -> list[float]:
    """The smallest box around a mask in pixels, x2 and y2 exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def _grey(value: float) -> Colour:
    return value, value, value


def _skin(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 360, 270, (0.87, 0.68, 0.58))
    size = canvas.near(0.17, 0.06)
    lesion = canvas.blob(canvas.near(0.5, 0.15), canvas.near(0.5, 0.12), size, size * 1.3, 0.12)
    canvas.paint(lesion, (0.38, 0.22, 0.16), 0.9)
    canvas.grain(0.03)
    return canvas, [("skin lesion", "皮肤病变", [box_of(lesion)])]


def _fundus(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 340, 320, _grey(0.01))
    canvas.paint(canvas.blob(0.5, 0.5, 0.46, 0.48), (0.72, 0.33, 0.14))
    x, y = canvas.near(0.5, 0.2), canvas.near(0.5, 0.05)
    for _ in range(5):  # vessels: thin ellipses that all pass the disc
        canvas.paint(canvas.blob(x, canvas.near(y, 0.03), canvas.near(0.25, 0.05), 0.008), (0.45, 0.12, 0.08))
    disc = canvas.paint(canvas.blob(x, y, 0.075, 0.09), (0.95, 0.75, 0.42))
    cup = canvas.paint(canvas.blob(x, y, canvas.near(0.035, 0.008), 0.04), (1.0, 0.92, 0.7))
    canvas.grain(0.02)
    return canvas, [("optic disc", "视盘", [box_of(disc)]), ("optic cup", "视杯", [box_of(cup)])]


def _polyp(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 350, 300, (0.72, 0.36, 0.3))
    canvas.paint(canvas.blob(canvas.near(0.5, 0.1), canvas.near(0.3, 0.1), 0.2, 0.16, 0.1), (0.2, 0.06, 0.05))  # lumen
    x, y, size = canvas.near(0.5, 0.18), canvas.near(0.62, 0.08), canvas.near(0.16, 0.04)
    polyp = canvas.paint(canvas.blob(x, y, size, size * 1.1, 0.05), (0.86, 0.5, 0.42))
    canvas.paint(canvas.blob(x - 0.3 * size, y - 0.3 * size, 0.2 * size, 0.2 * size), (1, 0.95, 0.9))  # the lamp's gleam
    canvas.grain(0.02)
    return canvas, [("polyp", "息肉", [box_of(polyp)])]


def _breast(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 380, 300, _grey(0.42))
    canvas.paint(canvas.blob(0.5, 0.0, 1.2, 0.14), _grey(0.62))  # skin and fat
    lesion = canvas.blob(
        canvas.near(0.5, 0.15), canvas.near(0.5, 0.1), canvas.near(0.15, 0.04), canvas.near(0.14, 0.03), 0.08
    )
    canvas.paint(lesion, _grey(0.08))
    canvas.speckle(0.35)
    return canvas, [("breast lesion", "乳腺病变", [box_of(lesion)])]


def _heart(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 300, 300, _grey(0.05))
    canvas.paint(canvas.blob(0.5, 0.5, 0.47, 0.42), _grey(0.35))
    x, y, size = canvas.near(0.56, 0.04), canvas.near(0.52, 0.04), canvas.near(0.1, 0.02)
    right = canvas.blob(x - 1.6 * size, y, 1.3 * size, 1.2 * size)
    muscle = canvas.blob(x, y, 1.5 * size, 1.5 * size)
    right = canvas.paint(right & ~muscle, _grey(0.85))
    canvas.paint(muscle, _grey(0.2))
    left = canvas.paint(canvas.blob(x, y, size, size), _grey(0.9))
    canvas.grain(0.03)
    return canvas, [
        ("left ventricle", "左心室", [box_of(left)]),
        ("left ventricular myocardium", "左心室心肌", [box_of(muscle)]),
        ("right ventricle", "右心室", [box_of(right)]),
    ]


def _abdomen(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    """An axial slice as it is read: the patient's right on the picture's left."""
    canvas = Canvas(rng, 400, 300, _grey(0.0))
    canvas.paint(canvas.blob(0.5, 0.5, 0.46, 0.44), _grey(0.25))
    canvas.paint(canvas.blob(0.5, 0.5, 0.42, 0.39), _grey(0.4))
    canvas.paint(canvas.blob(0.5, 0.76, 0.06, 0.09), _grey(0.95))  # spine
    liver = canvas.blob(canvas.near(0.28, 0.02), canvas.near(0.42, 0.03), canvas.near(0.16, 0.02), 0.22, 0.04)
    spleen = canvas.blob(canvas.near(0.82, 0.01), canvas.near(0.5, 0.04), 0.05, canvas.near(0.15, 0.02))
    right, left = (canvas.blob(canvas.near(x, 0.02), canvas.near(0.75, 0.02), 0.05, 0.075) for x in (0.34, 0.66))
    liver &= ~right
    for organ, value in ((liver, 0.62), (spleen, 0.68), (right, 0.85), (left, 0.85)):
        canvas.paint(organ, _grey(value))
    canvas.grain(0.03)
    return canvas, [
        ("liver", "肝脏", [box_of(liver)]),
        ("spleen", "脾脏", [box_of(spleen)]),
        ("right kidney", "右肾", [box_of(right)]),
        ("left kidney", "左肾", [box_of(left)]),
    ]


def _chest(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 320, 340, _grey(0.3))
    canvas.paint(canvas.blob(0.5, 0.62, 0.46, 0.6), _grey(0.7))
    sides = ((0.3, "right lung", "右肺"), (0.7, "left lung", "左肺"))  # the patient's right on the picture's left
    lungs = [canvas.blob(canvas.near(x, 0.02), canvas.near(0.48, 0.03), 0.15, canvas.near(0.33, 0.04)) for x, _, _ in sides]
    heart = canvas.blob(canvas.near(0.54, 0.02), 0.66, canvas.near(0.14, 0.02), 0.17)
    for lung in lungs:
        canvas.paint(lung, _grey(0.15))
    for rib in range(7):
        canvas.paint(canvas.blob(0.5, 0.2 + 0.09 * rib, 0.4, 0.012), _grey(0.6), 0.3)
    canvas.paint(heart, _grey(0.85))
    canvas.grain(0.03)
    seen = [lung & ~heart for lung in lungs]
    return canvas, [(en, zh, [box_of(mask)]) for mask, (_, en, zh) in zip(seen, sides, strict=True)]


def _blood(rng: np.random.Generator) -> tuple[Canvas, list[Region]]:
    canvas = Canvas(rng, 360, 280, (0.95, 0.92, 0.9))
    places = [(x, y) for x in (0.17, 0.5, 0.83) for y in (0.27, 0.73)]
    rng.shuffle(places)
    red = [canvas.blob(canvas.near(x, 0.04), canvas.near(y, 0.06), 0.08, 0.1) for x, y in places[: rng.integers(3, 6)]]
    for cell in red:
        canvas.paint(cell, (0.88, 0.55, 0.55))
    white = canvas.paint(canvas.blob(*places[-1], 0.13, 0.17, 0.03), (0.75, 0.68, 0.85))
    canvas.paint(canvas.blob(*places[-1], 0.08, 0.1, 0.1), (0.42, 0.25, 0.6))
    canvas.grain(0.015)
    return canvas, [
        ("white blood cell", "白细胞", [box_of(white)]),
        ("red blood cell", "红细胞", [box_of(cell) for cell in red]),
    ]


@dataclass(frozen=True)
class Phantom:
    """A kind of phantom: which kind of image it stands for, and how it is drawn."""

    modality: str
    draw: Callable[[np.random.Generator], tuple[Canvas, list[Region]]]


PHANTOMS = {
    "skin": Phantom("dermoscopy", _skin),
    "fundus": Phantom("fundus", _fundus),
    "polyp": Phantom("endoscopy", _polyp),
    "breast": Phantom("ultrasound", _breast),
    "heart": Phantom("mri", _heart),
    "abdomen": Phantom("ct", _abdomen),
    "chest": Phantom("xray", _chest),
    "blood": Phantom("pathology", _blood),
}


def records(folder: Path) -> list[Record]:
    """Draw the phantoms into `folder` and return the set in the layout of our data's records, scans first."""
    return [*_scans(), *_phantoms(folder)]


def _scans() -> Iterator[Record]:
    abdomen = sample_path("abdomen-mri")
    yield _record("scan/abdomen-mri", abdomen, "mri", _size(abdomen), _ABDOMEN, _ABDOMEN_QA)
    for name, modality in _SCANS.items():
        path = abdomen.with_name(name)
        yield _record(f"scan/{path.stem}", path, modality, _size(path))


def _size(path: Path) -> tuple[int, int]:
    image = read_image(path)
    return image.width, image.height


def _phantoms(folder: Path) -> Iterator[Record]:
    for place, (name, phantom) in enumerate(PHANTOMS.items()):
        for number in range(EACH):
            canvas, regions = phantom.draw(np.random.default_rng((SEED, place, number)))
            picture = canvas.picture()
            path = folder / f"{name}-{number}.png"
            with atomic_write(path) as file:
                picture.save(file, format="PNG")
            yield _record(f"phantom/{name}-{number}", path, phantom.modality, picture.size, regions)


def _record(
    identity: str,
    image: Path,
    modality: str,
    size: tuple[int, int],
    regions: tuple[Region, ...] | list[Region] = (),
    qa: tuple[tuple[str, str, str], ...] = (),
) -> Record:
    return Record(
        id=identity,
        dataset=identity.partition("/")[0],
        image=image,
        modality=Modality(modality),
        width=size[0],
        height=size[1],
        qa=tuple(AnnotatedQuestion(Language(lang), question, answer) for lang, question, answer in qa),
        regions=tuple(
            AnnotatedRegion(en, zh, tuple(PixelBox(*box) for box in boxes), _kind(en)) for en, zh, boxes in regions
        ),
    )


def _kind(label: str) -> str:
    return "lesion" if label.endswith(("lesion", "polyp")) else "structure"
