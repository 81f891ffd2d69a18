"""Kill a batch at random moments, take it up again until it is done, and compare: `python -m tools.kill_batch 100`.

With `--real` the shipped model answers; without, a stub does, so that more kills fall where files are written.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.edge.dicoms import dicom

ROWS = {False: 40, True: 6}  # answered in one go by the stub, by the model
SECONDS_A_ROW = {False: 0.005, True: 0.03}  # about: when a kill has to come to find some answered and some not


def work(folder, rows):
    """Images below `folder`, one of them of three frames and one that is none: a work of `rows` rows."""
    images = folder / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for number in range(rows - 4):
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(images / f"{number}.png")
    (images / "frames.dcm").write_bytes(dicom(rng.integers(0, 255, (3, 64, 64), dtype=np.uint8)))
    (images / "letter.png").write_text("no image")
    return images


def command(images, out, real):
    module = "medrega_edge" if real else "tests.edge.stub"
    options = ["--question", "locate the liver", "--out", str(out), "--csv", str(out.with_suffix(".csv")), "--force"]
    options += [] if real else ["--threads", "1"]  # a stub is one process's own
    return [sys.executable, "-m", module, "batch", str(images), *options]


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_until_done(folder, kills, real=False, seed=0):
    """Kill `kills` times over as many runs as it takes; every finished run's bytes are held against an undisturbed one.

    Returns (kills, runs that were finished, rows that a killed run had left to the next).
    """
    images = work(folder, ROWS[real])
    whole, out = folder / "whole.jsonl", folder / "answers.jsonl"
    environment = {**os.environ, "STUB_SECONDS": str(SECONDS_A_ROW[False]), "PYTHONDONTWRITEBYTECODE": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment}
    begun = time.monotonic()
    assert subprocess.run(command(images, whole, real), check=False, **quiet).returncode == 1  # the letter failed
    seconds = time.monotonic() - begun
    wanted = {name: (folder / f"whole.{name}").read_bytes() for name in ("jsonl", "csv")}
    assert wanted["jsonl"].count(b"\n") == ROWS[real]
    answering = SECONDS_A_ROW[real] * ROWS[real]
    dice = random.Random(seed)
    done, finished, inherited = 0, 0, 0
    journal = folder / "answers.jsonl.part"
    while done < kills or journal.exists() or not finished:  # a kill can fall between the last row and the end
        process = subprocess.Popen(command(images, out, real), **quiet)
        if done < kills:
            if done % 2:  # in the midst of answers, however slowly the interpreter starts
                left = lines(journal)
                while process.poll() is None and lines(journal) <= max(1, left):  # the first is the header
                    time.sleep(0.001)
            try:
                process.wait(dice.uniform(0, answering if done % 2 else seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done += 1 if done % 2 == 0 else lines(journal) > 1  # on a slow machine it comes after the last answer
        code = process.wait()
        said = process.stderr.read().decode()
        process.stderr.close()
        assert code in (1, -9), said
        for name, bytes_ in wanted.items():
            path = folder / f"answers.{name}"
            assert not path.exists() or path.read_bytes() == bytes_, f"{path.name} is not as if undisturbed"
        if code == 1:
            finished += 1
            inherited += "already done" in said
            for path in folder.glob("answers.*"):
                path.unlink()
        strange = {p.name for p in folder.iterdir()} - {"images", "whole.jsonl", "whole.csv", "answers.jsonl.part"}
        strange = {name for name in strange if not name.startswith((".medrega-", "answers."))}
        assert not strange, strange
    return done, finished, inherited


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        kills, finished, inherited = kill_until_done(Path(place), given.kills, given.real)
    figures = {"kills": kills, "finished": finished, "taken up": inherited, "different": 0}
    sys.stdout.write(json.dumps(figures) + "\n")
