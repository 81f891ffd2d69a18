"""Windows: values of any width to grey 0..1 as DICOM defines it (PS3.3 C.11.2.1.2), and named presets for CT.

A window is (centre, width), for CT in Hounsfield units.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

Window = tuple[float, float]

FEW_SHADES = 16  # of 256
NEARLY_ALL = 0.97  # of the pixels; ultrasound and mammograms have less of their black
FROM_USER, FROM_FILE = Message("reading.from_user"), Message("reading.from_file")
FROM_PRESET, FROM_VALUES = Message("reading.from_preset"), Message("reading.from_values")
SAMPLE = 1_000_000  # pixels at most that shares and percentiles are taken from
_SAMPLE_STEP = 8  # most colour images show a colour in every eighth pixel of every eighth row

PRESETS: dict[str, Window] = {
    "lung": (-600.0, 1500.0),
    "soft": (40.0, 400.0),
    "brain": (40.0, 80.0),
    "bone": (400.0, 1800.0),
    "liver": (30.0, 150.0),
    "mediastinum": (50.0, 350.0),
}


def parse_window(text: str) -> Window:
    """Read the name of a preset, or "centre,width"; raises UsageError."""
    if text in PRESETS:
        return PRESETS[text]
    try:
        centre, width = (float(number) for number in text.split(","))
    except ValueError:
        centre, width = math.nan, math.nan
    if not (abs(centre) < 1e9 and 0 < width < 1e9):
        raise UsageError("image.unknown_window", window=text[:40], presets=list(PRESETS))
    return centre, width


def voi_function(window: Window, stated: str = "LINEAR") -> str:
    """The VOI LUT Function that `apply_window` uses where a file states `stated`; an unknown one counts as LINEAR.

    LINEAR has DICOM's half steps, which are for whole numbers: a width below 1 is LINEAR_EXACT.
    """
    if stated in ("SIGMOID", "LINEAR_EXACT"):
        return stated
    return "LINEAR" if window[1] >= 1 else "LINEAR_EXACT"


def apply_window(values: npt.NDArray[np.floating], window: Window, function: str = "LINEAR") -> npt.NDArray[np.floating]:
    """Map values to 0..1; `function` is DICOM's VOI LUT Function."""
    centre, width = window
    function = voi_function(window, function)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            sigmoid: npt.NDArray[np.floating] = 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
        return sigmoid
    if function == "LINEAR_EXACT":
        low, span = centre - width / 2, width
    else:
        low, span = centre - 0.5 - (width - 1) / 2, width - 1
    if span == 0:
        return (values > low).astype(values.dtype)
    ramp: npt.NDArray[np.floating] = np.clip((values - low) / span, 0.0, 1.0)
    return ramp


def full_range(values: npt.NDArray[np.floating]) -> Window:
    """The window from the smallest to the largest value, for LINEAR_EXACT; it maps a single value to black."""
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return ((low + high) / 2, high - low) if high > low else (low + 0.5, 1.0)


def automatic_window(values: npt.NDArray[np.floating]) -> tuple[Window, tuple[Message, ...]]:
    """A window for LINEAR_EXACT: the full range, or that of 99 % of the values where a few others eat the range.

    The second case has a note.
    """
    window = full_range(values)
    if values.size:
        low, high = (float(value) for value in np.percentile(values.ravel()[:: 1 + values.size // SAMPLE], (0.5, 99.5)))
        if 0 < high - low < window[1] * FEW_SHADES / 256:
            window = (low + high) / 2, high - low
            return window, (Message("image.outliers", centre=window[0], width=window[1]),)
    return window, ()


def few_shades(pixels: npt.NDArray[np.uint8]) -> float:
    """The share of the pixels `[height, width, 3]` that lies in the fullest FEW_SHADES neighbouring shades.

    In colour it is that of the channel with the most shades.
    """
    step = 1 + pixels.size // (3 * SAMPLE)
    shown = without_copies(pixels)
    rows = shown.reshape(-1, *shown.shape[2:])[::step]
    counts = np.reshape(Image.fromarray(np.ascontiguousarray(rows)[None]).histogram(), (-1, 256))  # twice as fast as numpy's
    return float(min(np.convolve(channel, np.ones(FEW_SHADES)).max() for channel in counts)) / len(rows)


def window_step(window: Window, function: str, source: Message) -> Message:
    """The step of a reading in which a window from `source` was applied."""
    return Message("reading.window", centre=window[0], width=window[1], function=function, source=source)


def to_rgb(grey: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Turn grey 0..1 `[height, width]` into RGB uint8 `[height, width, 3]`, three times the same memory, read-only."""
    shades = np.round(grey * 255.0).astype(np.uint8)
    return np.broadcast_to(shades[..., None], (*shades.shape, 3))


def without_copies(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return one channel `[height, width]` where the three of `[height, width, 3]` are alike, as those of `to_rgb`."""
    is_grey = pixels.strides[2] == 0 or all(
        bool((part[..., 0] == part[..., 1]).all() and (part[..., 0] == part[..., 2]).all())
        for part in (pixels[::_SAMPLE_STEP, ::_SAMPLE_STEP], pixels)
    )
    return pixels[..., 0] if is_grey else pixels
