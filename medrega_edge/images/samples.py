"""Sample scans for a first question without a download.

They are test files of pydicom, public images of real patients. None is in a training split.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from medrega_edge.errors import UsageError

_FILES = {
    "abdomen-mri": "examples_overlay.dcm",
    "heart-ultrasound": "examples_ybr_color.dcm",
    "lymph-node-ultrasound": "examples_rgb_color.dcm",
    "spine-ct": "CT_small.dcm",
}
SAMPLES = tuple(_FILES)  # names
_FRAMES = {"heart-ultrasound": 0}  # of a sample with several


def sample_path(name: str) -> Path:
    """Path of a sample scan; raises UsageError if there is none of this name."""
    if name not in _FILES:
        raise UsageError("image.no_sample", sample=name, samples=SAMPLES)
    pydicom = find_spec("pydicom")  # found, not imported: a path needs no code of it
    assert pydicom is not None
    assert pydicom.origin is not None
    return Path(pydicom.origin).parent / "data" / "test_files" / _FILES[name]


def sample_frame(name: str) -> int | None:
    """Frame to show of a sample with several; None for the others."""
    return _FRAMES.get(name)
