"""Answer -> DICOM objects for the archive the scan came from: structured report, presentation state, secondary capture.

Knows templates and references; knows no model. Each object belongs to the scan's study, forms a series of its own, refers
to the scan, and says that it is for research use only. It carries the patient's name and number, as an archive needs them,
so it is written only where a folder for it is named. highdicom, which builds the objects, is an extra.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from medrega_edge import __version__
from medrega_edge.domain import NOTICE
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.images.dicom.reader import Frame
from medrega_edge.images.dicom.validation import FIRST_BYTES, is_dicom, load_pydicom, read_header
from medrega_edge.images.medical_image import as_image_error
from medrega_edge.io.atomic import atomic_write, check_output_path
from medrega_edge.vocabulary.terminology import Term, table

if TYPE_CHECKING:
    from PIL import Image
    from pydicom.dataset import Dataset

    from medrega_edge.answer import Answer, Region

KINDS = ("sr", "gsps", "sc")
SCHEME = "99MEDREGA"  # designator of our own codes, for what no public scheme has
MAKER, LAYER = "medrega-edge", "MEDREGA"


def parse_kinds(text: str) -> tuple[str, ...]:
    """Read "sr,gsps,sc" or a part of it; raises UsageError."""
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"There is no DICOM object '{unknown[0][:20]}'; choose of: {','.join(KINDS)}.")
    return kinds


def places(folder: Path, kinds: Sequence[str], image: Path) -> dict[str, Path]:
    """Where each object about an image goes, checked before any work.

    Raises UsageError for a folder, or an image, that will not do, and ResourceError without highdicom. An image that
    cannot be read, or a folder of images, is left to the reader of images, which says more of it.
    """
    named = {kind: folder / f"medrega-{kind}.dcm" for kind in kinds}
    for path in named.values():
        check_output_path(path, image)
    if os.path.isfile(image):  # Path.is_file raises for a name that is too long
        with suppress(OSError), image.open("rb") as file:
            _check_scan(file.read(FIRST_BYTES))
    _highdicom()
    return named


def _check_scan(data: bytes) -> None:
    if data and not is_dicom(data):
        raise UsageError("DICOM objects refer to a DICOM file, and the image is none; leave --dicom out.")


def _highdicom() -> ModuleType:
    load_pydicom()  # before highdicom would import it in its own way
    try:
        return importlib.import_module("highdicom")
    except ImportError:
        raise ResourceError("DICOM objects need highdicom; install it with: pip install 'medrega-edge[dicom]'.") from None


def write_objects(answer: Answer, scan: Path, picture: Image.Image, to: dict[str, Path]) -> None:
    """Write the objects named by kind in `to` about an answer to a DICOM scan; `picture` is the marked one.

    Raises UsageError when the scan is no DICOM file or lacks what an archive needs, ResourceError without highdicom.
    """
    data = scan.read_bytes()
    _check_scan(data)
    if hashlib.sha256(data).hexdigest() != answer.image.sha256:
        raise UsageError("The image has changed since it was looked at; ask again.")
    for path in to.values():
        check_output_path(path, scan)
    highdicom = _highdicom()
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    make: dict[str, Callable[[_Writer], Dataset]] = {"sr": _Writer.report, "gsps": _Writer.presentation}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = read_header(data, "the image")
        objects = {}
        with as_image_error("The image lacks or contradicts what a DICOM object needs; leave --dicom out."):
            for number, kind in enumerate(to):
                writer = _Writer(highdicom, source, answer, number)
                made = writer.capture(np.asarray(picture)) if kind == "sc" else make[kind](writer)
                if kind != "sr":
                    made.Laterality = None  # has to be there, and only a person knows it
                buffer = io.BytesIO()
                made.save_as(buffer, enforce_file_format=True)
                objects[kind] = buffer.getvalue()
    for kind, path in to.items():
        with atomic_write(path) as file:
            file.write(objects[kind])


class _Writer:
    """Builds one object about one answer."""

    def __init__(self, highdicom: ModuleType, source: Dataset, answer: Answer, number: int) -> None:
        self.hd, self.source, self.answer = highdicom, source, answer
        self.frame = None if answer.image.frame is None else [answer.image.frame + 1]  # DICOM counts from 1
        self.common = {
            "series_instance_uid": self._uid(),
            "series_number": 7000 + number,
            "sop_instance_uid": self._uid(),
            "instance_number": 1,
            "manufacturer": MAKER,
            "series_description": NOTICE,
            "specific_character_set": "ISO_IR 192",
        }

    def _uid(self) -> str:
        from pydicom.uid import generate_uid

        return str(generate_uid(prefix=None))

    def report(self) -> Dataset:
        """A structured report after TID 1500: each region with its name, its score and the algorithm."""
        from pydicom.sr.coding import Code

        sr = self.hd.sr
        device = sr.DeviceObserverIdentifyingAttributes(uid=self._uid(), name=MAKER, model_name=self.answer.model.name)
        observer = sr.ObserverContext(Code("121007", "DCM", "Device"), device)
        groups = [self._group(region) for region in self.answer.regions]
        report = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=observer),
            procedure_reported=Code("363679005", "SCT", "Imaging procedure"),
            imaging_measurements=groups or [self._nothing_found()],
            title=Code("126000", "DCM", "Imaging Measurement Report"),
        )
        made: Dataset = sr.ComprehensiveSR(evidence=[self.source], content=report, is_complete=True, **self.common)
        return made

    def _algorithm(self) -> Any:
        model = self.answer.model
        said = [NOTICE, f"package {model.sha256}", f"precision {model.precision}"]
        return self.hd.sr.AlgorithmIdentification(model.name, model.version, said, manufacturer=MAKER)

    def _group(self, region: Region) -> Any:
        """TID 1410: a planar region. The box is a closed line in the image's own pixels."""
        from pydicom.sr.coding import Code

        sr = self.hd.sr
        image = sr.SourceImageForRegion(self.source.SOPClassUID, self.source.SOPInstanceUID, self.frame)
        score = Code("score", SCHEME, "Score of the model")
        no_unit = Code("1", "UCUM", "no units")
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=self._uid(), identifier=region.label[:64]),
            referenced_region=sr.ImageRegion("POLYLINE", _corners(region), image),
            finding_type=_finding(region.label),
            algorithm_id=self._algorithm(),
            measurements=[] if region.confidence is None else [sr.Measurement(score, round(region.confidence, 4), no_unit)],
        )

    def _nothing_found(self) -> Any:
        from pydicom.sr.coding import Code

        sr = self.hd.sr
        return sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=self._uid(), identifier="no region"),
            source_images=[
                sr.SourceImageForMeasurementGroup(self.source.SOPClassUID, self.source.SOPInstanceUID, self.frame)
            ],
            algorithm_id=self._algorithm(),
            qualitative_evaluations=[
                sr.QualitativeEvaluation(Code("121071", "DCM", "Finding"), Code("none", SCHEME, "No region found"))
            ],
        )

    def presentation(self) -> Dataset:
        """A softcopy presentation state: what any viewer draws over the scan itself."""
        pr = self.hd.pr
        layer = pr.GraphicLayer(LAYER, order=1, description=NOTICE)
        boxes = [pr.GraphicObject("POLYLINE", _corners(region), "PIXEL") for region in self.answer.regions]
        texts = [pr.TextObject(_name(region), "PIXEL", anchor_point=region.box[:2]) for region in self.answer.regions]
        notice = pr.TextObject(NOTICE, "DISPLAY", bounding_box=(0.0, 0.95, 1.0, 1.0))
        scan = self._plain_scan()
        drawn = pr.GraphicAnnotation(
            [scan], layer, referenced_frame_number=self.frame, graphic_objects=boxes, text_objects=[*texts, notice]
        )
        options: dict[str, Any] = {
            "referenced_images": [scan],
            "manufacturer_model_name": self.answer.model.name[:64],
            "software_versions": __version__,
            "device_serial_number": self.answer.model.sha256[:12],
            "content_label": "MEDREGA",
            "content_description": NOTICE,
            "graphic_annotations": [drawn],
            "graphic_layers": [layer],
        }
        if scan.SamplesPerPixel == 1:
            if self.answer.image.window:  # what was looked at is what the viewer shows
                options["voi_lut_transformations"] = [pr.SoftcopyVOILUTTransformation(*self.answer.image.window)]
            return self._made(pr.GrayscaleSoftcopyPresentationState, options)
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        # DICOM wants the profile of an input device (PS3.3 C.11.15); this one is the same table under a monitor's name.
        options["icc_profile"] = profile[:12] + b"scnr" + profile[16:]
        return self._made(pr.ColorSoftcopyPresentationState, options)

    def _plain_scan(self) -> Dataset:
        """The scan as highdicom understands it: a palette as colour; of several frames, the rescale of the one meant."""
        from pydicom.dataset import Dataset

        plain = Dataset()
        plain.update(self.source)
        if self.source.PhotometricInterpretation == "PALETTE COLOR":
            plain.SamplesPerPixel, plain.PhotometricInterpretation = 3, "RGB"
        if not self.frame:
            return plain
        frame = Frame(self.source, self.frame[0] - 1, "")
        names = ("RescaleSlope", "RescaleIntercept", "RescaleType")
        values = {name: frame.value("PixelValueTransformationSequence", name) for name in names}
        transformation, shared = Dataset(), Dataset()
        if None not in values.values():
            transformation.update(values)
            shared.PixelValueTransformationSequence = [transformation]
        plain.SharedFunctionalGroupsSequence = [shared]
        plain.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(int(self.source.NumberOfFrames))]
        return plain

    def _made(self, kind: Any, options: dict[str, Any]) -> Dataset:
        made: Dataset = kind(**options, **self.common)
        return made

    def capture(self, picture: Any) -> Dataset:
        """A secondary capture of the marked picture, for viewers that draw neither of the others."""
        sides = self.answer.image.sides
        made: Dataset = self.hd.sc.SCImage.from_ref_dataset(
            self.source,
            pixel_array=np.ascontiguousarray(picture),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            **self.common,
        )
        made.PatientOrientation = [sides[2], sides[3]] if sides else None
        made.DerivationDescription = f"{MAKER} {__version__}: regions drawn into a copy. {NOTICE}"
        made.ImageType = ["DERIVED", "SECONDARY"]
        made.SourceImageSequence = [self._reference()]
        made.ContentDate, made.ContentTime = datetime.now().strftime("%Y%m%d"), datetime.now().strftime("%H%M%S")
        return made

    def _reference(self) -> Dataset:
        from pydicom.dataset import Dataset

        item = Dataset()
        item.ReferencedSOPClassUID = self.source.SOPClassUID
        item.ReferencedSOPInstanceUID = self.source.SOPInstanceUID
        if self.frame:
            item.ReferencedFrameNumber = self.frame
        return item


def _corners(region: Region) -> Any:
    """The box as a closed line `[5, 2]`: in DICOM too the top left corner of the first pixel is (0, 0)."""
    x1, y1, x2, y2 = region.box
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], np.float32)


def _name(region: Region) -> str:
    return region.label if region.confidence is None else f"{region.label} {region.confidence:.2f}"


def _finding(label: str) -> Any:
    """The label's SNOMED CT code where we are sure of it, else a code of our own with the label as its meaning."""
    from pydicom.sr.coding import Code

    term = _term(label)
    if term is None or term.snomed is None:
        return Code(hashlib.sha256(label.encode()).hexdigest()[:16], SCHEME, label[:64])
    return Code(term.snomed, "SCT", term.en)


def _term(label: str) -> Term | None:
    bare = label.removeprefix("left ").removeprefix("right ").lstrip("左右侧")
    return next((term for term in table().values() if bare in (term.en, *term.also_en, *term.also_zh)), None)
