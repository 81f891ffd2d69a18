"""Kill an export at random moments, run it again until it is done, and compare.

    python -m tools.kill_export 100

The checkpoint has random weights and the smallest shape. Each export is forked off a process that has loaded its modules,
so that kills fall into its work. After each kill the target is absent or whole. A finished package has the same files, byte
for byte, as that of an undisturbed export.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

for name, value in {"GPTQMODEL_CPU_WORKERS": "2", "GPTQMODEL_DISABLE_PACK_EXT": "1", "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(name, value)

from medrega_edge.errors import UsageError
from medrega_edge.package.package import Package
from tests.export.conftest import write_checkpoint, write_questions
from tools import forked

LIMIT = 300.0  # seconds of one export


def hashes_of(package):
    """The hash of each file of a package."""
    Package.open(package).verify()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(package.iterdir())}


def kill_until_done(folder, kills, bits="4", seed=0):
    """Kill `kills` times over as many exports as that takes; returns the counts."""
    checkpoint, questions = write_checkpoint(folder / "checkpoint"), write_questions(folder)
    out = folder / "package"
    arguments = ["export", checkpoint, "--out", out, "--bits", bits, "--calibration", questions]
    for _ in range(2):  # the first fetches libraries from the disk
        shutil.rmtree(out, ignore_errors=True)
        begun = time.monotonic()
        whole = forked.run(arguments, folder, hangs_after=LIMIT)
        seconds = time.monotonic() - begun
        assert whole.code == 0, whole.err
    wanted, before = hashes_of(out), {path.name for path in folder.iterdir()}
    shutil.rmtree(out)
    dice = random.Random(seed)
    done, finished, resumed, different = 0, 0, 0, 0
    while done < kills or not out.exists():
        moment = dice.uniform(0, seconds) if done < kills else None
        has_work = any(folder.glob(".package.*.work"))
        ended = forked.run(arguments, folder, after=moment, number=signal.SIGKILL, hangs_after=LIMIT)
        assert ended.code in (0, -signal.SIGKILL), ended.err
        done += ended.code != 0
        if out.exists():  # whole, also where the kill came between its taking its name and the end
            different += hashes_of(out) != wanted
            finished += 1
            resumed += has_work
            if ended.code:
                tidied = forked.run(arguments, folder, hangs_after=LIMIT)
                assert tidied.code in (0, UsageError.exit_code), tidied.err  # it moves the rest, or finds the target there
            if done < kills:
                shutil.rmtree(out)
        strange = {path.name for path in folder.iterdir() if not path.name.startswith(".package.")} - before
        assert not strange, strange
    left = [path.name for path in folder.iterdir() if path.name.startswith(".package.")]
    assert not left, left
    return {"kills": done, "finished": finished, "taken up": resumed, "different": different}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int)
    parser.add_argument("--bits", default="4")
    arguments = parser.parse_args()
    import medrega_export.pipeline  # noqa: F401 - loaded once for all; gptqmodel starts threads, and they would not be forked

    with tempfile.TemporaryDirectory() as place:
        sys.stdout.write(json.dumps(kill_until_done(Path(place), arguments.kills, arguments.bits)) + "\n")
