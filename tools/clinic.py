"""The long form of what SECURITY.md claims, one command: `python -m tools.clinic`.

Runs the nine points of the clinic's list and the walk through docs/clinic.md, writes bench/results/clinic-DATE.json, and
renews the table of figures in SECURITY.md from it. `--only 3,6` runs some points and keeps the newest result's others.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from medrega_bench.performance.environment import environment

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
SECURITY = ROOT / "SECURITY.md"
BEGIN, END = "<!-- figures: python -m tools.clinic -->", "<!-- end of figures -->"
VERSIONS = ("pydicom", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "nibabel", "highdicom")


def _fuzz_images():
    return _json("tools.fuzz_images", "--count", "20000")


def _fuzz_commands():
    return _json("tools.fuzz_commands", "--files", "500", "--lines", "500")


def _kill_batch():
    return _json("tools.kill_batch", "100")


def _kill_export():
    return _json("tools.kill_export", "100")


def _walk(wheels):
    from tools.walk import walk

    return walk(wheels)


# point -> (title, files of tests, what runs besides, what is counted: label -> functions whose cases are counted)
POINTS = {
    1: ("DICOM and NIfTI in", (
        "test_dicom_grey", "test_dicom_colour", "test_dicom_syntaxes", "test_dicom_frames", "test_dicom_places",
        "test_nifti_in", "test_images", "test_series"), {}, {
        "pictures held against values worked out by hand": (
            "test_grey_is_what_the_standard_says", "test_colour_is_what_the_standard_says", "test_presets_of_a_ct",
            "test_bits_above_those_stored_mean_nothing", "test_an_enhanced_frame_has_its_own_window_and_rescale",
            "test_what_a_frame_says_goes_before_what_all_say", "test_the_first_input_of_a_table"),
        "directions, sides and scales": (
            "test_directions_of_the_patient", "test_directions_by_letters_or_not_at_all", "test_spacing",
            "test_ultrasound_has_the_scale_of_its_regions_and_only_there", "test_each_plane_is_seen_as_radiologists_do",
            "test_how_a_volume_lies_on_disk_does_not_matter"),
    }),
    2: ("DICOM out", ("test_dicom_out",), {}, {}),
    3: ("batch, series, drop folder", ("test_batch", "test_watch"), {"kills of a batch": _kill_batch}, {}),
    4: ("offline bundle", ("test_bundle",), {}, {}),
    5: ("no contact", ("test_no_contact",), {}, {
        "commands under strace": (
            "test_no_socket_and_nothing_written_but_what_was_named", "test_every_other_command_the_same",
            "test_watching_the_same"),
    }),
    6: ("hostile input", ("test_hostile", "test_graph_guard", "test_package_tampers"), {
        "mutated files, in-process": _fuzz_images, "mutated files and odd lines, through the command": _fuzz_commands,
    }, {
        "bombs": ("test_a_bomb_is_refused_fast",),
        "altered packages": ("*test_package_tampers",),
    }),
    7: ("faults", ("test_faults", "../export/test_export_faults"), {"kills of an export": _kill_export}, {}),
    8: ("privacy", ("test_privacy",), {}, {"injected faults": ("test_a_fault_anywhere_tells_no_identifier",)}),
    9: ("text is text", ("test_untrusted_text",), {}, {}),
}  # fmt: skip


def run_point(number):
    """Run one point; returns what came of it."""
    title, files, besides, told = POINTS[number]
    begun = time.perf_counter()
    cases, tests = [], {}
    for name in files:
        found = _pytest((ROOT / "tests" / "edge" / f"{name}.py").resolve())
        cases += found
        tests[Path(name).name] = dict(Counter(case["outcome"] for case in found))
    figures = {label: _counted(cases, functions) for label, functions in told.items()}
    for case in cases:
        figures |= case["properties"]
    runs = {label: run() for label, run in besides.items()}
    failed = sum(case["outcome"] == "failed" for case in cases) + sum(_failed(found) for found in runs.values())
    skipped = sorted({case["why"] for case in cases if case["outcome"] == "skipped"})
    seconds = round(time.perf_counter() - begun)
    return {"title": title, "failed": failed, "tests": tests, "figures": figures, "runs": runs, "skipped": skipped,
            "seconds": seconds}  # fmt: skip


def _counted(cases, functions):
    """How many passed cases these functions have; `*file` are all of a file."""
    return sum(
        case["outcome"] == "passed" and (case["function"] in functions or f"*{case['file']}" in functions) for case in cases
    )


def _failed(found):
    """Failures in whatever a run told, at any depth."""
    if not isinstance(found, dict):
        return 0
    return sum(
        value if name in ("failed", "died", "different") and isinstance(value, int) else _failed(value)
        for name, value in found.items()
    )


def _pytest(path):
    """Run a file of tests whole; one entry a case."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", str(path), "-m", "", "-p", "no:cacheprovider", "--tb=short"]
        command += ["-o", "junit_family=xunit1", f"--junitxml={report}"]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        sys.stderr.write(run.stdout[-5000:] if run.returncode else "")
        if not report.exists():
            return [{"file": path.stem, "function": "", "outcome": "failed", "why": run.stdout[-500:], "properties": {}}]
        return [_case(path.stem, case) for case in ElementTree.parse(report).iter("testcase")]


