"""One DICOM frame in the grey or colour that the standard defines for a screen (PS3.3 C.7.6.3, C.11.1, C.11.2).

The grey pipeline: stored values, modality table or rescale, VOI table or window, inversion. `validation.check_pixel_data`
has to come first: here pydicom decodes the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGBaseline8Bit, JPEGExtended12Bit, UID_dictionary

from medrega_edge.domain import Modality
from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom import lut
from medrega_edge.images.dicom.functional_groups import functional_group
from medrega_edge.images.dicom.numbers import first_number
from medrega_edge.images.dicom.validation import code_stream, has_colour_transform
from medrega_edge.images.medical_image import View, as_image_error
from medrega_edge.images.windowing import (
    FROM_FILE,
    FROM_PRESET,
    FROM_USER,
    FROM_VALUES,
    PRESETS,
    Window,
    apply_window,
    automatic_window,
    parse_window,
    to_rgb,
    voi_function,
    window_step,
)

# X-ray angiography and radiofluoroscopy: a modality table leads back to the intensity of the beam (C.8.7.1.1.2).
TABLE_TO_INTENSITY = tuple(f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in (1, 2, 3))

_JPEG = JPEGBaseline8Bit, JPEGExtended12Bit
Values = npt.NDArray[Any]
Grey = npt.NDArray[np.floating]


class Rendering(NamedTuple):
    """RGB `[rows, columns, 3]`, the window that made it with its VOI LUT Function (None where there was none), warnings.

    `steps` says how the pixels were read. `values` `[rows, columns]` are in units of the modality, NaN where nothing was
    scanned, None in colour; `unit` names theirs where it is sure.
    """

    pixels: npt.NDArray[np.uint8]
    window: Window | None
    function: str | None
    warnings: tuple[Message, ...]
    steps: tuple[Message, ...]
    values: Grey | None = None
    unit: str | None = None


class _Mapped(NamedTuple):
    """Grey 0..1 `[rows, columns]` before inversion, the last step that made it, and the rest as in `Rendering`."""

    grey: Grey
    step: Message
    window: Window | None = None
    function: str | None = None
    warnings: tuple[Message, ...] = ()


class FrameRenderer:
    """Renders one frame of a dataset; `frame` counts from 0, `name` is what errors call the image."""

    def __init__(self, dataset: Dataset, frame: int, modality: Modality | None, name: Message) -> None:
        self._dataset, self._frame, self._modality, self._name = dataset, frame, modality, name
        self._little_endian = bool(dataset.original_encoding[1])
        self._photometric = str(dataset.PhotometricInterpretation)

    def render(self, view: View) -> Rendering:
        """Decode and map the pixels; raises ImageError, or ResourceError where a decoder has to be installed."""
        decoded = self._decode()
        if decoded.ndim == 3 or self._photometric == "PALETTE COLOR":
            if view.window is not None:
                raise ImageError("dicom.window_on_colour", image=self._name)
            return Rendering(self._colour(decoded), None, None, (), tuple(self._steps()))
        stored = self._stored(decoded)
        padding = self._padding(decoded) | self._padding(stored)
        values, is_stored = self._modality_values(stored)
        if not np.isfinite(values).all():
            raise ImageError("image.not_a_number", image=self._name)
        mapped = self._grey(values, is_stored and stored.dtype == np.uint8, padding, view)
        grey = 1.0 - mapped.grey if self._photometric == "MONOCHROME1" else mapped.grey
        grey[padding] = 0.0  # nothing was scanned there
        notes = (*mapped.warnings, *self._rescale_notes())
        steps = [*self._steps(), mapped.step]
        if self._photometric == "MONOCHROME1":
            steps.append(Message("reading.inverted"))
        if padding.any():
            steps.append(Message("reading.padding", count=int(padding.sum())))
        values[padding] = np.nan
        return Rendering(to_rgb(grey), mapped.window, mapped.function, notes, tuple(steps), values, self._unit())

    def modality_table(self) -> lut.Table | None:
        """The table from stored values to values in units of the modality, if the file has one that is for display."""
        tables = self._dataset.get("ModalityLUTSequence")
        if self._dataset.get("SOPClassUID") in TABLE_TO_INTENSITY:
            return None
        return lut.read_table(tables[0], self._little_endian) if tables else None

    def rescale(self) -> tuple[float, float] | None:
        """Slope and intercept to units of the modality, None if the file states neither; one alone has a neutral other.

        Raises ImageError for what is no number.
        """
        slope, intercept = (self._number(keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
        if slope is None and intercept is None:
            return None
        return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept

    def voi_table(self) -> lut.Table | None:
        """The table from values in units of the modality to grey, if the file has one; it goes before any window."""
        tables = self._voi().get("VOILUTSequence")
        return lut.read_table(tables[0], self._little_endian, self._may_be_negative()) if tables else None

    def _steps(self) -> Iterator[Message]:
        """How pixels are read, up to values in units of the modality."""
        dataset = self._dataset
        is_signed = bool(dataset.get("PixelRepresentation"))
        yield Message(
            "reading.dicom",
            syntax=self._syntax_name(),
            photometric=self._photometric,
            bits=int(dataset.get("BitsStored") or dataset.BitsAllocated),
            allocated=int(dataset.BitsAllocated),
            sign=Message("reading.signed") if is_signed else Message("reading.unsigned"),
        )
        if self._photometric == "PALETTE COLOR" or int(dataset.SamplesPerPixel) > 1:
            return
        if table := self.modality_table():
            yield Message("reading.modality_table", entries=len(table.outputs))
        elif rescale := self.rescale():
            yield Message("reading.rescale", slope=rescale[0], intercept=rescale[1])

    def _syntax_name(self) -> str | Message:
        syntax = self._dataset.file_meta.TransferSyntaxUID
        return UID_dictionary[syntax][0] if syntax in UID_dictionary else Message("dicom.unknown_syntax")

    def _decode(self) -> Values:
        """Stored values `[rows, columns]`, or RGB `[rows, columns, 3]`."""
        syntax = self._dataset.file_meta.TransferSyntaxUID
        syntax_name = self._syntax_name()
        with as_image_error(Message("dicom.cannot_decode", image=self._name, syntax=syntax_name)):
            decoder = get_decoder(syntax)
            if not decoder.is_available:
                raise ResourceError("dicom.needs_codecs", image=self._name, syntax=syntax_name)
            # YBR becomes RGB. The unused bits of grey may hold the padding value.
            is_colour = int(self._dataset.SamplesPerPixel) > 1
            options: dict[str, Any] = {"correct_unused_bits": is_colour}
            if syntax in JPEG2000TransferSyntaxes and self._photometric.startswith("YBR_FULL"):
                frames = max(int(self._dataset.get("NumberOfFrames") or 1), 1)
                if has_colour_transform(code_stream(self._dataset, frames, self._frame)):
                    options["photometric_interpretation"] = "YBR_RCT"  # the stream knows better
            if is_colour and syntax.is_encapsulated:  # some headers state the planes of the pixels before compression
                options["planar_configuration"] = 0
            values: Values
            if syntax in _JPEG and int(self._dataset.BitsStored) == 8:
                # pydicom prefers pylibjpeg, whose colours at half width are wrong in every eighth column.
                with suppress(Exception):
                    values = pixel_array(self._dataset, index=self._frame, decoding_plugin="pillow", **options)
                    return values
            values = pixel_array(self._dataset, index=self._frame, **options)
        return values

    def _stored(self, decoded: Values) -> Values:
        """The values in the Bits Stored up to High Bit; the bits around may hold anything, old overlays for example."""
        allocated = decoded.dtype.itemsize * 8
        bits = int(self._dataset.get("BitsStored", 0) or 0)
        if decoded.dtype.kind not in "iu" or not 0 < bits < allocated:
            return decoded
        stored: Values = (decoded << (allocated - bits)) >> (allocated - bits)
        high = int(first_number(self._dataset.get("HighBit")) or 0)
        if bits <= high < allocated and not np.array_equal(stored, decoded):  # else the values lie in the lowest bits
            return (decoded << (allocated - 1 - high)) >> (allocated - bits)
        return stored

    def _colour(self, stored: Values) -> npt.NDArray[np.uint8]:
        """Colour of any depth as RGB of 8 bits."""
        if self._photometric == "PALETTE COLOR":
            tables = lut.palette(self._dataset, self._little_endian)
            stored = self._stored(stored)
            channels = [lut.apply(stored, table) / table.maximum for table in tables]
            return np.round(np.clip(np.stack(channels, axis=2), 0, 1) * 255).astype(np.uint8)
        if stored.dtype.kind != "u":
            raise ImageError("dicom.signed_colour", image=self._name)
        depth = int(self._dataset.BitsStored)
        if depth == 8:
            return stored.astype(np.uint8)
        return np.round(np.clip(stored / ((1 << depth) - 1), 0, 1) * 255).astype(np.uint8)

    def _grey(self, values: Grey, is_byte: bool, padding: npt.NDArray[np.bool_], view: View) -> _Mapped:
        """Map values in units of the modality; `is_byte` tells whether they are stored as they are, in a byte each."""
        if view.window is not None:
            if view.window in PRESETS and self._modality is not Modality.CT:
                raise ImageError("dicom.preset_without_ct", image=self._name, window=view.window)
            return _windowed(values, parse_window(view.window), FROM_USER)
        if table := self.voi_table():
            grey = np.clip(lut.apply(values, table) / table.maximum, 0.0, 1.0)
            step = Message("reading.voi_table", entries=len(table.outputs), bits=table.bits)
            if table.bits == table.stated_bits:
                return _Mapped(grey, step)
            narrow = Message("dicom.narrow_table", stated=table.stated_bits, used=table.bits)
            return _Mapped(grey, step, warnings=(narrow,))
        if window_and_function := _stated_window(self._voi()):
            window, function = window_and_function
            return _windowed(values, window, FROM_FILE, function)
        if is_byte and int(self._dataset.BitsStored) == 8:
            return _Mapped(values / 255.0, Message("reading.as_stored"))
        if self._modality is Modality.CT and self.rescale() is not None and self._may_be_hounsfield():
            window = PRESETS[view.default_preset]
            centre, width = window
            warning = Message("dicom.default_window", preset=view.default_preset, centre=centre, width=width)
            return _windowed(values, window, FROM_PRESET, warnings=(warning,))
        window, notes = automatic_window(values[~padding])
        return _windowed(values, window, FROM_VALUES, "LINEAR_EXACT", notes)

    def _modality_values(self, stored: Values) -> tuple[Grey, bool]:
        """Values in units of the modality, and whether these are the stored values unchanged."""
        exact = np.float32 if stored.dtype.itemsize <= 2 else np.float64
        if table := self.modality_table():
            return lut.apply(stored, table).astype(exact), False
        values: Grey = stored.astype(exact)
        rescale = self.rescale()
        if rescale is None:
            return values, True
        slope, intercept = rescale  # plain floats keep an array's depth
        return values * slope + intercept, rescale == (1.0, 0.0)

    def _number(self, keyword: str) -> float | None:
        """A number of the rescale; None if the file does not state it."""
        group = self._functional_group("PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept")
        value = group.get(keyword)
        if value is None or value == "":
            return None
        number = first_number(value)
        if number is None:
            raise ImageError("dicom.unreadable_number", image=self._name, keyword=keyword)
        return number

    def _rescale_notes(self) -> tuple[Message, ...]:
        """A note where the file states one half of a rescale."""
        if self.modality_table() is not None:
            return ()
        slope, intercept = (self._number(keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
        if (slope is None) == (intercept is None) or (slope, intercept) in ((1.0, None), (None, 0.0)):
            return ()
        return (Message("dicom.no_intercept") if intercept is None else Message("dicom.no_slope"),)

    def _may_be_negative(self) -> bool:
        """Whether the stored type allows values below zero in units of the modality (C.11.2.1.1)."""
        if self.modality_table() is not None:
            return False
        bits, signed = int(self._dataset.BitsAllocated), int(self._dataset.get("PixelRepresentation") or 0)
        if "PixelData" in self._dataset:
            lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        else:
            lowest, highest = -1, 1
        slope, intercept = self.rescale() or (1.0, 0.0)
        return min(lowest * slope, highest * slope) + intercept < 0

    def _may_be_hounsfield(self) -> bool:
        """Whether the Rescale Type allows it: other maps of a CT have electron densities or atomic numbers (C.11.1.1.2)."""
        return self._rescale_type() in ("HU", "HU_MOD", "US")

    def _rescale_type(self) -> str:
        """The Rescale Type; without one it is HU, of a CT."""
        group = self._functional_group("PixelValueTransformationSequence", "RescaleType")
        return str(group.get("RescaleType") or "HU")

    def _unit(self) -> str | None:
        """The unit of the values, where it is sure."""
        is_rescaled = self.modality_table() is None and self.rescale() is not None
        return "HU" if self._modality is Modality.CT and is_rescaled and self._rescale_type() == "HU" else None

    def _padding(self, stored: Values) -> npt.NDArray[np.bool_]:
        """Which pixels hold the padding value: nothing was scanned there."""
        kind = "" if stored.dtype.kind in "iu" else "Float" if stored.dtype.itemsize == 4 else "DoubleFloat"
        stated = (first_number(self._dataset.get(f"{kind}PixelPadding{name}")) for name in ("Value", "RangeLimit"))
        numbers = [_as_stored(number, stored.dtype) for number in stated if number is not None and math.isfinite(number)]
        if not numbers or self._dataset.get(f"{kind}PixelPaddingValue") is None:
            return np.zeros(stored.shape, bool)
        return (stored >= min(numbers)) & (stored <= max(numbers))

    def _voi(self) -> Dataset:
        """What holds the VOI table or the window."""
        return self._functional_group("FrameVOILUTSequence", "VOILUTSequence", "WindowCenter")

    def _functional_group(self, group: str, *keywords: str) -> Dataset:
        return functional_group(self._dataset, self._frame, group, *keywords)


def _windowed(
    values: Grey, window: Window, source: Message, stated: str = "LINEAR", warnings: tuple[Message, ...] = ()
) -> _Mapped:
    function = voi_function(window, stated)
    step = window_step(window, function, source)
    return _Mapped(apply_window(values, window, function), step, window, function, warnings)


def _as_stored(number: float, dtype: np.dtype[Any]) -> float:
    """A padding value of 16 bits as a pixel of this type holds it, if it was written with the other kind of sign."""
    if dtype.kind == "i" and np.iinfo(dtype).max < number < 1 << 16:
        return number - (1 << 16)
    if dtype.kind == "u" and -(1 << 15) <= number < 0:
        return number + (1 << 16)
    return number


def _stated_window(group: Dataset) -> tuple[Window, str] | None:
    """The first window of a group with its VOI LUT Function; None if there is no usable one."""
    centre, width = first_number(group.get("WindowCenter")), first_number(group.get("WindowWidth"))
    if centre is None or width is None or not (math.isfinite(centre) and 0 < width < math.inf):
        return None
    return (centre, width), str(group.get("VOILUTFunction") or "LINEAR").upper()
