"""Calibration error of box confidences by label and kind of image, beside that of a perfect calibration by chance.

medrega bench questions --data DATA --split test --out test.jsonl
python -m tools.calibration test.jsonl
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from medrega_bench.metrics.labels import BINS
from medrega_edge.boxes import iou
from medrega_edge.domain import Language, Task
from medrega_edge.engine import load
from medrega_edge.evaluation.matching import HIT
from medrega_edge.evaluation.questions import read_questions
from medrega_edge.evaluation.runner import run_questions

FEWEST = 30  # boxes of a group
EACH = 15  # boxes of a bin, at least: three boxes in each of 15 bins measure little but chance
DRAWS = 1000


def error(confidences, right):
    """Return the expected calibration error over bins of equal width."""
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidences - right, BINS)
    return float(np.abs(gaps).sum() / len(right))


def even_error(confidences, right):
    """Return the expected calibration error over bins of equal numbers of boxes, `EACH` or more in each."""
    order = np.argsort(confidences)
    bins = np.array_split(order, max(1, len(order) // EACH))
    return float(sum(abs((confidences[one] - right[one]).sum()) for one in bins) / len(order))


def measure(engine, questions):
    """Ask for one object with one box each; returns the figures of each group, the largest error first."""
    groups = defaultdict(list)
    for answered in run_questions(engine, questions):
        question, regions = answered.question, answered.answer.regions if answered.answer else ()
        if regions:
            hit = iou(regions[0].box, question.truth.regions[0].boxes[0]) >= HIT
            for group in ("all", f"{question.object}, {question.modality}"):
                groups[group].append((regions[0].confidence, hit))
    rng, rows = np.random.default_rng(0), []
    for group, boxes in groups.items():
        if len(boxes) < FEWEST:
            continue
        confidences, right = np.array([one for one, _ in boxes]), np.array([float(hit) for _, hit in boxes])
        drawn = [rng.random(len(boxes)) < confidences for _ in range(DRAWS)]
        errors = [
            figure
            for measured_by in (even_error, error)
            for figure in (measured_by(confidences, right), np.mean([measured_by(confidences, one) for one in drawn]))
        ]
        rows.append((group, len(boxes), confidences.mean(), right.mean(), *errors))
    keys = ("group", "boxes", "confidence", "right", "error", "error_by_chance", "error_15_bins", "error_15_bins_by_chance")
    return [
        dict(zip(keys, [*row[:2], *(round(float(value), 3) for value in row[2:])], strict=True))
        for row in sorted(rows, key=lambda row: -row[4])
    ]


def main():
    """Measure a package and print the figures as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("questions", type=Path, help="questions with truth")
    options.add_argument("--model", help="package; default: the one that answers")
    given = options.parse_args()
    questions = [
        question
        for question in read_questions(given.questions)
        if question.task is Task.DETECT
        and question.language is Language.EN
        and sum(len(region.boxes) for region in question.truth.regions) == 1
    ]
    found = measure(load(given.model), questions)
    sys.stdout.write("[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n")


if __name__ == "__main__":
    main()
