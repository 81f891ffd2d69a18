"""DICOM files: checks before decoding, the picture of a frame, the series of a folder.

Importing this package imports pydicom. pydicom would import `requests`, which opens a socket, to download test files; it
does without where `requests` cannot be imported. Import this package before nibabel and highdicom, which import pydicom too.
"""

import sys

_hide_requests = "requests" not in sys.modules
if _hide_requests:
    sys.modules["requests"] = None  # type: ignore[assignment]  # importing it fails
try:
    import pydicom  # noqa: F401
finally:
    if _hide_requests:
        del sys.modules["requests"]
