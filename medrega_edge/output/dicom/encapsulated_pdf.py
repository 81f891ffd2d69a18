"""The page of an answer as an object of the patient's study (PS3.3 A.45.1), for who reads neither report nor state."""

from __future__ import annotations

from datetime import datetime

from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from medrega_edge.answer import Answer
from medrega_edge.domain import NOTICE
from medrega_edge.images.dicom.geometry import pixel_aspect_ratio
from medrega_edge.output.dicom.common import identity
from medrega_edge.output.dicom.patient_and_study import remove_escapes
from medrega_edge.output.pdf_page import PageFacts, answer_page

_TITLE = Code("126000", "DCM", "Imaging Measurement Report")  # that of the structured report


def encapsulated_pdf(answer: Answer, source: Dataset, series_number: int, picture: Image.Image, question: str) -> Dataset:
    """Build an encapsulated PDF about the scan `source`; `picture` has the regions drawn, RGB."""
    now = datetime.now()
    made = SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate,
        study_time=source.StudyTime,
        referring_physician_name=source.ReferringPhysicianName,
        content_date=now.date(),
        content_time=now.time(),
        **identity(series_number, "AI page (PDF)", answer.model),
    )
    made.copy_patient_and_study_information(source)
    remove_escapes(made)
    made.ConversionType = "WSD"  # made on a workstation
    made.BurnedInAnnotation = "YES"  # the page names the patient
    made.AcquisitionDateTime = source.get("AcquisitionDateTime") or None
    made.SourceInstanceSequence = [_reference(source)]
    made.DocumentTitle = f"Answer of a model about one image. {NOTICE}"
    made.ConceptNameCodeSequence = [CodedConcept.from_code(_TITLE)]
    made.VerificationFlag = "UNVERIFIED"
    made.MIMETypeOfEncapsulatedDocument = "application/pdf"
    page = answer_page(answer, question, picture, _facts(made, source, answer.image.frame, now))
    made.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    made.EncapsulatedDocumentLength = len(page)
    return made


def _facts(made: Dataset, source: Dataset, frame: int | None, now: datetime) -> PageFacts:
    names = str(made.get("PatientName") or "").split("=")[:2]  # in letters, and in characters
    name = " / ".join(filter(None, (" ".join(part.replace("^", " ").split()) for part in names)))
    date = str(made.get("StudyDate") or "")
    date = f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 else date
    down, across = pixel_aspect_ratio(source, frame)
    return PageFacts(name, str(made.get("PatientID") or ""), date, str(source.SOPInstanceUID), now, (down, across))


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item
