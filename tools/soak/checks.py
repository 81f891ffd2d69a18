"""What has to be so after a soak. Each check returns sentences about what is not."""

import hashlib
import json
import re
from collections import Counter

from pydicom import dcmread
from pydicom.uid import PYDICOM_ROOT_UID

from medrega_edge.errors import MedregaError
from medrega_edge.io.audit import verify
from tools.soak.instances import KINDS, PATIENT, Fate

STAYS = {"queue.sqlite", "lock", "audit.jsonl", "received", "results", "rejected"}  # in the folder of a stopped node
ROOT = PYDICOM_ROOT_UID.encode()  # of all UIDs that the soak makes


def problems(seen, state):
    """All that is wrong with a soak whose node left the folder `state`; empty where nothing is."""
    found = [*seen.problems, *_sent(seen), *_results(seen), *_counted(seen)]
    found += [*_dead_letters(seen, state), *_files(state), *_forgotten(seen, state), *_audit(seen, state)]
    if seen.node.told:
        found.append(f"{len(seen.node.told)} lines of the log name a UID or a patient")
    return found


def _sent(seen):
    """Every instance got the status that is right for it."""
    for number, kind, changed, status in seen.sender.wrong:
        yield f"instance {number} ({kind}{', changed' if changed else ''}) got the status {status}"
    for source in seen.sources:
        if (source.sop_uid in seen.sender.acknowledged) != (source.fate is not Fate.REFUSED):
            yield f"instance {source.number} ({source.kind}) was {'not ' * (source.fate is not Fate.REFUSED)}acknowledged"


def _results(seen):
    """Each acknowledged instance has its results once, and nothing else has any."""
    sources = {source.sop_uid: source for source in seen.sources}
    found = Counter()
    for uid, result in seen.archive.results.items():
        if len(result.digests) != 1:
            yield "two objects came under one UID"
        about = result.about & sources.keys()
        if len(about) != 1 or result.about - about - seen.archive.results.keys():
            yield f"an object is about {len(about)} of the instances, and about {len(result.about - about)} others"
            continue
        (source,) = about
        found[source, result.sop_class] += 1
        if not uid.startswith("2.25."):
            yield "a result has a UID that is not of the node's making"
    kinds = Counter(source for source, _ in found)
    for source in seen.sources:
        if kinds[source.sop_uid] != source.results:
            yield f"instance {source.number} ({source.kind}) has {kinds[source.sop_uid]} results, not {source.results}"
    for (source, _), times in found.items():
        if times > 1:
            yield f"instance {sources[source].number} ({sources[source].kind}) was answered {times} times"


def expected(sources):
    """Return what the queue has to have counted."""
    fates = Counter(source.fate for source in sources)
    return {
        "received": len(sources) - fates[Fate.REFUSED],
        "unmatched": fates[Fate.UNMATCHED],
        "answered": fates[Fate.ANSWERED],
        "delivered": fates[Fate.ANSWERED],
        "jobs_rejected": fates[Fate.REJECTED],
        "instances_held": fates[Fate.REJECTED],
        "deliveries_rejected": 0,
        "studies_open": 0,
        "jobs_waiting": 0,
        "deliveries_waiting": 0,
        "dropped": 0,
    }


def _counted(seen):
    for name, right in expected(seen.sources).items():
        if seen.counts.get(name) != right:
            yield f"the queue counts {seen.counts.get(name)} of {name}, not {right}"


def _dead_letters(seen, state):
    """The dead letters are those of the instances that were made to be, each with its reason."""
    wanted = {source.sop_uid: KINDS[source.kind].reason for source in seen.sources if source.fate is Fate.REJECTED}
    found = {}
    for folder in (state / "rejected").iterdir():
        reason = json.loads((folder / "reason.json").read_text("utf-8"))
        for path in folder.glob("*.dcm"):
            found[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = reason["code"]
    if found != wanted:
        yield f"dead letters: {Counter(found.values())}, not {Counter(wanted.values())}"


def _files(state):
    """Nothing lies about: no temporary file, no image but those of dead letters, no result."""
    for path in state.iterdir():
        if path.name not in STAYS:
            yield f"left behind: {path.name}"
    dead = {path.name for path in (state / "rejected").rglob("*.dcm")}
    strange = Counter()
    for folder in ("received", "results", "rejected"):
        for path in (state / folder).rglob("*"):
            if path.is_dir():
                strange[f"{folder}: empty folder"] += not any(path.iterdir())
            elif folder == "results" or (path.name not in dead and path.name != "reason.json"):
                strange[f"{folder}: {path.suffix}"] += 1
            elif path.suffix == ".dcm" and hashlib.sha256(path.read_bytes()).hexdigest() != path.stem:
                strange[f"{folder}: other bytes than its name says"] += 1
    yield from (f"left behind: {count} in {what}" for what, count in strange.items() if count)


def _forgotten(seen, state):
    """The queue and the audit log hold no UID of an image that was deleted by rule, and the name of no patient."""
    rejected = [source for source in seen.sources if source.fate is Fate.REJECTED]
    kept = {uid for source in rejected for uid in (source.sop_uid, source.study_uid, source.series_uid)}
    sent = {uid for source in seen.sources for uid in (source.sop_uid, source.study_uid, source.series_uid)}
    for name in ("queue.sqlite", "audit.jsonl"):
        data = (state / name).read_bytes()
        named = set(_uids_in(data, sent - kept))
        if named or PATIENT.encode() in data:
            yield f"{name} names {len(named)} UIDs of what was deleted"


def _uids_in(data, uids):
    """Those of the UIDs that stand anywhere in the data; texts follow each other in a database without a mark."""
    lengths = {len(uid) for uid in uids}
    for found in re.finditer(re.escape(ROOT), data):
        begun = found.start()
        yield from uids & {data[begun : begun + length].decode("latin-1") for length in lengths}


def _audit(seen, state):
    try:
        lines, _ = verify(state / "audit.jsonl")
    except MedregaError as error:
        yield f"the audit log: {error}"
        return
    if lines < seen.counts.get("answered", 0):
        yield f"the audit log has {lines} lines for {seen.counts['answered']} answers"
