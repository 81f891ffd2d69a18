"""What tests of the node share: a configuration, instances that are no real images, and results that are no real objects."""

from dataclasses import replace
from pathlib import Path

from medrega_edge.node.config import Limits, NodeConfig, Peer, Retention, Rule
from medrega_edge.node.made import MadeObject

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
RULE = Rule(name="liver", question="locate the liver", send_to=("archive",))
PEERS = (Peer("ct", "CT1", "127.0.0.1"), Peer("archive", "ARCHIVE", "127.0.0.1", port=104))


def config(folder: Path, **changes) -> NodeConfig:
    """A configuration of one rule and two peers, whose state is in `folder`."""
    made = NodeConfig(
        ae_title="MEDREGA",
        host="127.0.0.1",
        port=0,
        plain=False,
        folder=folder,
        package=None,
        language="en",
        quiet_seconds=30.0,
        instances=0,
        longest_seconds=3600.0,
        tls=None,
        limits=Limits(),
        peers=PEERS,
        rules=(RULE,),
        retention=Retention(),
    )
    return replace(made, **changes)


def header(number, study="1.2.3", series="1.2.3.4", **changes):
    """The header of instance `number` of a series."""
    return {
        "SOPInstanceUID": f"{series}.{number}",
        "SOPClassUID": CT_CLASS,
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "Modality": "CT",
        "BodyPartExamined": "ABDOMEN",
        "SeriesDescription": "portal venous",
    } | changes


def data(number, pixels=b"pixels", meta=b"one sender"):
    """A file: group 0002, then a data set. No program here reads more of it."""
    group = b"\x02\0\x13\0SH" + len(meta).to_bytes(2, "little") + meta
    length = b"\x02\0\0\0UL\x04\0" + len(group).to_bytes(4, "little")
    return bytes(128) + b"DICM" + length + group + b"%d:" % number + pixels


def made(job, kinds=("sr", "gsps")):
    """Results of a job, which name it."""
    return [MadeObject(kind, "1.2.840.10008.5.1.4.1.1.88.33", f"2.25.{job}{n}", b"%d" % job) for n, kind in enumerate(kinds)]
