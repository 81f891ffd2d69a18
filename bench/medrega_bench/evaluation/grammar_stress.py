"""Whether any weights can write a box that cannot be read: networks of random weights answer thousands of questions.

Nothing here says whether an answer is right. The whole runtime takes part, from pixels
to text: one half of the answers is written for a name that the package knows, the other freely.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from medrega_bench.performance.environment import Environment
from medrega_bench.performance.random_packages import SMALLEST_TOWER, PackageShape, TextShape, write_package
from medrega_edge.answer import Answer
from medrega_edge.domain import Language
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.i18n.message import Message
from medrega_edge.inference.grammars import MAX_BOXES
from medrega_edge.package.manifest import MANIFEST, file_entry
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import DETECT_QUESTION, PromptBook
from medrega_edge.tasks.detection import Detect

EACH = 25  # questions about one image
SIDE = 64  # pixels of an image
_BOX = r"\[\d{1,3}(?:, \d{1,3}){3}\]"
_REGION = re.compile(rf"<ref>(?P<name>.+?)</ref><box>\[{_BOX}(?:, {_BOX})*\]</box>", re.DOTALL)
_NAMELESS = Message("prompt.nameless_region")  # a name of blanks: the weights' nonsense, its boxes are whole


def packages(folder: Path) -> dict[str, Package]:
    """Write two packages of random weights: one that knows the names of the shipped one, and one that knows none."""
    text = TextShape(2, 128, 4, 2, 32, 256, Package.open(default_folder()).manifest.decoder.vocabulary)
    shape = PackageShape(text, SMALLEST_TOWER)
    made = {name: write_package(shape, folder / name) for name in ("named", "free")}
    free = made["free"]
    prompts = free.folder / free.manifest.files["prompts"].path
    prompts.write_text(replace(PromptBook.from_json(prompts.read_text("utf-8")), labels=()).to_json(), encoding="utf-8")
    files = free.manifest.files | {"prompts": file_entry(prompts, "text")}
    (free.folder / MANIFEST).write_text(replace(free.manifest, files=files).to_json(), encoding="utf-8")
    return made | {"free": Package.open(free.folder)}


@dataclass(frozen=True)
class Written:
    """What one kind of package wrote. `different` counts texts that differ, `malformed` those that cannot be read."""

    generations: int
    different: int
    with_a_region: int
    boxes: int
    malformed: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MalformedResult:
    """The result of `medrega bench malformed`."""

    schema_version: int = 1
    command: str
    environment: Environment
    written: Mapping[str, Written]


def run(folder: Path, count: int) -> dict[str, Written]:
    """Let both packages generate `count` answers together; returns what each kind wrote."""
    return {kind: _written(package, count // 2, kind == "named") for kind, package in packages(folder).items()}


def _written(package: Package, count: int, is_named: bool) -> Written:
    answers = list(_answers(package, count))
    texts = [answer.raw_text for _, answer in answers]
    malformed = [answer.raw_text for name, answer in answers if not is_whole(answer.raw_text, name if is_named else None)]
    return Written(
        generations=len(texts),
        different=len(set(texts)),
        with_a_region=sum("<box>" in text for text in texts),
        boxes=sum(len(region.boxes) for text in texts for region in parse(text).regions),
        malformed=len(malformed),
        examples=tuple(malformed[:3]),
    )


def _answers(package: Package, count: int) -> Iterator[tuple[str, Answer]]:
    engine = Engine(package, EngineOptions())
    rng = np.random.default_rng(SEED)
    names = [name for name, _ in PromptBook.from_json(Package.open(default_folder()).text("prompts")).labels]
    for number in range(count):
        if number % EACH == 0:
            image = engine.open(_picture(rng))
        name = names[int(rng.integers(len(names)))]
        yield name, engine.run(image, Detect(DETECT_QUESTION[Language.EN].format(x=name)), Language.EN)


def _picture(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def is_whole(text: str, name: str | None) -> bool:
    """Tell whether a text has no region that cannot be read, too many boxes, or one box twice.

    Where a `name` was asked for it is one region of that name, or none at all.
    """
    parsed = parse(text)
    boxes = [[tuple(box.as_list()) for box in region.boxes] for region in parsed.regions]
    spelt = [match["name"] for match in _REGION.finditer(text)]
    whole = set(parsed.problems) <= {_NAMELESS} and len(spelt) == text.count("<ref>") == text.count("<box>")
    whole = whole and all(len(set(group)) == len(group) <= MAX_BOXES for group in boxes)
    return whole and (name is None or spelt in ([], [name]))
