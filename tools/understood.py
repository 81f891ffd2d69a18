"""How many of some phrasings are understood: the right kind of question, and the right names.

    python -m tools.understood phrases.jsonl --prompts train/checkpoints/lite/prompts.json --misses 20

Each line: {"lang", "text", "kind", "names", "modality"}, names in English. With "generic", the names are those that the
modality can show. A name that no label has is "unknown".
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import understand
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.terminology import Terminology


def main():
    """Print the share by kind, and the misses."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("phrases", type=Path)
    options.add_argument("--prompts", type=Path, required=True)
    options.add_argument("--misses", type=int, default=0)
    given = options.parse_args()
    terminology = Terminology(PromptBook.from_json(given.prompts.read_text(encoding="utf-8")).labels)
    asked, right, misses = Counter(), Counter(), []
    for line in given.phrases.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found = understand(row["text"], terminology, Modality(row["modality"]), row.get("box", False))
        names = {english for english, _ in found.names}
        asked[row["kind"]] += 1
        named = row["kind"] in ("classify", "answer", "report", "grounded_report", "help", "impossible", "identify")
        if found.kind == row["kind"] and (named or names == set(row["names"])):
            right[row["kind"]] += 1
        else:
            misses.append(f"{row['text']} | {row['kind']} {row['names']} | {found.kind} {sorted(names)}")
    for kind in sorted(asked):
        sys.stdout.write(f"{kind:16} {right[kind]:4} of {asked[kind]:4}\n")
    sys.stdout.write(
        f"all {sum(right.values())} of {sum(asked.values())}: {sum(right.values()) / sum(asked.values()):.1%}\n"
    )
    sys.stdout.write("".join(f"{miss}\n" for miss in misses[: given.misses]))


if __name__ == "__main__":
    main()
