"""How far the vertical cup-to-disc ratio from the boxes is from that of the annotated boxes.

    python -m tools.cup_to_disc --data DATA --split test

DATA holds records.jsonl and its images; all records of the split that have both boxes count.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from medrega_edge.engine import load

NAMES = ("optic cup", "optic disc")


def main():
    """Print the number of images, those with both boxes found, and the errors."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--split", default="test")
    given = options.parse_args()
    engine, errors, images = load(), [], 0
    for record in map(json.loads, (given.data / "records.jsonl").read_text(encoding="utf-8").splitlines()):
        boxes = {region["label_en"]: region["boxes"][0] for region in record["regions"]}
        if record["split"] != given.split or not boxes.keys() >= set(NAMES):
            continue
        images += 1
        answer = engine.detect(engine.open(given.data / record["image"]), NAMES)
        found = {region.label: region.box for region in answer.regions}
        if len(found) == len(NAMES):
            errors.append(_ratio(found) - _ratio(boxes))
    result = {"images": images, "answered": len(errors), "mean_error": np.mean(np.abs(errors)), "bias": np.mean(errors)}
    sys.stdout.write(json.dumps({name: round(float(value), 3) for name, value in result.items()}) + "\n")


def _ratio(boxes):
    (_, cup_top, _, cup_bottom), (_, disc_top, _, disc_bottom) = (boxes[name] for name in NAMES)
    return (cup_bottom - cup_top) / (disc_bottom - disc_top)


if __name__ == "__main__":
    main()
