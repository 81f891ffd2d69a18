"""Ask about every file of a folder: python examples/folder_to_csv.py FOLDER answers.csv "locate the liver"

`medrega batch` does this with resuming and several processes; this is the loop for your own additions.
"""

import csv
import sys
from pathlib import Path

import medrega_edge


def main(folder: str, table: str, question: str) -> None:
    """Write one line per box, or one line for an answer without boxes and for a file that cannot be used."""
    engine = medrega_edge.load()
    with open(table, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "x1", "y1", "x2", "y2", "confidence", "text"))
        for path in sorted(Path(folder).iterdir()):
            try:
                answer = engine.ask(engine.open(path), question)
            except medrega_edge.MedregaError as error:
                writer.writerow((path.name, "", "", "", "", "", "", f"error: {error}"))
                continue
            for region in answer.regions:
                writer.writerow((path.name, region.label, *region.box, region.confidence, answer.text))
            if not answer.regions:
                writer.writerow((path.name, "", "", "", "", "", "", answer.text))


if __name__ == "__main__":
    main(*sys.argv[1:])
