"""How many images the package takes for unlike those of its training: of test, and of each data set if it had been left out.

python -m tools.familiar_images --data DATA
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from medrega_bench.evaluation.familiarity import FEWEST, embedded, fit
from medrega_edge.engine import load
from medrega_edge.evaluation.records import read_records
from medrega_edge.inference.familiar_images import FamiliarImages


def unfamiliar(seen, held_out):
    """Return the function that tells whether an embedded image is unfamiliar, of limits fitted to these images."""
    fitted = fit(seen, held_out)
    known = FamiliarImages(fitted.table, fitted.names, fitted.numbers())
    return lambda image: known.is_unfamiliar(image.embedding[None], image.modality)


def measure(splits):
    """Return the shares: of test by kind of image, and of each data set by a fit without it, whatever its split."""
    tell = unfamiliar(splits["train"], splits["val"])
    by_kind = defaultdict(list)
    for image in splits["test"]:
        by_kind[image.modality.value].append(tell(image))
    sets = defaultdict(list)
    for image in [image for images in splits.values() for image in images]:
        sets[image.modality, image.dataset].append(image)
    left_out = []
    for (modality, dataset), images in sorted(sets.items()):
        seen, held = (
            [one for one in splits[split] if one.modality is modality and one.dataset != dataset]
            for split in ("train", "val")
        )
        if len(images) >= FEWEST and seen and len(held) >= FEWEST:
            tell = unfamiliar(seen, held)
            left_out.append([modality.value, dataset, len(images), round(float(np.mean([tell(one) for one in images])), 3)])
    of_test = {kind: [len(told), round(float(np.mean(told)), 3)] for kind, told in sorted(by_kind.items())}
    return {"test": of_test, "left_out": left_out}


def main():
    """Measure a package and print the shares as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    given = options.parse_args()
    engine, splits = load(given.model), {}
    for split in ("train", "val", "test"):
        records = [record for record in read_records(given.data, split) if not record.dup_of_eval]
        splits[split] = [embedded(engine, record) for record in records]
    found = measure(splits)
    rows = ",\n".join(json.dumps(row) for row in found["left_out"])
    sys.stdout.write(f'{{"test": {json.dumps(found["test"])},\n"left_out": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
