"""An object that answers a study, ready to be sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MadeObject:
    """A DICOM file: `data` is all of it, `kind` one of the outputs of a rule ("sr", "pdf", ...)."""

    kind: str
    sop_class: str
    sop_uid: str
    data: bytes
