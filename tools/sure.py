"""How many free questions get an answer rather than "Not sure.", and how many of these answers are right.

python -m tools.sure --data ../shared/data --split val
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from medrega_edge.engine import load
from medrega_edge.evaluation.grading import is_exact
from medrega_edge.evaluation.records import read_records


def measure(engine, records):
    """Ask what the data ask; returns how many questions, answers and right answers there are, by group."""
    counts = Counter()
    for record in records:
        image = engine.open(record.image)
        for question in record.qa:
            answer = engine.answer(image, question.question, question.lang)
            given = {"questions": 1, "guessed_right": is_exact(answer.words, question.answer)}
            if answer.guess is None:
                given |= {"answered": 1, "right": is_exact(answer.text, question.answer)}
            for group in ("all", question.lang.value, question.type):
                counts.update({(group, what): number for what, number in given.items()})
    groups = sorted({group for group, _ in counts})
    return {group: _shares({what: counts[group, what] for _, what in counts}) for group in groups}


def _shares(counts):
    return counts | {
        "share_answered": round(counts["answered"] / counts["questions"], 4),
        "precision": round(counts["right"] / max(1, counts["answered"]), 4),
        "precision_of_all_guesses": round(counts["guessed_right"] / counts["questions"], 4),
    }


def main():
    """Measure a package and print the counts as JSON."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True, help="folder with records.jsonl")
    options.add_argument("--model", help="package; default: the one that answers")
    options.add_argument("--split", default="val")
    given = options.parse_args()
    if not (given.data / "records.jsonl").is_file():
        sys.exit("This needs a data folder with records.jsonl; name one with --data.")
    records = [record for record in read_records(given.data, given.split) if record.qa and not record.dup_of_eval]
    sys.stdout.write(json.dumps(measure(load(given.model), records), indent=1) + "\n")


if __name__ == "__main__":
    main()
