"""Sample scans for a first question without a download.

pydicom brings a real abdominal MRI among its test files. It is in no training split.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from medrega_edge.errors import UsageError

_FILES = {"abdomen-mri": "examples_overlay.dcm"}


def sample_path(name: str) -> Path:
    """Path of a sample scan; raises UsageError if there is none of this name."""
    if name not in _FILES:
        raise UsageError("image.no_sample", sample=name, samples=list(_FILES))
    pydicom = find_spec("pydicom")  # found, not imported: a path needs no code of it
    assert pydicom is not None
    assert pydicom.origin is not None
    return Path(pydicom.origin).parent / "data" / "test_files" / _FILES[name]
