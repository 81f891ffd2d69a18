"""Fit the strengths of `medrega bench robust` on images of val, and write them into the program.

    python -m tools.severities --data DATA

Run it again whenever a perturbation changes.
"""

import argparse
import json
import sys
from pathlib import Path

from medrega_bench import result_files
from medrega_bench.evaluation.robustness import in_turn_by_kind
from medrega_bench.evaluation.severity_fit import EACH, fit_severities, pictures_of
from medrega_bench.perturbations import catalogue
from medrega_bench.perturbations.catalogue import FITTED, TARGETS, Severities
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.evaluation.records import read_records


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, required=True)
    data = options.parse_args().data
    kinds = in_turn_by_kind([record for record in read_records(data, "val") if record.targets])
    pictures = {kind: pictures_of(records[:EACH]) for kind, records in kinds.items()}
    fitted = Severities(
        command="python -m tools.severities --data DATA",
        seed=SEED,
        split="val",
        targets=TARGETS,
        images={kind.value: len(of_kind) for kind, of_kind in pictures.items()},
        strengths=fit_severities(pictures),
    )
    path = Path(catalogue.__file__).with_name(FITTED)
    result_files.write(path, fitted)
    for name, by_kind in fitted.strengths.items():
        for kind, three in by_kind.items():
            values = json.dumps([(each.strength, each.ssim) for each in three])
            sys.stdout.write(f"{name:<14} {kind:<12} {values}\n")


if __name__ == "__main__":
    main()
