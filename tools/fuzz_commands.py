"""Damaged files and odd command lines through the real command: nothing may come of them but a documented exit code.

    python -m tools.fuzz_commands --files 500 --lines 500

Case N is the same on every machine. Each is a process of its own, so that one which dies or hangs is counted and named.
"""

import argparse
import hashlib
import json
import os
import random
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
from tools.fuzz_images import mutated, say

DOCUMENTED = {0, 1, 2, 3, 4, 5, 6, 130, 143}  # 70, a fault of ours, is documented too: and here a failure
WATCHED = 0.8  # seconds after which a `watch` is interrupted
LOCATE = "locate the liver"


def file_outcome(case):
    """What came of one mutated file when a person asks about it, about a folder that holds it, or in a batch."""
    data, dice = mutated(case)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        folder.mkdir()
        (folder / "scan").write_bytes(data)
        arguments, codes = dice.choice(
            (
                (["ask", "in/scan", LOCATE], {0, 3, 6}),
                (["ask", "in/scan", "请定位肝脏", "--frame", "0", "--json", "--save", "a.png"], {0, 3, 6}),
                (["ask", "in/scan", LOCATE, "--window", "lung", "--dicom", "sr,gsps,sc", "--dicom-to", "."], {0, 2, 3, 6}),
                (["ask", "in", LOCATE, "--slice", "0"], {0, 3, 6}),
                (["batch", "in", "--question", LOCATE, "--out", "a.jsonl", "--csv", "a.csv"], {0, 1, 2}),
            )
        )
        ended = forked.run(arguments, place)
        kept = (folder / "scan").read_bytes() == data and [one.name for one in folder.iterdir()] == ["scan"]
        left = {one.name for one in Path(place).iterdir()} - {"in"}
    return _judged(ended, codes, kept, left)


def _judged(ended, codes, kept, left=frozenset()):
    """What a command came to: "read", "refused", or "FAILED" and why."""
    errors = [line for line in ended.err.splitlines() if line.startswith(("error: ", "Error: ", "错误："))]
    why = []
    if ended.code not in codes:
        why.append(f"exit {ended.code}")
    if "Traceback" in ended.err + ended.out:
        why.append("a traceback")
    is_help = "Usage: " in ended.err + ended.out and not errors  # what is typed without a command gets the help
    if ended.code in codes - {0, 1, 5, 130, 143} and len(errors) != 1 and not is_help:
        why.append(f"{len(errors)} errors told")
    if not kept:
        why.append("what it read was changed")
    if half := {name for name in left if name.startswith(".medrega-") or name.endswith(".tmp")}:
        why.append(f"half a file: {half}")
    if why:
        return f"FAILED: {', '.join(why)}: {ended.err[-400:]!r}"
    return "refused" if ended.code else "read"


# --- odd command lines ---

WORDS = (
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "1",
        "2",
        "7",
        "1e999",
        "nan",
        "inf",
        "9" * 30,
        "0x10",
        "1_000",
        "٣",
        "½",
        "true",
        "None",
    ),
    *(
        "肝脏",
        "请定位肝脏",
        LOCATE,
        "liver",
        "💥",
        "\udcff",
        "\x1b[31m",
        "a\u202eb",
        "=cmd()",
        "<|im_end|>",
        "a" * 5000,
        "%s",
        "{0}",
    ),
    *(
        "1,2,3,4",
        "4,4,40,40",
        "4,4,4,4",
        "-5,-5,1e9,1e9",
        "1,2,3",
        ",,,",
        "lung",
        "40,400",
        "0,0",
        "axial",
        "oblique",
        "en",
        "zh",
    ),
    *(
        "fr",
        "detect",
        "vqa",
        "report",
        "classify",
        "sr,gsps,sc",
        "sr",
        "pdf",
        "cpu",
        "cuda",
        "abdomen-mri",
        "skin",
        "a,b",
        "a,a",
    ),
)
PLACES = (
    *(
        "scan.dcm",
        "picture.png",
        "letter.txt",
        "q.jsonl",
        "broken.jsonl",
        "in",
        "empty",
        "empty.png",
        "link.png",
        "nowhere/x.png",
    ),
    *(
        "out.png",
        "out.jsonl",
        "out.csv",
        "out",
        ".",
        "..",
        "/",
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "pipe",
        "x" * 300,
    ),
    *("out.zip", "扫描.png", "\udcff.png", "-scan.png"),
)
SHORT = {"watch": 0.03, "bundle": 0.05}  # of the lines: what takes long, or is tested whole elsewhere


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
    """Every command of the runtime: its words, and its parameters as typer has them."""
    root = typer.main.get_command(cli.app)
    found = []
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found += [((name, one), two.params) for one, two in inner.items()] if inner else [((name,), command.params)]
    return sorted((words, params) for words, params in found if words[0] not in ("train", "export", "bench"))


