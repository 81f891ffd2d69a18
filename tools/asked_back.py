"""How much less a box is worth in which the weights, asked back, name something else.

    python -m tools.asked_back --data ../shared/data --split val

Each annotated name of each image is located, and the best box is asked about as `segment` does it. The doubt is what is to
be taken off the log-odds of doubted boxes, the most probable one with a normal distribution around 0 beforehand.

    python -m tools.asked_back --data ../shared/data --split test --doubt 0.724

measures what a doubt does to the error on another split, and `--into-package` writes it into the manifest.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from medrega_edge.boxes import iou
from medrega_edge.domain import Language
from medrega_edge.engine import load
from medrega_edge.evaluation.records import read_records
from medrega_edge.inference.confidence import fit_shift
from medrega_edge.package.manifest import MANIFEST, Manifest
from medrega_edge.package.registry import find_package
from medrega_edge.tasks.detection import locate
from medrega_edge.tasks.segmentation import asked_back
from medrega_train.records import split_of

RIGHT = 0.5  # IoU with the truth from which on a box is right


def boxes(engine, records):
    """Yield of the best box of each name: its probability, whether it is doubted, and whether it is right."""
    known = {label[0]: label for label in engine.terminology.labels}
    for record in records:
        image = engine.open(record.image)
        context = replace(engine.context(image, Language.EN), doubt=1.0)  # so that boxes are asked about
        for region in {each.label_en: each for each in record.targets}.values():
            if region.label_en not in known:
                continue
            result = asked_back(context, locate(context, known[region.label_en]))
            if not result.detections:
                continue
            best = max(result.detections, key=lambda each: each.score or 0.0)
            overlap = max(iou(image.geometry.to_pixels(best.box), box) for box in region.boxes)
            yield context.confidence(region.label_en, best.score), best.doubt > 0, overlap >= RIGHT


def brier(rows, doubt):
    """Return the mean square error of the probabilities of doubted boxes, with this doubt."""
    odds = np.array([np.log(p / (1 - p)) for p, _, _ in rows]) - doubt
    return float(np.mean((1 / (1 + np.exp(-odds)) - np.array([right for *_, right in rows])) ** 2))


def main():
    """Print the doubt, and what it does to the error."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--split", default="val")
    options.add_argument("--model")
    options.add_argument("--doubt", type=float, help="measure this one, and fit none")
    options.add_argument("--into-package", action="store_true", help="write the doubt into the package")
    given = options.parse_args()
    rows = list(boxes(load(given.model), split_of(read_records(given.data), given.split)))
    doubted = [row for row in rows if row[1]]
    pairs = [(probability, right) for probability, _, right in doubted]
    doubt = -fit_shift(pairs, (1.0, 0.0), 0.0) if given.doubt is None else given.doubt
    told = {
        "boxes": len(rows),
        "doubted": len(doubted),
        "right of the others": round(float(np.mean([right for _, is_doubted, right in rows if not is_doubted])), 3),
        "right of the doubted": round(float(np.mean([right for _, right in pairs])), 3),
        "promised of the doubted": round(float(np.mean([probability for probability, _ in pairs])), 3),
        "doubt": round(doubt, 3),
        "brier before": round(brier(doubted, 0.0), 4),
        "brier after": round(brier(doubted, doubt), 4),
    }
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if given.into_package:
        path = find_package(given.model).folder / MANIFEST
        manifest = Manifest.from_json(path.read_text("utf-8"))
        regions = replace(manifest.regions, doubt=round(doubt, 3))
        path.write_text(replace(manifest, regions=regions).to_json(), "utf-8")


if __name__ == "__main__":
    main()
