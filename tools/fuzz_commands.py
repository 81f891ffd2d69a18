"""Damaged files and odd command lines through the real command: each has to end with a documented exit code.

    python -m tools.fuzz_commands --files 500 --lines 500

Case N is the same on every machine. Each runs in a process of its own, so that one that dies or hangs is counted and named.
"""

import argparse
import hashlib
import json
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import typer

from medrega_edge.cli import main as cli
from medrega_edge.images.samples import sample_path
from tests.edge.dicoms import dicom, row
from tools import forked
from tools.fuzz_images import mutated, print_line

EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 130, 143}  # all documented ones but 70, a fault of the program
WATCH_SECONDS = 0.8  # after which a `watch` is interrupted
LOCATE = "locate the liver"


def file_outcome(case):
    """Outcome of one mutated file: asked about, in a folder that is asked about, or in a batch."""
    data, rng = mutated(case)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "in"
        folder.mkdir()
        (folder / "scan").write_bytes(data)
        arguments, codes = rng.choice(
            (
                (["ask", "in/scan", LOCATE], {0, 3, 6}),
                (["ask", "in/scan", "请定位肝脏", "--frame", "0", "--json", "--save", "a.png"], {0, 3, 6}),
                (["ask", "in/scan", LOCATE, "--window", "lung", "--dicom", "sr,gsps,sc", "--dicom-to", "."], {0, 2, 3, 6}),
                (["ask", "in", LOCATE, "--slice", "0"], {0, 3, 6}),
                (["batch", "in", "--question", LOCATE, "--out", "a.jsonl", "--csv", "a.csv"], {0, 1, 2}),
            )
        )
        ended = forked.run(arguments, parent)
        unchanged = (folder / "scan").read_bytes() == data and [path.name for path in folder.iterdir()] == ["scan"]
        new_files = {path.name for path in Path(parent).iterdir()} - {"in"}
    return _judged(ended, codes, unchanged, new_files)


def _judged(ended, codes, unchanged, new_files=frozenset()):
    """Outcome of a command: "read", "refused", or "FAILED" and why."""
    errors = [line for line in ended.err.splitlines() if line.startswith(("error: ", "Error: ", "错误："))]
    why = []
    if ended.code not in codes:
        why.append(f"exit {ended.code}")
    if "Traceback" in ended.err + ended.out:
        why.append("a traceback")
    is_help = "Usage: " in ended.err + ended.out and not errors  # of a line without a command
    has_findings = re.search(r"^(?:FAULT: |故障：)", ended.out, re.MULTILINE)  # of `doctor`, which goes on after one
    if ended.code in codes - {0, 1, 5, 130, 143} and len(errors) != 1 and not is_help and not has_findings:
        why.append(f"{len(errors)} error messages")
    if not unchanged:
        why.append("an input was changed")
    if partial := {name for name in new_files if name.startswith(".medrega-") or name.endswith(".tmp")}:
        why.append(f"partial files: {partial}")
    if why:
        return f"FAILED: {', '.join(why)}: {ended.err[-400:]!r}"
    return "refused" if ended.code else "read"


WORDS = (
    *("", " "),
    *"- -- -1 0 1 2 7 1e999 nan inf".split(),
    "9" * 30,
    *"0x10 1_000 ٣ ½ true None 肝脏 请定位肝脏".split(),
    LOCATE,
    *("liver", "💥", "\udcff", "\x1b[31m", "a\u202eb", "=cmd()", "<|im_end|>", "a" * 5000, "%s", "{0}"),
    *"1,2,3,4 4,4,40,40 4,4,4,4 -5,-5,1e9,1e9 1,2,3 ,,, lung 40,400 0,0 axial oblique en zh".split(),
    *"fr detect vqa report classify sr,gsps,sc sr pdf cpu cuda abdomen-mri skin a,b a,a".split(),
)
PATHS = (
    *"scan.dcm picture.png letter.txt q.jsonl broken.jsonl in empty empty.png link.png nowhere/x.png".split(),
    *"out.png out.jsonl out.csv out . .. / /dev/null /dev/zero /proc/self/mem pipe".split(),
    *("x" * 300, "out.zip", "扫描.png", "\udcff.png", "-scan.png"),
)
# Share of these commands that is run: they are slow, or wait until they are stopped, and are tested elsewhere.
RARE = {"watch": 0.03, "bundle": 0.05, "serve": 0.0, "view": 0.0}


