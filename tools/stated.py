"""How often what the package says to be in an image, without a "perhaps", is annotated there.

    python -m tools.stated --data DATA

Every image of a split is searched for all names that its kind and body part can show. Of structures, most data sets annotate
only a few.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from medrega_edge.domain import Language
from medrega_edge.engine import load
from medrega_edge.evaluation.records import read_records
from medrega_edge.tasks.organs import expected
from medrega_edge.tasks.presence import look_for
from medrega_edge.vocabulary.label_kinds import is_finding


def measure(engine, records):
    """Return the numbers of names stated, annotated, and both, of findings and of structures."""
    counts = {"findings": Counter(), "structures": Counter()}
    for record in records:
        context = engine.context(engine.open(record.image), Language.EN)
        annotated = {region.label_en for region in record.targets}
        candidates = set(expected(context)) | {n for n in context.terminology.labels if n[0] in annotated}
        for name in sorted(candidates):
            is_stated, is_annotated = look_for(context, name).is_found, name[0] in annotated
            group = counts["findings" if is_finding(name[0]) else "structures"]
            group.update(stated=is_stated, annotated=is_annotated, both=is_stated and is_annotated)
    return {group: dict(count) for group, count in counts.items()}


def main():
    """Measure a package and print the counts as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="test")
    given = options.parse_args()
    records = [record for record in read_records(given.data, given.split) if not record.dup_of_eval]
    sys.stdout.write(json.dumps(measure(load(given.model), records), indent=1) + "\n")


if __name__ == "__main__":
    main()
