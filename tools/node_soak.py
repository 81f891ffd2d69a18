"""The node over thousands of instances, with kills, network cuts and a full disk: `python -m tools.node_soak`.

Starts `medrega node run` as a process on loopback, an archive, and scanners that send an instance until it is acknowledged
or refused for good. Meanwhile the node is killed at random moments and started again, connections are cut, the archive has
no room, and the disk of the node is full. At the end each acknowledged instance must have been answered exactly once, and
nothing else; see tools/soak/checks.py. Writes the figures, and those that SECURITY.md and docs/clinic.md show where no
other file is named; exits with 1 where something is wrong.
"""

import argparse
import datetime
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from medrega_bench.performance.environment import environment
from medrega_bench.result_files import to_json_values
from tools.soak import pages
from tools.soak.checks import problems
from tools.soak.figures import figures, growth
from tools.soak.run import Plan, Soak

SHORT = {"cuts": 1, "drops": 0, "refusals": 0, "full_disks": 1}  # what fails besides in the short form, which CI runs


def soak(plan, folder):
    """Run a plan in a folder; returns its figures, with what was wrong as `problems`."""
    soak = Soak(plan, folder)
    with soak.done() as seen:
        wrong = problems(seen, soak.state)
        measured = figures(seen)
    wrong += growth(measured)
    return {"plan": asdict(plan), **measured, "problems": wrong}


def main():
    """Run, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="Of all other failures than kills only some.")
    parser.add_argument("--out", type=Path, help="The file of the result; then no page is renewed.")
    given = parser.parse_args()
    if given.short and given.out is None:
        parser.error("--short is no result to publish: name its file with --out")
    plan = Plan(given.instances, given.kills, given.seed, **(SHORT if given.short else {}))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    with tempfile.TemporaryDirectory(prefix="node-soak-") as folder:
        found = soak(plan, Path(folder))
    result = {
        "schema_version": 1,
        "kind": "node-soak",
        "measured": today,
        "command": f"python -m tools.node_soak --instances {given.instances} --kills {given.kills} --seed {given.seed}",
        "environment": to_json_values(environment()),
        **found,
    }
    out = given.out or pages.RESULTS / f"node-soak-{today}.json"
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if given.out is None:
        pages.renew(json.loads(out.read_text("utf-8")))
    sys.stdout.write(json.dumps({key: found[key] for key in ("instances", "seconds", "kills", "problems")}, indent=1) + "\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
