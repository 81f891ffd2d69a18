"""DICOM -> MedicalImage: one frame, in the grey or colour that the standard says a screen shall show.

Knows the grey pipeline (stored values, modality table or rescale, VOI table or window, inversion), colour, frames and
their functional groups, pixel spacing and the patient's directions. What pydicom decodes has passed `dicom_guard`. No
text of the header leaves this module but closed sets: modality, direction letters, names of the standard.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Modality
from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.images.medical_image import Area, MedicalImage, Source, View, as_image_error, check_size, choose
from medrega_edge.images.windowing import PRESETS, Window, full_range, parse_window, through_window, to_rgb

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MODALITY = {
    "CT": Modality.CT,
    "MR": Modality.MRI,
    "CR": Modality.XRAY,
    "DX": Modality.XRAY,
    "RF": Modality.XRAY,
    "XA": Modality.XRAY,
    "MG": Modality.MAMMOGRAPHY,
    "US": Modality.ULTRASOUND,
    "OP": Modality.FUNDUS,
    "OPT": Modality.OCT,
    "ES": Modality.ENDOSCOPY,
    "SM": Modality.PATHOLOGY,
    "GM": Modality.PATHOLOGY,
}
_PROJECTIONS = (Modality.XRAY, Modality.MAMMOGRAPHY)
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}
_SLANTED = 0.4  # a direction that leans by more than 24 degrees is told with two letters

_TWO_DIMENSIONAL, _CENTIMETRES = 1, 3  # of RegionSpatialFormat and of PhysicalUnits (C.8.5.5.1.1, C.8.5.5.1.15)
_REGION_BOUNDS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
_REGION_UNITS = ("PhysicalUnitsXDirection", "PhysicalUnitsYDirection")

Values = npt.NDArray[Any]


def read_dicom(source: Source, view: View) -> MedicalImage:
    """Read one frame of a DICOM file; raises ImageError, ResourceError where the frame needs an extra."""
    from medrega_edge.images.dicom.validation import (
        check_pixel_data,
        is_bare,
        load_pydicom,
        looks_like_a_program,
        read_header,
    )

    load_pydicom()
    from pydicom.errors import InvalidDicomError

    name = source.name
    with (
        as_image_error(f"{name} is a damaged DICOM file and cannot be read; export it again."),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # pydicom's would quote header values, and they may be a patient's
        try:
            dataset = read_header(source.data, name)
            rows, columns = int(dataset.Rows), int(dataset.Columns)
            count = int(dataset.get("NumberOfFrames", 1) or 1)
        except (InvalidDicomError, AttributeError):
            raise ImageError(f"{name} is a DICOM file without a picture in it; name an image object.") from None
        check_size(columns, rows, name)
        chosen = choose(view.frame, count, name)
        check_pixel_data(dataset, max(count, 1), chosen or 0, name)
        picture = Frame(dataset, chosen or 0, name)
        pixels, window, said = picture.shown(view)
        if looks_like_a_program(source.data):
            said += ("the file begins as a program does: it is read as an image here, but do not run it",)
        if is_bare(source.data):
            said += ("the file lacks the beginning of a DICOM file, as some exports do: it is read as what follows it",)
        sides = picture.sides()
        if sides and sides[0][0] == "L":
            said += ("the patient's left is on the left of this picture, against the custom",)
        spacing, areas = picture.spacing()
    return MedicalImage(
        pixels, source.sha256, source.path, picture.modality, chosen, window, spacing, sides, said, spacing_areas=areas
    )


class Frame:
    """One frame of a dataset, with what its functional groups say of it."""

    def __init__(self, dataset: Dataset, frame: int, name: str) -> None:
        self.dataset, self.frame, self.name = dataset, frame, name
        self.little = bool(dataset.original_encoding[1])
        self.modality = _MODALITY.get(str(dataset.get("Modality", "")))
        self.photometric = str(dataset.PhotometricInterpretation)

    def shown(self, view: View) -> tuple[npt.NDArray[np.uint8], Window | None, tuple[str, ...]]:
        """Return RGB `[rows, columns, 3]`, the window that made it, if any, and warnings."""
        stored = self._decoded()
        if stored.ndim == 3 or self.photometric == "PALETTE COLOR":
            if view.window is not None:
                raise ImageError(f"{self.name} is in colour, which no window applies to; leave --window out.")
            return self._coloured(stored), None, ()
        stored = self._mask_unused_bits(stored)
        grey, window, said = self._grey(stored, view)
        if self.photometric == "MONOCHROME1":
            grey = 1.0 - grey
        grey[self._padding(stored)] = 0.0  # outside of what was scanned: never shown, so black
        return to_rgb(grey), window, said

    def _decoded(self) -> Values:
        """Stored values `[rows, columns]`, or RGB `[rows, columns, 3]`."""
        from pydicom.pixels import get_decoder, pixel_array
        from pydicom.uid import UID_dictionary

        syntax = self.dataset.file_meta.TransferSyntaxUID
        called = UID_dictionary[syntax][0] if syntax in UID_dictionary else "an unknown transfer syntax"
        refusal = f"The pixels of {self.name} ({called}) cannot be decoded; export it uncompressed."
        with as_image_error(refusal):
            decoder = get_decoder(syntax)
            if not decoder.is_available:
                raise ResourceError(
                    f"The pixels of {self.name} ({called}) need decoders that are not installed; "
                    "install them with: pip install 'medrega-edge[codecs]'."
                )
            values: Values = pixel_array(self.dataset, index=self.frame)  # YBR becomes RGB
        return values

    def _mask_unused_bits(self, stored: Values) -> Values:
        """Stored values without the bits above Bits Stored, which may hold anything, old overlays for example."""
        unused = stored.dtype.itemsize * 8 - int(self.dataset.get("BitsStored", 0) or 0)
        if stored.dtype.kind not in "iu" or not 0 < unused < stored.dtype.itemsize * 8:
            return stored
        return (stored << unused) >> unused

    def _coloured(self, stored: Values) -> npt.NDArray[np.uint8]:
        """Colour of any depth as 8 bits."""
        from medrega_edge.images.dicom.lut import apply, palette

        if self.photometric == "PALETTE COLOR":
            tables = palette(self.dataset, self.little)
            stored = self._mask_unused_bits(stored)
            channels = [apply(stored, table) / ((1 << table[2]) - 1) for table in tables]
            return np.round(np.clip(np.stack(channels, axis=2), 0, 1) * 255).astype(np.uint8)
        if stored.dtype.kind != "u":
            raise ImageError(f"The colours of {self.name} have a sign, which no picture means; export it again.")
        depth = int(self.dataset.BitsStored)
        if depth == 8:
            return stored.astype(np.uint8)
        return np.round(np.clip(stored / ((1 << depth) - 1), 0, 1) * 255).astype(np.uint8)

    def _grey(self, stored: Values, view: View) -> tuple[npt.NDArray[np.floating], Window | None, tuple[str, ...]]:
        """Grey 0..1 `[rows, columns]` before inversion, the window that made it, if any, and warnings."""
        from medrega_edge.images.dicom.lut import apply, lut

        values, is_plain = self._in_units(stored)
        if not np.isfinite(values).all():
            raise ImageError(f"{self.name} has values that are no numbers; export it again.")
        if view.window is not None:
            if view.window in PRESETS and self.modality is not Modality.CT:
                raise ImageError(
                    f"{self.name} is no CT, and the window '{view.window}' is in Hounsfield units; "
                    "give --window as centre,width."
                )
            window = parse_window(view.window)
            return through_window(values, window), window, ()
        voi = self.holder("FrameVOILUTSequence", "VOILUTSequence", "WindowCenter")
        if tables := voi.get("VOILUTSequence"):
            table = lut(tables[0], self.little, self._may_be_negative(stored))
            return np.clip(apply(values, table) / ((1 << table[2]) - 1), 0.0, 1.0), None, ()
        if found := _window(voi):
            return through_window(values, *found), found[0], ()
        if is_plain and stored.dtype == np.uint8 and int(self.dataset.BitsStored) == 8:
            return values / 255.0, None, ()
        if self.modality is Modality.CT and self._rescale() is not None:
            window = PRESETS[view.preset]
            said = f"the file names no window: it is shown in the window '{view.preset}' ({window[0]:g}, {window[1]:g})"
            return through_window(values, window), window, (said,)
        window = full_range(values[~self._padding(stored)])
        return through_window(values, window, "LINEAR_EXACT"), window, ()

    def _in_units(self, stored: Values) -> tuple[npt.NDArray[np.floating], bool]:
        """Stored values in units of the modality, and whether they are the stored values as they stand."""
        from medrega_edge.images.dicom.lut import apply, lut

        exact = np.float32 if stored.dtype.itemsize <= 2 else np.float64
        if tables := self.dataset.get("ModalityLUTSequence"):
            return apply(stored, lut(tables[0], self.little)).astype(exact), False
        rescale = self._rescale()
        if rescale is None:
            return stored.astype(exact), True
        slope, intercept = rescale
        values: npt.NDArray[np.floating] = stored.astype(exact)
        return values * slope + intercept, rescale == (1.0, 0.0)

    def _rescale(self) -> tuple[float, float] | None:
        """Slope and intercept, None where they are not both there."""
        holder = self.holder("PixelValueTransformationSequence", "RescaleSlope", "RescaleIntercept")
        slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
        if slope is None or intercept is None:
            return None
        return float(slope), float(intercept)  # plain floats keep an array's depth

    def _may_be_negative(self, stored: Values) -> bool:
        """Whether values in units of the modality can be below zero, whatever this picture's are (C.11.2.1.1)."""
        if self.dataset.get("ModalityLUTSequence"):
            return False
        slope, intercept = self._rescale() or (1.0, 0.0)
        lowest, highest = (np.iinfo(stored.dtype).min, np.iinfo(stored.dtype).max) if stored.dtype.kind in "iu" else (-1, 1)
        return min(lowest * slope, highest * slope) + intercept < 0

    def _padding(self, stored: Values) -> npt.NDArray[np.bool_]:
        """Where a value says that nothing was scanned."""
        first = self.dataset.get("PixelPaddingValue")
        if first is None:
            return np.zeros(stored.shape, bool)
        last = self.dataset.get("PixelPaddingRangeLimit", first)
        first, last = (first, first) if last is None else (min(first, last), max(first, last))
        return (stored >= int(first)) & (stored <= int(last))

    def spacing(self) -> tuple[tuple[float, float] | None, tuple[Area, ...]]:
        """Millimetres of a pixel (across, down) in the patient, None where the file does not say them; and where they hold.

        No area means everywhere.
        """
        if regions := self.dataset.get("SequenceOfUltrasoundRegions"):
            return _of_regions(regions)
        spacing = self.value("PixelMeasuresSequence", "PixelSpacing")
        detector = self.dataset.get("ImagerPixelSpacing")
        calibrated = "PixelSpacingCalibrationType" in self.dataset or spacing != detector
        try:
            # A projection is larger than the patient: without calibration its spacing is that of the detector.
            if spacing is None or (self.modality in _PROJECTIONS and not calibrated):
                return None, ()
            down, across = (float(value) for value in spacing)
        except (TypeError, ValueError):
            return None, ()
        return (across, down) if 0 < across < 1000 and 0 < down < 1000 else None, ()

    def sides(self) -> tuple[str, str, str, str] | None:
        """The patient's directions at the left, top, right and bottom, None where the file does not say them."""
        cosines = self.value("PlaneOrientationSequence", "ImageOrientationPatient")
        try:
            if cosines is not None:
                numbers = [float(value) for value in cosines]
                if len(numbers) != 6 or not all(abs(number) <= 1.001 for number in numbers):
                    return None
                right, bottom = _letters(numbers[:3]), _letters(numbers[3:])
            else:
                right, bottom = (str(value) for value in self.dataset.get("PatientOrientation") or ("", ""))
            left, top = ("".join(_OPPOSITE[letter] for letter in side) for side in (right, bottom))
        except (TypeError, ValueError, KeyError):
            return None
        return (left, top, right, bottom) if left and top and len(left) <= 3 and len(top) <= 3 else None

    def value(self, group: str, keyword: str) -> Any:
        """A value of this frame: from its own functional group, the one all frames share, or the dataset."""
        return self.holder(group, keyword).get(keyword)

    def holder(self, group: str, *keywords: str) -> Dataset:
        """What says one of the keywords of this frame, so that values which belong together come from one place."""
        own = self.dataset.get("PerFrameFunctionalGroupsSequence")
        shared = self.dataset.get("SharedFunctionalGroupsSequence")
        for groups in (own[self.frame] if own and self.frame < len(own) else None, shared[0] if shared else None):
            items = groups.get(group) if groups else None
            if items and any(keyword in items[0] for keyword in keywords):
                item: Dataset = items[0]
                return item
        return self.dataset


