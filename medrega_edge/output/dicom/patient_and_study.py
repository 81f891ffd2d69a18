"""What an object takes over from its scan: the patient and the study, in the form that the standard asks for."""

from __future__ import annotations

import re
from typing import Any

from pydicom.charset import STAND_ALONE_ENCODINGS, convert_encodings, default_encoding, python_encoding
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, DA, TM

from medrega_edge.errors import ImageError

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")  # type 1 in every object
_MAY_BE_EMPTY = (  # type 2: they have to be there
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
_TEXTS = ("PatientName", "PatientID", "ReferringPhysicianName", "AccessionNumber", "StudyID", "StudyDescription")
_SEXES = ("", "M", "F", "O")
_OLD_DATE = re.compile(r"(\d{4})\.(\d\d)\.(\d\d)")  # of ACR-NEMA, which files from before DICOM have, and pydicom reads
_EXTENSIONS = [name for name in python_encoding if name.startswith("ISO 2022 IR ")]
_ESCAPE = re.compile(r"\x1b[ -/]*[0-~]")  # a sequence of ISO 2022


def complete(scan: Dataset) -> None:
    """Give a scan the elements that an object copies, empty where they are missing, and let its text be decoded.

    A date, time or sex that the standard does not allow becomes empty. Raises ImageError where an element is missing
    without which no archive can place an object, and for names in an unknown character set.
    """
    for keyword in _NEEDED:
        if not scan.get(keyword):
            raise ImageError("output.scan_lacks", keyword=keyword)
    _set_character_sets(scan)
    for keyword in _MAY_BE_EMPTY:
        if keyword.endswith("Date") and (old := _OLD_DATE.fullmatch(str(scan.get(keyword)))):
            setattr(scan, keyword, "".join(old.groups()))
        if not scan.get(keyword) or not _is_allowed(keyword, scan.get(keyword)):
            setattr(scan, keyword, "")


def remove_escapes(made: Dataset) -> None:
    """Remove escape sequences from an object's text: pydicom leaves those of ISO 2022 IR 58 there."""
    made.walk(_remove_escapes)


def _remove_escapes(_: Dataset, element: DataElement) -> None:
    if element.VR not in CUSTOMIZABLE_CHARSET_VR or element.is_empty:
        return
    values = element.value if element.VM > 1 else [element.value]
    if any("\x1b" in str(value) for value in values):
        plain = [_ESCAPE.sub("", str(value)) for value in values]
        element.value = plain if len(plain) > 1 else plain[0]


def _set_character_sets(scan: Dataset) -> None:
    """Let pydicom decode text by the character sets that the file uses, also where it does not state them all."""
    stated = scan.get("SpecificCharacterSet") or ""
    names = [stated] if isinstance(stated, str) else list(stated)
    texts = [raw.value for raw in map(scan.get_item, _TEXTS) if isinstance(raw, RawDataElement) and raw.value]
    if any(b"\x1b" in text for text in texts):
        if names[0] in STAND_ALONE_ENCODINGS:
            return
        names += [name for name in _EXTENSIONS if name not in names]
    elif _states_no_set(names) and not all(text.isascii() for text in texts):
        try:
            b"".join(texts).decode("utf-8")
        except UnicodeDecodeError:
            raise ImageError("output.unknown_characters") from None
        names = ["ISO_IR 192"]
    implicit, little_endian = scan.original_encoding
    scan.set_original_encoding(implicit, little_endian, convert_encodings(names))
    for keyword in _TEXTS:
        scan.get(keyword)  # decodes it


def _states_no_set(names: list[str]) -> bool:
    """Whether none of these names a character set beyond ASCII: pydicom takes an unknown name for ASCII."""
    return set(convert_encodings(names)) == {default_encoding}


def _is_allowed(keyword: str, value: Any) -> bool:
    try:
        if keyword.endswith("Date"):
            DA(value)
        elif keyword.endswith("Time"):
            TM(value)
    except ValueError:
        return False
    return keyword != "PatientSex" or value in _SEXES