def prepared(folder):
    """The files that odd lines may name."""
    folder.mkdir()
    (folder / "scan.dcm").write_bytes(sample_path("abdomen-mri").read_bytes())
    (folder / "in").mkdir()
    for number in range(2):
        (folder / "in" / f"{number}.dcm").write_bytes(dicom(row([0, 9, 50 + number], "u2")))
    (folder / "picture.png").write_bytes(mutated_seed_png())
    (folder / "letter.txt").write_text("no image")
    line = {"id": 1, "image": "picture.png", "question": LOCATE}
    (folder / "q.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "broken.jsonl").write_text("{\n[]\n" + json.dumps(line | {"box": "all"}) + "\n")
    (folder / "empty").mkdir()
    (folder / "empty.png").touch()
    (folder / "link.png").symlink_to("picture.png")
    os.mkfifo(folder / "pipe")


def mutated_seed_png():
    from tools.fuzz_images import seeds

    return seeds()[2]


def _commands():
    """Every command of the runtime: its words and its parameters."""
    root = typer.main.get_command(cli.app)
    commands = []
    for name, command in root.commands.items():
        below = getattr(command, "commands", None) or {}
        commands += [((name, sub_name), sub.params) for sub_name, sub in below.items()] or [((name,), command.params)]
    return sorted((words, params) for words, params in commands if words[0] not in ("train", "export", "bench"))


def line(case):
    """One odd command line: a command with some of its arguments and options, and values that may not fit them."""
    rng = random.Random(case)
    words, params = rng.choice(_commands())
    while rng.random() > RARE.get(words[0], 1.0):
        words, params = rng.choice(_commands())
    if rng.random() < 0.05:
        return [rng.choice(WORDS + PATHS) for _ in range(rng.randrange(4))]

    def value():
        return rng.choice(rng.choice((WORDS, PATHS)))

    arguments = list(words)
    for param in params:
        if param.param_type_name == "argument":
            fitting = rng.choice(("scan.dcm", "picture.png", "in", "q.jsonl")) if param.name in _IMAGES else LOCATE
            if rng.random() < 0.95:
                arguments.append(fitting if rng.random() < 0.7 else value())
        elif param.name in ("out", "question", "box", "wheels") or rng.random() < 0.12:
            fitting = {"out": "out.jsonl", "question": LOCATE, "box": "4,4,40,40", "wheels": "in"}.get(param.name)
            arguments.append(rng.choice(param.opts))
            if not getattr(param, "is_flag", False):
                arguments.append(fitting if fitting and rng.random() < 0.7 else value())
    if rng.random() < 0.1:
        arguments.insert(rng.randrange(len(arguments) + 1), rng.choice(("--no-such", "-x", value(), "--json", "--help")))
    return arguments


_IMAGES = ("image", "image_or_question", "image_or_name", "source", "folder", "bundle")


def line_outcome(case):
    """Outcome of one odd command line."""
    arguments = [word for word in line(case) if "\0" not in word]
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "here"
        prepared(folder)
        before = _contents(folder)
        watch_seconds = WATCH_SECONDS if "watch" in arguments[:1] else None
        ended = forked.run(arguments, folder, b"liver\n\xff\x1b[2J\n\n", watch_seconds, confine=_in_four_gigabytes)
        after = _contents(folder)
        outputs = {arguments[at + 1] for at, word in enumerate(arguments[:-1]) if word in ("--out", "--csv", "--save")}
        unchanged = all(after.get(name) == digest for name, digest in before.items() if name not in outputs)
        outcome = _judged(ended, EXIT_CODES, unchanged, after.keys() - before.keys())
    return f"{outcome} {arguments!r:.600}" if outcome.startswith("FAILED") else outcome


def _in_four_gigabytes():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def _contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fuzz(outcome_of, count, first=0):
    """Run `count` cases; return how many had each outcome."""
    counts = {"cases": count, "read": 0, "refused": 0, "failed": 0}
    begun = time.perf_counter()
    for case in range(first, first + count):
        outcome = outcome_of(case)
        counts["failed" if outcome.startswith("FAILED") else outcome] += 1
        if outcome.startswith("FAILED"):
            print_line(f"case {case}: {outcome}")
    return counts | {"seconds": round(time.perf_counter() - begun)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    forked.share_engine()
    counts = {
        "files": fuzz(file_outcome, options.files, options.first),
        "lines": fuzz(line_outcome, options.lines, options.first),
    }
    print_line(json.dumps(counts))
    return 1 if any(each["failed"] for each in counts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
