"""How often a class is right, by its probability: `python -m tools.class_confidence --data DATA`, on val.

From these figures comes the probability from which on a class is stated and not "perhaps" (tasks/classes.py).
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from medrega_edge.engine import load
from medrega_edge.evaluation.records import read_records
from medrega_edge.tasks.classification import Classify
from medrega_edge.vocabulary.label_sets import LABEL_SETS

MOST = 60  # images of a set


def choices(data, split):
    """Yield the probability of each chosen class, and whether it is right, where one class of a set is annotated."""
    engine, asked = load(), Counter()
    for record in read_records(data, split):
        for label_set in LABEL_SETS.values():
            right = {english for english, _ in label_set.labels} & set(record.labels)
            if record.modality not in label_set.modalities or len(right) != 1 or asked[label_set.name] == MOST:
                continue
            asked[label_set.name] += 1
            (label, *_) = engine.run(
                engine.open(record.image), Classify(label_set.name, question="which class?"), "en"
            ).labels
            yield label.confidence, label.label in right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    given = parser.parse_args()
    groups = {}
    for confidence, is_right in choices(given.data, given.split):
        groups.setdefault(min(9, int(confidence * 10)) / 10, []).append(is_right)
    figures = {
        f"from {low}": {"classes": len(one), "right": round(sum(one) / len(one), 3)} for low, one in sorted(groups.items())
    }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
