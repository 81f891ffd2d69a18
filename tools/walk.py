"""The clinic page as a new user walks it, timed: `python -m tools.walk [--wheels FOLDER]`.

Everything that docs/clinic.md types is read from it and typed here as it stands. Without a folder of wheels they are
built and fetched first, as the page says, which needs a network; from then on each command runs in a namespace that has
none. A scan goes in, a structured report comes out, and dciodvfy reads it.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.fuzz_images import print_line

ROOT = Path(__file__).parents[1]
LIMIT = 300  # seconds, from the bundle to the report
NEEDED = ("unshare", "dciodvfy")


def blocks():
    """The commands of the page's first blocks: those that fill the folder of wheels, those that install, those that ask."""
    found = re.findall(r"```\n(.*?)```", (ROOT / "docs" / "clinic.md").read_text("utf-8"), re.DOTALL)
    return [[line.partition("  #")[0].strip() for line in block.splitlines() if line.strip()] for block in found[:3]]


def walk(wheels=None):
    """Walk in a new folder; returns the seconds of each step. Raises where a command fails or the report has errors."""
    packing, installing, asking = blocks()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        here = folder / "medrega"  # the repository, as the page's first command is typed in it
        shutil.copytree(ROOT, here, ignore=shutil.ignore_patterns(".git", ".*", "checkpoints", "runs"))
        steps = []
        with_tools = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for line in packing:
            if wheels is None or line.startswith("medrega"):
                steps.append(_typed(line, here, with_tools))
            elif not (here / "wheels").exists():
                shutil.copytree(wheels, here / "wheels")
        prepared = sum(seconds for _, seconds in steps)
        desk = folder / "desk"
        desk.mkdir()
        shutil.move(here / "medrega-bundle.zip", desk)
        shutil.rmtree(here)
        from medrega_edge.images.samples import sample_path

        shutil.copy(sample_path("abdomen-mri"), desk / "scan.dcm")
        bare = {"PATH": f"{desk}/venv/bin:/usr/local/bin:/usr/bin:/bin", "HOME": str(desk)}
        venv = f"{sys.executable} -m venv venv"  # `python3` of the workstation is this Python, in an environment of its own
        for line in (venv, *installing, *asking):
            steps.append(_typed(line, desk, bare, before=("unshare", "-rn")))
        made = sorted(path.name for path in desk.rglob("medrega-*.dcm"))
        faults = []
        for path in desk.rglob("medrega-*.dcm"):
            run = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
            faults += [one for one in (run.stdout + run.stderr).splitlines() if one.startswith("Error")]
    assert "medrega-sr.dcm" in made, made
    assert not faults, faults
    told = [{"typed": line, "seconds": round(seconds, 1)} for line, seconds in steps]
    at_the_desk = round(sum(seconds for _, seconds in steps) - prepared, 1)
    return {"steps": told, "seconds_on_the_workstation": at_the_desk, "objects": made, "errors": len(faults),
            "failed": int(at_the_desk > LIMIT)}  # fmt: skip


def _typed(line, folder, variables, before=()):
    begun = time.perf_counter()
    run = subprocess.run([*before, "sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False,
                         env=_without_python() | variables)  # fmt: skip
    assert run.returncode == 0, f"{line}\n{run.stdout}\n{run.stderr}"
    return line, time.perf_counter() - begun


def _without_python():
    """This environment, but for what would lead another Python back into it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="A folder of all wheels, where there is no network.")
    print_line(json.dumps(walk(parser.parse_args().wheels), indent=1))
