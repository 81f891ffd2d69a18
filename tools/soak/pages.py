"""What SECURITY.md and docs/clinic.md show of the newest soak."""

import json
from pathlib import Path

from tools.clinic import replaced

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
BEGIN, END = "<!-- soak: python -m tools.node_soak -->", "<!-- end of soak -->"
WORDS = {
    "kill": "SIGKILL of the node",
    "kill at start": "SIGKILL of the node, and again while it starts",
    "killed on a full disk": "SIGKILL of the node on a full disk",
    "cut sender": "every connection of the scanners ended, and none possible for some seconds",
    "cut archive": "every connection to the archive ended, and none possible for some seconds",
    "drop sender": "for some seconds each connection of the scanners ended at a random byte",
    "drop archive": "for some seconds each connection to the archive ended at a random byte",
    "archive full": "the archive without room for some seconds",
    "disk full": "the disk of the node full for some seconds",
}


def newest():
    """The newest committed result as JSON, None where there is none."""
    path = max(RESULTS.glob("node-soak-*.json"), default=None)
    return None if path is None else json.loads(path.read_text("utf-8"))


def table(result):
    """The figures as Markdown, for SECURITY.md."""
    recovery, life = result["recovery_seconds"], result["memory"]["longest_life"]
    machine, disk = result["environment"], result["full_disk"]
    rows = [
        ("instances sent", f"{result['instances']:,} in {result['studies']:,} studies"),
        ("acknowledged; refused, as they lack a UID", f"{result['acknowledged']:,}; {result['refused']:,}"),
        ("answered; without a rule; dead letters, as their pixels are cut", _fates(result)),
        ("sent again with the same pixels; with others, and refused", f"{result['known']:,}; {result['conflicts']:,}"),
        ("results at the archive; of these sent a second time, under the same UID", _results(result)),
        *((words, str(result["happened"][name])) for name, words in WORDS.items() if name in result["happened"]),
        ("starts that ended with an error, on a full disk", str(sum(result["starts_that_failed"].values()))),
        ("connections ended in their midst", f"{result['connections_ended_in_their_midst']:,}"),
        ("instances a minute, all failures included", f"{result['instances_per_minute']:.0f}"),
        ("seconds from a kill until the node listens", _spread(recovery["until_it_listens"])),
        ("seconds from a kill until it acknowledges the next instance", _spread(recovery["until_it_acknowledges"])),
        ("seconds from a kill until the archive has the next result", _spread(recovery["until_it_has_answered"])),
        ("resident memory in one life of the node, MB, each 500 answers", _memory(result)),
        (
            "its slope over the second half of that life, MB for 1,000 instances",
            f"{life['slope_mb_per_1000']:.1f} ± {life['slope_error_mb']:.1f}",
        ),
        ("threads; open files: at the begin and at the end of that half", _ends(life)),
        ("**lost, doubled, or answered otherwise than they should**", f"**{len(result['problems'])}**"),
    ]
    head = f"Measured {result['measured']}: {machine['processor']}, {machine['threads']} threads; {result['seconds']:.0f} s."
    lines = [f"{head} Full disk: {disk}.", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def sentence(result):
    """The figures in some sentences, for docs/clinic.md."""
    life, until = result["memory"]["longest_life"], result["recovery_seconds"]["until_it_has_answered"]
    wrong = len(result["problems"])
    return (
        f"{result['instances']:,} instances went through one node, {result['instances_per_minute']:.0f} a minute, while it "
        f"died {result['kills']} times by SIGKILL, the network broke {_cuts(result)} times and the disk was full "
        f"{result['happened'].get('disk full', 0)} times: {'none' if not wrong else wrong} lost or answered twice. "
        f"After a kill the archive had the next result in {until['median']:.1f} s (median; {until['most']:.1f} s at most). "
        f"In the longest life, of {life['instances']:,} answers, memory was {life['half_way_mb']:.0f} MB half way and "
        f"{life['last_mb']:.0f} MB at the end."
    )


def _fates(result):
    return f"{result['answered']:,}; {result['counts']['unmatched']:,}; {result['dead_letters']:,}"


def _results(result):
    return f"{result['results']:,}; {result['results_sent_again']:,}"


def _cuts(result):
    return sum(times for name, times in result["happened"].items() if name.startswith(("cut", "drop")))


def _spread(found):
    return f"{found['median']:.1f} ({found['least']:.1f} to {found['most']:.1f})"


def _memory(result):
    life = result["memory"]["longest_life"]
    points = [at for count, at in life["curve_mb"].items() if int(count) % 500 < 50 and int(count) >= 500]
    return f"{', '.join(f'{each:.0f}' for each in points)}; {life['last_mb']:.0f} after {life['instances']:,}"


def _ends(life):
    (threads, files) = life["threads"], life["files"]
    return f"{threads['first']:.0f} and {threads['last']:.0f}; {files['first']:.0f} and {files['last']:.0f}"


PAGES = {"SECURITY.md": table, "docs/clinic.md": sentence}


def renewed(text, name, result):
    """A page with the figures of a result in their place."""
    return replaced(text, BEGIN, END, PAGES[name](result))


def renew(result):
    """Write the figures of a result into the pages."""
    for name in PAGES:
        path = ROOT / name
        path.write_text(renewed(path.read_text("utf-8"), name, result), encoding="utf-8")
