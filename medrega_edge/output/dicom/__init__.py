"""DICOM objects about an answer: structured report, presentation state, secondary capture. They need highdicom."""

import medrega_edge.images.dicom  # noqa: F401  # imports pydicom before highdicom does
