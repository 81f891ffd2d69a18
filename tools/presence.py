"""How often a package draws a box for a name that an image cannot show, and denies a name that it certainly shows.

    python -m tools.presence --data ../shared/data --each 6

Impossible are the names that no image of the modality can show. Certain are the annotated names, however many boxes they
have, and the wholes of annotated parts: the heart around a ventricle, the vertebrae of a spine.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from medrega_edge.engine import load
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import read_records
from medrega_edge.prompts.templates import PromptBook
from medrega_train.label_modalities import modalities_of_labels
from medrega_train.records import implied, split_of


def measure(engine, pairs):
    """Ask for each name in its image; returns how many names there are, and how many got a box, by modality and name."""
    counts = Counter()
    image, opened = None, None
    for record, name in pairs:
        if record.image != image:
            image, opened = record.image, engine.open(record.image)
        has_box = bool(engine.detect(opened, [name], "en").regions)
        for group in ("all", record.modality.value, name):
            counts.update({(group, "names"): 1, (group, "boxes"): has_box})
    groups = sorted({group for group, _ in counts})
    return {group: {what: counts[group, what] for what in ("names", "boxes")} for group in groups}


def main():
    """Measure a package and print the counts as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="test")
    options.add_argument("--batch", type=int, help="only images of this delivery of the data")
    options.add_argument("--each", type=int, default=6, help="impossible names of each image, spread over all of them")
    given = options.parse_args()
    records = list(read_records(given.data))
    engine = load(given.model)
    known = {name for name, _ in PromptBook.from_json(engine.package.text("prompts")).labels}
    table = modalities_of_labels(split_of(records, "train"))
    impossible, certain = [], []
    chosen = (record for record in records if record.split == given.split and not record.dup_of_eval)
    for number, record in enumerate(one for one in chosen if given.batch in (None, one.batch or 1)):
        foreign = [name for name, found in sorted(table.items()) if name in known and record.modality not in found]
        turn = number % len(foreign) if foreign else 0  # other names in each image
        impossible += [(record, name) for name in spread(foreign[turn:] + foreign[:turn], given.each)]
        shown = {region.label_en for region in record.targets}
        certain += [(record, name) for name in sorted((shown | implied(record, shown)) & known)]
    found = {"impossible": measure(engine, impossible), "certain": measure(engine, certain)}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