def _window(holder: Dataset) -> tuple[Window, str] | None:
    """The first window that is there, with its function; None where there is none that can be used."""
    centre, width = _first(holder.get("WindowCenter")), _first(holder.get("WindowWidth"))
    if centre is None or width is None or not (math.isfinite(centre) and 0 < width < math.inf):
        return None
    return (centre, width), str(holder.get("VOILUTFunction") or "LINEAR")


def _of_regions(regions: Iterable[Dataset]) -> tuple[tuple[float, float] | None, tuple[Area, ...]]:
    """Millimetres of a pixel in an ultrasound picture, and where they hold (C.8.5.5).

    Such a picture holds regions of several kinds: those of a tissue have a scale, a curve over time has another meaning.
    The scale is that of the largest region in centimetres across and down; other regions in the same scale go with it.
    """
    scaled: list[tuple[Area, tuple[float, float]]] = []
    for region in regions:
        numbers = [_first(region.get(keyword)) for keyword in (*_REGION_BOUNDS, "PhysicalDeltaX", "PhysicalDeltaY")]
        kinds = [region.get(keyword) for keyword in ("RegionSpatialFormat", *_REGION_UNITS)]
        if kinds != [_TWO_DIMENSIONAL, _CENTIMETRES, _CENTIMETRES] or None in numbers:
            continue
        x1, y1, x2, y2, across, down = (abs(number or 0.0) for number in numbers)  # a delta may count to the left or upwards
        if x1 < x2 < 1e6 and y1 < y2 < 1e6 and 0 < across < 100 and 0 < down < 100:
            scaled.append(((x1, y1, x2 + 1, y2 + 1), (10 * across, 10 * down)))  # both ends belong to it
    if not scaled:
        return None, ()
    _, spacing = max(scaled, key=lambda one: (one[0][2] - one[0][0]) * (one[0][3] - one[0][1]))
    return spacing, tuple(area for area, scale in scaled if np.allclose(scale, spacing, rtol=1e-4))


def _first(value: Any) -> float | None:
    """The first of one or several numbers, None where there is none."""
    try:
        return float(value[0] if hasattr(value, "append") else value)
    except (TypeError, ValueError, IndexError):
        return None


def _letters(cosine: list[float]) -> str:
    """Letters of a direction in DICOM's patient coordinates (to the left, the back, the head), the strongest first."""
    pairs = zip(cosine, ("LR", "PA", "HF"), strict=True)
    strong = sorted(((abs(value), pair[value < 0]) for value, pair in pairs if abs(value) > _SLANTED), reverse=True)
    return "".join(letter for _, letter in strong)
