"""How many of some phrasings are understood: the right kind of question, and the right names.

    python -m tools.understood tests/phrases/held_en.jsonl

Each line: {"lang", "text", "kind", "names", "modality"}, names in English. With "generic", the names are all that the word
may mean, and some of them will do: no kidney tumour has to be looked for in a brain. A name without a label is left out.
A grade that the package has no classes for (Gleason), and a volume asked of one image, are rightly refused.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from medrega_edge.domain import Modality
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.terminology import Terminology

RIGHTLY_REFUSED = {("classify", "score"), ("measure", "outline")}  # kind, reason
WITHOUT_NAMES = {"classify", "answer", "report", "grounded_report", "help", "impossible", "identify"}


def shares(phrases, terminology):
    """Return how many phrasings of each kind there are, how many are understood, and the others as lines."""
    asked, right, misses = Counter(), Counter(), []
    for line in phrases.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found = understand(row["text"], terminology, Modality(row["modality"]), row.get("box", False))
        names = {english for english, _ in found.names}
        asked[row["kind"]] += 1
        is_right = names == set(row["names"]) or (row.get("generic") and names and names <= set(row["names"]))
        is_refused = found.kind is Kind.IMPOSSIBLE and (row["kind"], found.reason) in RIGHTLY_REFUSED
        if is_refused or (found.kind == row["kind"] and (row["kind"] in WITHOUT_NAMES or is_right)):
            right[row["kind"]] += 1
        else:
            misses.append(f"{row['text']} | {row['kind']} {row['names']} | {found.kind} {sorted(names)}")
    return asked, right, misses


def main():
    """Print the share by kind, and the misses."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("phrases", type=Path)
    options.add_argument("--prompts", type=Path, help="prompts.json; default: that of the default package")
    options.add_argument("--misses", type=int, default=0)
    given = options.parse_args()
    prompts = given.prompts.read_text(encoding="utf-8") if given.prompts else find_package().text("prompts")
    asked, right, misses = shares(given.phrases, Terminology(PromptBook.from_json(prompts).labels))
    for kind in sorted(asked):
        sys.stdout.write(f"{kind:16} {right[kind]:4} of {asked[kind]:4}\n")
    understood, count = sum(right.values()), sum(asked.values())
    sys.stdout.write(f"all {understood} of {count}: {understood / count:.1%}\n")
    sys.stdout.write("".join(f"{miss}\n" for miss in misses[: given.misses]))


if __name__ == "__main__":
    main()
