"""DICOM files: checks before decoding, the picture of a frame, the series of a folder.

Importing this package imports pydicom. To download test files it would import `requests`, which opens a socket, and `tqdm`,
which takes 10 ms; it does without where they cannot be imported. Import this package before nibabel and highdicom, which
import pydicom too.
"""

import sys

_hidden = [name for name in ("requests", "tqdm") if name not in sys.modules]
for _name in _hidden:
    sys.modules[_name] = None  # type: ignore[assignment]  # importing it fails
try:
    import pydicom  # noqa: F401
finally:
    for _name in _hidden:
        del sys.modules[_name]
