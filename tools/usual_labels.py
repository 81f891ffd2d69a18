"""Write the names that each kind of image shows in the training data, those with the most boxes first.

python -m tools.usual_labels DATA    (a folder with records.jsonl)
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import read_records
from tools.compile_catalogues import ROOT

TARGET = ROOT / "medrega_edge" / "vocabulary" / "usual_labels.json"
FEWEST = 3  # images of one kind: fewer are an exception


def names_by_use(records):
    """Return English names by modality, the most frequent first."""
    boxes, images = defaultdict(Counter), defaultdict(Counter)
    for record in records:
        for region in record.targets:
            boxes[record.modality][region.label_en] += len(region.boxes)
            images[record.modality][region.label_en] += 1
    return {
        modality.value: [name for name, _ in boxes[modality].most_common() if images[modality][name] >= FEWEST]
        for modality in Modality
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    table = names_by_use(read_records(parser.parse_args().data, "train"))
    rows = [f" {json.dumps(modality)}: {json.dumps(names)}" for modality, names in table.items()]
    TARGET.write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")
