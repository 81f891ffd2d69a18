"""The tables of docs/node_conformance.md that the program knows itself.

python -m tools.node_conformance            write them into the page
python -m tools.node_conformance classes    print the storage classes that are accepted, each with its UID
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts

from medrega_edge.node import incoming
from medrega_edge.node.config import Limits
from medrega_edge.output.dicom.writer import SOP_CLASSES

PAGE = Path(__file__).parents[1] / "docs" / "node_conformance.md"
_BLOCK = re.compile(r"(<!-- node:(\w+) -->\n).*?(<!-- /node -->)", re.DOTALL)
_LIMITS = {  # what each of the section [node.limits] bounds
    "associations": "associations at a time, that peers open",
    "pdu_bytes": "largest PDU, in bytes",
    "instance_megabytes": "largest instance, in MiB",
    "study_instances": "instances of a study",
    "folder_megabytes": "size of the queue's folder, in MiB",
    "idle_seconds": "seconds that a peer may be silent, or an answer may take",
    "attempts": "attempts to answer a job that ends the process",
}
_STATUSES = {
    "SUCCESS": "it is on the disk, or was there with the same data set",
    "OUT_OF_RESOURCES": "a limit or the disk is full, or it is too large",
    "DUPLICATE": "another data set was received under its SOP Instance UID; it is not stored",
    "MISMATCH": "UIDs are missing, or are not those of the command",
    "INVALID_INSTANCE": "a UID is none",
    "NOT_UNDERSTOOD": "the data set cannot be read",
    "NOT_AUTHORISED": "no peer sends from there by this AE title",
    "FAILED": "a fault of the program",
}


def page() -> str:
    """The page with its tables as the program has them now."""
    made = {"results": _results, "association": _association, "statuses": _statuses}
    return _BLOCK.sub(lambda found: found[1] + "\n".join(made[found[2]]()) + "\n" + found[3], PAGE.read_text("utf-8"))


def classes() -> Iterator[str]:
    """The storage classes that the node accepts."""
    known = [UID(context.abstract_syntax) for context in AllStoragePresentationContexts]
    for uid in sorted(known, key=lambda uid: uid.name):
        yield f"{uid}  {uid.name}"


def _results() -> Iterator[str]:
    yield "| `outputs` | SOP class | UID |"
    yield "|---|---|---|"
    for kind, classes in SOP_CLASSES.items():
        for uid in classes:
            yield f"| `{kind}` | {UID(uid).name} | {uid} |"


def _association() -> Iterator[str]:
    yield "| policy | |"
    yield "|---|---|"
    yield "| application context | 1.2.840.10008.3.1.1.1 |"
    for limit in fields(Limits):
        yield f"| {_LIMITS[limit.name]} (`{limit.name}`) | {limit.default} |"
    yield "| associations at a time, that the node opens | one for deliveries, one for reports of storage commitment |"
    yield "| outstanding asynchronous transactions | 1 |"
    yield "| Implementation Class UID and version name | those of pynetdicom, which name its version |"


def _statuses() -> Iterator[str]:
    yield "| the node answers a C-STORE | status |"
    yield "|---|---|"
    for name, meaning in _STATUSES.items():
        yield f"| {meaning} | {getattr(incoming, name):04X} |"


if __name__ == "__main__":
    if sys.argv[1:] == ["classes"]:
        sys.stdout.writelines(f"{line}\n" for line in classes())
    else:
        PAGE.write_text(page(), "utf-8")