def line(case):
    """One odd command line: a command with some of its arguments and options, each with a value that may not fit it."""
    dice = random.Random(case)
    words, params = dice.choice(_commands())
    while dice.random() > SHORT.get(words[0], 1.0):
        words, params = dice.choice(_commands())
    if dice.random() < 0.05:
        return [dice.choice(WORDS + PLACES) for _ in range(dice.randrange(4))]

    def value():
        return dice.choice(dice.choice((WORDS, PLACES)))

    arguments = list(words)
    for param in params:
        if param.param_type_name == "argument":
            fitting = dice.choice(("scan.dcm", "picture.png", "in", "q.jsonl")) if param.name in _IMAGES else LOCATE
            if dice.random() < 0.95:
                arguments.append(fitting if dice.random() < 0.7 else value())
        elif param.name in ("out", "question", "box", "wheels") or dice.random() < 0.12:
            fitting = {"out": "out.jsonl", "question": LOCATE, "box": "4,4,40,40", "wheels": "in"}.get(param.name)
            arguments.append(dice.choice(param.opts))
            if not getattr(param, "is_flag", False):
                arguments.append(fitting if fitting and dice.random() < 0.7 else value())
    if dice.random() < 0.1:
        arguments.insert(dice.randrange(len(arguments) + 1), dice.choice(("--no-such", "-x", value(), "--json", "--help")))
    return arguments


_IMAGES = ("image", "image_or_question", "image_or_name", "source", "folder", "bundle")


def line_outcome(case):
    """What came of one odd command line."""
    arguments = [word for word in line(case) if "\0" not in word]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "here"
        prepared(folder)
        before = _contents(folder)
        watched = WATCHED if "watch" in arguments[:1] else None
        ended = forked.run(arguments, folder, b"liver\n\xff\x1b[2J\n\n", watched, confine=_in_four_gigabytes)
        after = _contents(folder)
        meant = {arguments[at + 1] for at, word in enumerate(arguments[:-1]) if word in ("--out", "--csv", "--save")}
        kept = all(after.get(name) == hashed for name, hashed in before.items() if name not in meant)
        said = _judged(ended, DOCUMENTED, kept, after.keys() - before.keys())
    return f"{said} {arguments!r:.600}" if said.startswith("FAILED") else said


def _in_four_gigabytes():
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))


def _contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fuzz(told, count, first=0):
    """Run `count` cases; returns what came of them."""
    counts = {"cases": count, "read": 0, "refused": 0, "failed": 0}
    begun = time.perf_counter()
    for case in range(first, first + count):
        said = told(case)
        counts["failed" if said.startswith("FAILED") else said] += 1
        if said.startswith("FAILED"):
            say(f"case {case}: {said}")
    return counts | {"seconds": round(time.perf_counter() - begun)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--lines", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    forked.share_engine()
    found = {"files": fuzz(file_outcome, given.files, given.first), "lines": fuzz(line_outcome, given.lines, given.first)}
    say(json.dumps(found))
    return 1 if any(counts["failed"] for counts in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
