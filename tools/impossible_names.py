"""How often a package draws a box for a name that no image of this kind can show, without and with its table of names.

    python -m tools.impossible_names --data ../shared/data --each 6

The table is that of training on the same data. A temporary copy of the package gets it.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from medrega_edge.engine import load
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import read_records
from medrega_edge.package.manifest import MANIFEST, file_entry
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.templates import PROMPTS, PromptBook
from medrega_train.label_modalities import modalities_of_labels
from medrega_train.records import split_of


def with_table(package, table, folder):
    """Copy a package into `folder`, with `table` in its prompts."""
    shutil.copytree(package.folder, folder)
    prompts = folder / PROMPTS
    book = replace(PromptBook.from_json(package.text("prompts")), label_modalities=table)
    prompts.write_text(book.to_json(), encoding="utf-8")
    files = package.manifest.files | {"prompts": file_entry(prompts, "text")}
    (folder / MANIFEST).write_text(replace(package.manifest, files=files).to_json(), encoding="utf-8")
    return Package.open(folder)


def measure(engine, pairs):
    """Ask for each name in its image; returns how many there are, with a box, and refused unasked, by modality."""
    counts = Counter()
    image, opened = None, None
    for record, name in pairs:
        if record.image != image:
            image, opened = record.image, engine.open(record.image)
        answer = engine.detect(opened, [name], "en")
        refused = any(warning.code == "task.impossible_name" for warning in answer.warnings)
        for group in (record.modality.value, "all"):
            counts.update({(group, "names"): 1, (group, "boxes"): bool(answer.regions), (group, "refused"): refused})
    groups = sorted({group for group, _ in counts})
    return {group: {what: counts[group, what] for what in ("names", "boxes", "refused")} for group in groups}


def main():
    """Measure both packages and print the counts as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="test")
    options.add_argument("--each", type=int, default=6, help="names of each image, spread over all that are impossible")
    options.add_argument("--names", type=lambda text: text.split(","), help="only these; default: every name of the package")
    given = options.parse_args()
    records = list(read_records(given.data))
    package = find_package(given.model)
    known = set(given.names or (name for name, _ in PromptBook.from_json(package.text("prompts")).labels))
    modalities = modalities_of_labels(split_of(records, "train"))
    table = {name: [each.value for each in found] for name, found in modalities.items() if name in known}
    pairs = []
    for number, record in enumerate(one for one in records if one.split == given.split and not one.dup_of_eval):
        impossible = [name for name, found in sorted(table.items()) if record.modality.value not in found]
        turn = number % len(impossible) if impossible else 0  # other names in each image
        pairs += [(record, name) for name in spread(impossible[turn:] + impossible[:turn], given.each)]
    with tempfile.TemporaryDirectory() as folder:
        copy = with_table(package, table, Path(folder) / "package")
        counts = {"without": measure(load(package.folder), pairs), "with": measure(load(copy.folder), pairs)}
    sys.stdout.write(json.dumps(counts, indent=1) + "\n")


if __name__ == "__main__":
    main()
