"""One DICOM frame in the grey or colour that the standard defines for a screen (PS3.3 C.7.6.3, C.11.1, C.11.2).

The grey pipeline: stored values, modality table or rescale, VOI table or window, inversion. `validation.check_pixel_data`
has to come first: here pydicom decodes the pixels.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID_dictionary

from medrega_edge.domain import Modality
from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom import lut
from medrega_edge.images.dicom.functional_groups import functional_group
from medrega_edge.images.dicom.numbers import first_number
from medrega_edge.images.medical_image import View, as_image_error
from medrega_edge.images.windowing import PRESETS, Window, apply_window, full_range, parse_window, to_rgb

Values = npt.NDArray[Any]
Grey = npt.NDArray[np.floating]


class Rendering(NamedTuple):
    """RGB `[rows, columns, 3]`, the window that made it (None where there was none), and warnings."""

    pixels: npt.NDArray[np.uint8]
    window: Window | None
    warnings: tuple[Message, ...] = ()


class FrameRenderer:
    """Renders one frame of a dataset; `frame` counts from 0, `name` is what errors call the image."""

    def __init__(self, dataset: Dataset, frame: int, modality: Modality | None, name: Message) -> None:
        self._dataset, self._frame, self._modality, self._name = dataset, frame, modality, name
        self._little_endian = bool(dataset.original_encoding[1])
        self._photometric = str(dataset.PhotometricInterpretation)

    def render(self, view: View) -> Rendering:
        """Decode and map the pixels; raises ImageError, or ResourceError where a decoder has to be installed."""
        stored = self._decode()
        if stored.ndim == 3 or self._photometric == "PALETTE COLOR":
            if view.window is not None:
                raise ImageError("dicom.window_on_colour", image=self._name)
            return Rendering(self._colour(stored), None)
        stored = self._mask_unused_bits(stored)
        grey, window, warnings = self._grey(stored, view)
        if self._photometric == "MONOCHROME1":
            grey = 1.0 - grey
        grey[self._padding(stored)] = 0.0  # nothing was scanned there
        return Rendering(to_rgb(grey), window, warnings)

    def _decode(self) -> Values:
        """Stored values `[rows, columns]`, or RGB `[rows, columns, 3]`."""
        syntax = self._dataset.file_meta.TransferSyntaxUID
        syntax_name = UID_dictionary[syntax][0] if syntax in UID_dictionary else Message("dicom.unknown_syntax")
        with as_image_error(Message("dicom.cannot_decode", image=self._name, syntax=syntax_name)):
            decoder = get_decoder(syntax)
            if not decoder.is_available:
                raise ResourceError("dicom.needs_codecs", image=self._name, syntax=syntax_name)
            values: Values = pixel_array(self._dataset, index=self._frame)  # YBR becomes RGB
        return values

    def _mask_unused_bits(self, stored: Values) -> Values:
        """Clear the bits above Bits Stored, which may hold anything, old overlays for example."""
        unused = stored.dtype.itemsize * 8 - int(self._dataset.get("BitsStored", 0) or 0)
        if stored.dtype.kind not in "iu" or not 0 < unused < stored.dtype.itemsize * 8:
            return stored
        return (stored << unused) >> unused

    def _colour(self, stored: Values) -> npt.NDArray[np.uint8]:
        """Colour of any depth as RGB of 8 bits."""
        if self._photometric == "PALETTE COLOR":
            tables = lut.palette(self._dataset, self._little_endian)
            stored = self._mask_unused_bits(stored)
            channels = [lut.apply(stored, table) / table.maximum for table in tables]
            return np.round(np.clip(np.stack(channels, axis=2), 0, 1) * 255).astype(np.uint8)
        if stored.dtype.kind != "u":
            raise ImageError("dicom.signed_colour", image=self._name)
        depth = int(self._dataset.BitsStored)
        if depth == 8:
            return stored.astype(np.uint8)
        return np.round(np.clip(stored / ((1 << depth) - 1), 0, 1) * 255).astype(np.uint8)

    def _grey(self, stored: Values, view: View) -> tuple[Grey, Window | None, tuple[Message, ...]]:
        """Grey 0..1 `[rows, columns]` before inversion, the window that made it (None where there was none), warnings."""
        values, is_stored = self._modality_values(stored)
        if not np.isfinite(values).all():
            raise ImageError("image.not_a_number", image=self._name)
        if view.window is not None:
            if view.window in PRESETS and self._modality is not Modality.CT:
                raise ImageError("dicom.preset_without_ct", image=self._name, window=view.window)
            window = parse_window(view.window)
            return apply_window(values, window), window, ()
        voi = self._functional_group("FrameVOILUTSequence", "VOILUTSequence", "WindowCenter")
        if tables := voi.get("VOILUTSequence"):
            table = lut.read_table(tables[0], self._little_endian, self._may_be_negative(stored))
            return np.clip(lut.apply(values, table) / table.maximum, 0.0, 1.0), None, ()
        if window_and_function := _stated_window(voi):
            window, function = window_and_function
            return apply_window(values, window, function), window, ()
        if is_stored and stored.dtype == np.uint8 and int(self._dataset.BitsStored) == 8:
            return values / 255.0, None, ()
        if self._modality is Modality.CT and self._rescale() is not None:
            window = PRESETS[view.default_preset]
            centre, width = window
            warning = Message("dicom.default_window", preset=view.default_preset, centre=centre, width=width)
            return apply_window(values, window), window, (warning,)
        window = full_range(values[~self._padding(stored)])
        return apply_window(values, window, "LINEAR_EXACT"), window, ()

    def _modality_values(self, stored: Values) -> tuple[Grey, bool]:
        """Values in units of the modality, and whether these are the stored values unchanged."""
        exact = np.float32 if stored.dtype.itemsize <= 2 else np.float64
        if tables := self._dataset.get("ModalityLUTSequence"):
            return lut.apply(stored, lut.read_table(tables[0], self._little_endian)).astype(exact), False
        rescale = self._rescale()
        if rescale is None:
            return stored.astype(exact), True
        slope, intercept = rescale
        values: Grey = stored.astype(exact)
        return values * slope + intercept, rescale == (1.0, 0.0)

    def _rescale(self) -> tuple[float, float] | None:
        """Slope and intercept; None unless both are there."""
        group = self._functional_group("PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept")
        slope, intercept = group.get("RescaleSlope"), group.get("RescaleIntercept")
        if slope is None or intercept is None:
            return None
        return float(slope), float(intercept)  # plain floats keep an array's depth

    def _may_be_negative(self, stored: Values) -> bool:
        """Whether the stored type allows values below zero in units of the modality (C.11.2.1.1)."""
        if self._dataset.get("ModalityLUTSequence"):
            return False
        slope, intercept = self._rescale() or (1.0, 0.0)
        lowest, highest = (np.iinfo(stored.dtype).min, np.iinfo(stored.dtype).max) if stored.dtype.kind in "iu" else (-1, 1)
        return min(lowest * slope, highest * slope) + intercept < 0

    def _padding(self, stored: Values) -> npt.NDArray[np.bool_]:
        """Which pixels hold the padding value: nothing was scanned there."""
        first = self._dataset.get("PixelPaddingValue")
        if first is None:
            return np.zeros(stored.shape, bool)
        last = self._dataset.get("PixelPaddingRangeLimit", first)
        first, last = (first, first) if last is None else (min(first, last), max(first, last))
        return (stored >= int(first)) & (stored <= int(last))

    def _functional_group(self, group: str, *keywords: str) -> Dataset:
        return functional_group(self._dataset, self._frame, group, *keywords)


def _stated_window(group: Dataset) -> tuple[Window, str] | None:
    """The first window of a group with its VOI LUT Function; None if there is no usable one."""
    centre, width = first_number(group.get("WindowCenter")), first_number(group.get("WindowWidth"))
    if centre is None or width is None or not (math.isfinite(centre) and 0 < width < math.inf):
        return None
    return (centre, width), str(group.get("VOILUTFunction") or "LINEAR")
