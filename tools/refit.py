"""Fit the calibrations and thresholds of a package again, as `medrega export --certify` does, without a new export.

medrega bench questions --data DATA --split val --out val.jsonl
python -m tools.refit PACKAGE --certify val.jsonl --out FITTED
"""

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from medrega_edge.evaluation.questions import read_questions
from medrega_edge.package.manifest import MANIFEST, Manifest
from medrega_export.certificate import Fitted, answer, fitted


def main():
    """Write a copy of the package with fitted numbers in its manifest."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("package", type=Path)
    options.add_argument("--certify", type=Path, required=True, help="questions with truth, as for `medrega export`")
    options.add_argument("--out", type=Path, required=True, help="folder to write")
    given = options.parse_args()
    shutil.copytree(given.package, given.out)
    path = given.out / MANIFEST
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"))
    for numbers in (Fitted(), None):
        if numbers is None:
            questions = read_questions(given.certify)
            numbers = fitted(questions, answer(given.out, questions, lambda message: sys.stderr.write(f"{message}\n")))
        path.write_text(dataclasses.replace(manifest, **vars(numbers)).to_json(), encoding="utf-8")
    sys.stdout.write(f"{numbers}\n")


if __name__ == "__main__":
    main()
