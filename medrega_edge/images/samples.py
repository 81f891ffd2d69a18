"""Scans that are on every machine that has this program, for a first question without a download.

pydicom carries a real abdominal MRI inside its package; it is never in training.
"""

from __future__ import annotations

from pathlib import Path

from medrega_edge.errors import UsageError

_FILES = {"abdomen-mri": "examples_overlay.dcm"}


def sample_path(name: str) -> Path:
    """Path of a sample scan; raises UsageError for an unknown name."""
    if name not in _FILES:
        raise UsageError(f"There is no sample '{name}'; choose one of: {', '.join(_FILES)}.")
    from medrega_edge.images.dicom.validation import load_pydicom

    return Path(str(load_pydicom().__file__)).parent / "data" / "test_files" / _FILES[name]
