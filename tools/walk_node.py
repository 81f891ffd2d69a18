"""docs/node.md from an empty machine to the first report in Orthanc, timed: `python -m tools.walk_node [--installed]`.

Everything that the page types up to its second heading is read from it and typed here in one shell, but for the ports, which
are free ones. `--installed` leaves out the first block, which installs, and takes the program that runs this.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tools.fuzz_images import print_line
from tools.orthanc import free_port, missing

ROOT = Path(__file__).parents[1]
LIMIT = 600  # seconds, from the first command to the answers
PORTS = ("4343", "8043", "11112")  # of the page: archive, its web service, node
MARK = "@@ "  # before the time at which a block is done
# What a reader does between two blocks without noticing: wait until a program listens.
LISTENS = "until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2> /dev/null; do sleep 0.1; done"
SEEN = "for n in $(seq 600); do {line} | tee seen | grep -q '\"SR\"' && break; sleep 0.2; done; cat seen"


def blocks():
    """The blocks that the page types on its way, the first of which installs."""
    page = (ROOT / "docs" / "node.md").read_text("utf-8")
    way = page.split("\n## ")[1]
    return re.findall(r"```\n(.*?)```", way, re.DOTALL)


def script(installed):
    """The blocks as one script, that tells when each is done."""
    typed = blocks()[1:] if installed else blocks()
    ports = {port: str(free_port()) for port in PORTS}
    lines = ["set -eu"]
    for block in typed:
        if os.getuid() == 0:
            block = block.replace("sudo ", "")
        for line in block.splitlines():
            lines.append(SEEN.format(line=line) if line.startswith("curl") else line)
        if "/Orthanc " in block:
            lines.append(LISTENS.format(port=PORTS[1]))
        if "node run" in block:
            lines.append(LISTENS.format(port=PORTS[2]))
        lines.append(f'echo "{MARK}$(date +%s.%N)"')
    lines += ["kill %1 %2", "wait || true"]
    text = "\n".join(lines)
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: ports[found[0]], text), typed


def walk(folder, installed=False):
    """Walk in a new folder; returns the seconds of each block. Raises AssertionError where a command fails."""
    here = folder / "medrega"
    if installed:
        here.mkdir()
        (folder / "bin").mkdir()
        command = folder / "bin" / "medrega"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m medrega_edge "$@"\n', encoding="utf-8")
        command.chmod(0o755)
        path = [str(folder / "bin"), str(Path(sys.executable).parent)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    else:
        shutil.copytree(ROOT, here, ignore=shutil.ignore_patterns(".git", ".*", "checkpoints", "runs"))
        path = []
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = os.pathsep.join([*path, "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"])
    text, typed = script(installed)
    begun = time.time()
    process = subprocess.Popen(
        ["bash", "-c", text], cwd=here, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=2 * LIMIT)
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what the page started, if something failed on the way
        except ProcessLookupError:
            pass
    assert process.returncode == 0, said[-6000:]
    ends = [float(line.removeprefix(MARK)) for line in said.splitlines() if line.startswith(MARK)]
    seconds = [round(end - start, 1) for start, end in zip([begun, *ends], ends, strict=False)]
    steps = [{"typed": block.splitlines()[-1], "seconds": took} for block, took in zip(typed, seconds, strict=True)]
    rows = (here / "trial" / "answers.jsonl").read_text("utf-8").splitlines()
    reports = (here / "seen").read_text("utf-8").count('"SR"')
    total = round(ends[-1] - begun, 1)
    return {"steps": steps, "seconds": total, "reports": reports, "rows": len(rows), "failed": int(total > LIMIT)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--installed", action="store_true", help="Leave out what installs.")
    given = parser.parse_args()
    if given.installed and (problem := missing()):
        raise SystemExit(problem)
    with tempfile.TemporaryDirectory() as place:
        print_line(json.dumps(walk(Path(place), given.installed), indent=1))
