"""Train the classifier of questions beside the phrases of `frames.json`: `medrega_edge/prompts/intent/kinds.npz`.

    python -m tools.kinds [--without tests/phrases/tuned_zh.jsonl --output FILE]

It learns from phrasings generated from `tools/phrasings/*.txt`, with the labels of the default package, slips, and what
people put around a question. It also learns from those that people wrote, `tests/phrases/tuned_*.jsonl`. `--without` leaves
files out: what is then understood of them is what another writer may expect. Takes two minutes of a processor, and
scikit-learn.
"""

import argparse
import json
import random
import re
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from medrega_edge.domain import Modality
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.intent import features, kinds
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.terminology import Terminology

TEMPLATES = Path(__file__).parent / "phrasings"
WRITTEN = Path(__file__).parents[1] / "tests" / "phrases"
WEIGHTS = Path(kinds.__file__).parent / "kinds.npz"
NO_KINDS = {"before", "after", "generic"}
PER_TEMPLATE = 25
GENERATED_WEIGHT = 0.1  # of a generated phrasing; one that a person wrote counts 1
INVERSE_REGULARISATION = 100.0
_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w)\}")


def sections(path):
    """Return the lines of each section of a file of templates."""
    found, name = defaultdict(list), ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            name = line[2:]
        elif line and not line.startswith(";"):
            found[name].append(line)
    return found


class Phrasings:
    """Phrasings of one language, at random."""

    def __init__(self, lang, labels, draw):
        """Take the labels, (English, Chinese)."""
        self._parts, self._draw, self._is_zh = sections(TEMPLATES / f"{lang}.txt"), draw, lang == "zh"
        self._other_generic = sections(TEMPLATES / f"{'en' if self._is_zh else 'zh'}.txt")["generic"]
        self._findings = [label for label in labels if is_finding(label[0])]
        self._structures = [label for label in labels if not is_finding(label[0])]
        sided = [label for label in self._structures if label[0].startswith("left ")]
        self._pairs = [(f"{en.removeprefix('left ')}s", re.sub("^左侧?", "", zh)) for en, zh in sided]

    def __iter__(self):
        """Yield kinds and phrasings."""
        for kind, templates in self._parts.items():
            if kind in NO_KINDS:
                continue
            for template in templates:
                for text in dict.fromkeys(self._chosen(template) for _ in range(PER_TEMPLATE)):
                    yield kind, self._dressed(_SLOT.sub(lambda slot: self._name(slot[1]), text), kind)

    def _chosen(self, text):
        while _CHOICE.search(text):
            text = _CHOICE.sub(lambda match: self._draw.choice(match[1].split("|")), text)
        return " ".join(text.split())

    def _name(self, slot):
        chance = self._draw.random()
        is_zh = self._is_zh != (chance < 0.06)  # names of the other language
        slot = self._draw.choice("nffg" if chance < 0.5 else "nf") if slot == "x" else slot
        if slot == "g":
            return self._draw.choice(self._parts["generic"] if is_zh == self._is_zh else self._other_generic)
        pools = {"n": self._structures + self._pairs, "f": self._findings, "p": self._pairs}
        name = self._draw.choice(pools[slot])[is_zh]
        return f"{name}s" if not is_zh and not name.endswith("s") and self._draw.random() < 0.3 else name

    def _dressed(self, text, kind):
        chance, gap = self._draw.random(), "" if self._is_zh else " "
        if kind != "help" and chance < 0.15:
            text = f"{self._draw.choice(self._parts['before'])}{gap}{text}"
        elif kind != "help" and chance < 0.3:
            text = f"{text.rstrip('?？ ')}{gap}{self._draw.choice(self._parts['after'])}"
        return self._with_slip(text) if self._draw.random() < 0.08 else text

    def _with_slip(self, text):
        words = [match.span() for match in re.finditer("[a-z]{5,}", text)]
        if not words:
            return text
        start, end = self._draw.choice(words)
        at = self._draw.randrange(start + 1, end - 2)
        slips = (text[at + 1] + text[at], text[at], text[at] + text[at] + text[at + 1])  # swapped, missing, doubled
        return text[:at] + self._draw.choice(slips) + text[at + 2 :]


def examples(terminology, without):
    """Yield buckets, kind and weight of every phrasing to learn from."""
    draw = random.Random(0)  # noqa: S311
    for lang in ("en", "zh"):
        for kind, text in Phrasings(lang, terminology.labels, draw):
            yield features(text, terminology, draw.choice(list(Modality))), kind, GENERATED_WEIGHT
    for path in sorted(WRITTEN.glob("tuned_*.jsonl")):
        if path.resolve() not in without:
            for row in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
                found = features(row["text"], terminology, Modality(row["modality"]), row.get("box", False))
                yield found, row["kind"], 1.0


def matrix(rows):
    """Return the buckets of each row, each row of length 1."""
    ends = np.cumsum([0, *map(len, rows)])
    values = np.concatenate([np.full(end - start, (end - start) ** -0.5) for start, end in pairwise(ends)])
    return csr_matrix((values, np.concatenate(rows), ends), shape=(len(rows), kinds.BUCKETS))


def main():
    """Train, and write the weights."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--without", type=Path, action="append", default=[], help="a file of phrasings to leave out")
    options.add_argument("--output", type=Path, default=WEIGHTS)
    given = options.parse_args()
    terminology = Terminology(PromptBook.from_json(find_package().text("prompts")).labels)
    rows, names, weights = zip(*examples(terminology, {path.resolve() for path in given.without}), strict=True)
    model = LogisticRegression(C=INVERSE_REGULARISATION, max_iter=400).fit(matrix(rows), names, sample_weight=weights)
    scale = np.abs(model.coef_).max(axis=1) / 127
    np.savez(
        given.output,
        kinds=model.classes_.astype(str),
        weights=np.round(model.coef_ / scale[:, None]).astype(np.int8),
        scale=scale.astype(np.float32),
        bias=model.intercept_.astype(np.float32),
    )
    sys.stdout.write(f"{len(rows)} phrasings, {given.output.stat().st_size / 1024:.0f} KB\n")


if __name__ == "__main__":
    main()
