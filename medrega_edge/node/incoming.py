"""What a peer sent, before the queue takes it: read as far as its identity goes, and refused with a DICOM status."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydicom.dataset import Dataset

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.header import read_header

SUCCESS = 0x0000
FAILED = 0x0110  # processing failure
DUPLICATE = 0x0111
INVALID_ARGUMENT = 0x0115
INVALID_INSTANCE = 0x0117
NOT_AUTHORISED = 0x0124
RESOURCES = 0x0213
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900  # the data set does not match the SOP class
NOT_UNDERSTOOD = 0xC000

HEADER = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "BodyPartExamined",
    "SeriesDescription",
)
_UIDS = HEADER[:4]
_LONGEST_TEXT = 64
_COMMENT = 64  # characters of an Error Comment (VR LO)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LONGEST_UID = 64


class Refusal(Exception):
    """An instance that is not taken: the `status` of the answer, and the `message` that says why."""

    def __init__(self, status: int, message: Message) -> None:
        """Keep both."""
        super().__init__(status, message)
        self.status, self.message = status, message


def is_uid(text: str) -> bool:
    """Whether a text is made as UIDs are. Leading zeros, which scanners write, are let through."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def header_of(data: bytes, sop_class: str, sop_uid: str) -> Mapping[str, str]:
    """The elements of HEADER that a file has, by keyword; raises Refusal.

    `sop_class` and `sop_uid` are what the command said of it.
    """
    try:
        dataset = read_header(data, Message("image.given"), HEADER)
        found = {keyword: _text(dataset, keyword) for keyword in HEADER if dataset.get(keyword)}
    except ImageError as error:
        raise Refusal(NOT_UNDERSTOOD, error.message) from None
    except Exception:  # noqa: BLE001 - pydicom raises all kinds on damage
        raise Refusal(NOT_UNDERSTOOD, Message("receive.unreadable")) from None
    if not found:
        raise Refusal(NOT_UNDERSTOOD, Message("receive.unreadable"))
    if any(keyword not in found for keyword in _UIDS):
        raise Refusal(MISMATCH, Message("receive.lacks_uid"))
    if not all(is_uid(found[keyword]) for keyword in _UIDS):
        raise Refusal(INVALID_INSTANCE, Message("receive.bad_uid"))
    if (found["SOPInstanceUID"], found["SOPClassUID"]) != (sop_uid, sop_class):
        raise Refusal(MISMATCH, Message("receive.other_uid"))
    return found


def _text(dataset: Dataset, keyword: str) -> str:
    limit = _LONGEST_UID + 1 if keyword in _UIDS else _LONGEST_TEXT  # one more: a cut UID would be another's
    return str(dataset[keyword].value).strip("\0 ")[:limit]


def status_of(status: int, message: Message) -> Dataset:
    """The status of an answer, with the beginning of the message as its comment."""
    answer = Dataset()
    answer.Status = status
    answer.ErrorComment = str(message)[:_COMMENT].strip()
    return answer