def _case(file, case):
    kinds = {child.tag: child for child in case}
    outcome = "failed" if kinds.keys() & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
    properties = {one.get("name"): _number(one.get("value")) for one in case.iter("property")}
    why = kinds["skipped"].get("message", "") if outcome == "skipped" else ""
    return {"file": file, "function": case.get("name", "").partition("[")[0], "outcome": outcome, "why": why,
            "properties": properties}  # fmt: skip


def _number(text):
    return int(text) if text.isdecimal() else text


def _json(module, *arguments):
    """Run a module as a program; the last line that it prints is its result. What else it prints is said."""
    run = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, cwd=ROOT, check=False)
    *rest, last = run.stdout.splitlines() or [""]
    sys.stderr.write("".join(f"{line}\n" for line in rest))
    try:
        return json.loads(last)
    except ValueError:
        sys.stderr.write(run.stderr[-2000:])
        return {"failed": 1, "exit_code": run.returncode}


# --- the result, and the table that SECURITY.md shows of it ---


def newest():
    """The newest committed result, None where there is none."""
    return max(RESULTS.glob("clinic-*.json"), default=None)


def table(result):
    """The figures as Markdown."""
    points = result["points"]
    versions = ", ".join(f"{name} {version}" for name, version in result["environment"]["versions"].items())
    lines = [
        f"Measured {result['measured']} on one core ({result['environment']['processor']}), Python "
        f"{result['environment']['python']}, {versions}; {sum(one['seconds'] for one in points.values())} seconds in all.",
        "",
        "| | cases | failed |",
        "|---|---|---|",
    ]
    for number, point in points.items():
        passed = sum(file.get("passed", 0) for file in point["tests"].values())
        left = sum(file.get("skipped", 0) for file in point["tests"].values())
        aside = f", {left} skipped" if left else ""
        failed = point["failed"] - sum(_failed(run) for run in point["runs"].values())
        if point["tests"]:
            lines.append(f"| {number}. {point['title']} | {passed} tests{aside} | {failed} |")
        lines += [f"| {label} | {value:,} | |" for label, value in point["figures"].items()]
        lines += [f"| {label} | {_sentence(run)} | {_failed(run)} |" for label, run in point["runs"].items()]
    return "\n".join(lines)


def _sentence(found):
    """What a run told, but for its failures."""
    if "steps" in found:
        return f"{found['seconds_on_the_workstation']:.0f} seconds from the bundle to the report"
    if parts := [f"{name}: {_sentence(value)}" for name, value in found.items() if isinstance(value, dict)]:
        return "; ".join(parts)
    words = {"peak_rss_mb": "MB at most"}
    left_out = ("failed", "died", "different", "seconds")
    return ", ".join(f"{value:,} {words.get(name, name)}" for name, value in found.items() if name not in left_out)


def renewed(text, result):
    """SECURITY.md with the table of a result in its place."""
    return replaced(text, BEGIN, END, table(result))


def replaced(text, begin, end, body):
    """A document with `body` between the two marks."""
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="Points to run, for example 3,6 or walk; the newest result's others are kept.")
    parser.add_argument("--wheels", type=Path, help="A folder of all wheels for the walk, where there is no network.")
    given = parser.parse_args()
    wanted = given.only.split(",") if given.only else [*map(str, POINTS), "walk"]
    for name in wanted:
        if name == "walk":
            found = _walk(given.wheels)
            point = {"title": "the clinic page, walked", "failed": found["failed"], "tests": {}, "figures": {},
                     "runs": {"the clinic page, walked": found}, "skipped": [],
                     "seconds": round(sum(step["seconds"] for step in found["steps"]))}  # fmt: skip
        else:
            point = run_point(int(name))
        point["measured"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        point["commit"] = _commit()
        sys.stderr.write(f"{name}: {point['failed']} failed, {point['seconds']} s\n")
        failed = _keep({name: point}, fresh=not given.only and name == wanted[0])
    return 1 if failed else 0


def _keep(points, fresh):
    """Write the result with these points, and the table: beside the newest result's others, unless it begins anew."""
    if not fresh and (old := newest()):  # as it is now: other points may have been run meanwhile
        points = json.loads(old.read_text("utf-8"))["points"] | points
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    result = {
        "schema_version": 1,
        "kind": "clinic",
        "notice": "Research use only - not a medical device",
        "measured": today,
        "command": "python -m tools.clinic",
        "environment": _environment(),
        "points": {name: points[name] for name in sorted(points)},
        "failed": sum(point["failed"] for point in points.values()),
    }
    path = RESULTS / f"clinic-{today}.json"
    path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    SECURITY.write_text(renewed(SECURITY.read_text("utf-8"), result), encoding="utf-8")
    return result["failed"]


def _commit():
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False)
    return run.stdout.strip()


def _environment():
    from importlib.metadata import PackageNotFoundError, version

    found = asdict(environment())
    for name in VERSIONS:
        try:
            found["versions"][name] = version(name)
        except PackageNotFoundError:
            found["versions"][name] = "none"
    return found


if __name__ == "__main__":
    sys.exit(main())
