"""What an archive can be asked to look for, and whether an instance fits.

An archive may ignore a filter that it does not support (PS3.18, 8.3.4.1), and would then give instances of other patients.
So what it gives is held against the filters here, as far as its description says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from medrega_edge.errors import ResourceError

# The keywords of each search: studies, series, instances.
LEVELS = (
    (
        *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription"),
        *("ModalitiesInStudy", "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    ),
    ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined"),
    ("SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
)


def tag_of(keyword: str) -> str:
    """The tag of a keyword as DICOM JSON writes it, for example 0020000D."""
    return f"{tag_for_keyword(keyword) or 0:08X}"


def check_fits(filters: Iterable[tuple[str, str]], header: Mapping[str, Any]) -> None:
    """Raise ResourceError if an instance, described as DICOM JSON, says that a filter should have left it out."""
    for keyword, wanted in filters:
        values = header.get(tag_of(keyword), {}).get("Value") or ()
        if values and not fits(dictionary_VR(keyword), wanted, values):
            raise ResourceError("dicomweb.filter_ignored", keyword=keyword)


def fits(vr: str, wanted: str, values: Sequence[Any]) -> bool:
    """Whether one of the values of an element of this VR matches as PS3.4, C.2.2.2 says: lists, ranges, wild cards.

    Upper and lower case are the same, as in many archives.
    """
    texts = [text.strip().casefold() for value in values for text in _texts(value)]
    wanted = wanted.strip().casefold()
    if vr == "UI":
        return any(text in re.split(r"[\\,]", wanted) for text in texts)
    if vr in ("DA", "TM"):
        low, dash, high = wanted.partition("-")
        high = high if dash else low  # a single value is a range of one
        return any((not low or text >= low) and (not high or text[: len(high)] <= high) for text in texts)
    if vr == "IS":
        return any(text.lstrip("0") == wanted.lstrip("0") for text in texts)
    patterns = [one.replace("[", "[[]").rstrip("^") for one in wanted.split("\\")]
    return any(fnmatchcase(text.rstrip("^"), pattern) for text in texts for pattern in patterns)


def _texts(value: Any) -> list[str]:
    """A value as text; a name of a person may be written in several scripts."""
    return [str(text) for text in value.values()] if isinstance(value, Mapping) else [str(value)]
