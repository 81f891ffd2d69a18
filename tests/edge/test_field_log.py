"""Public bug reports of other programs, tried on this one: docs/field_log.md names each report and what became of it.

Each case is a small file that shows the reported fault. Expected values are worked out by hand.
"""

import io
import json
import os
import re
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, itemize_frame
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGBaseline8Bit

from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.codes import raises_code
from tests.edge.dicoms import colour, dataset, dicom, encoded, filled, lut, row, window
from tests.edge.stub import medrega

TESTS = Path(__file__)
LOG = TESTS.parents[2] / "docs" / "field_log.md"
CORNERS = np.zeros((32, 32, 3), "u1")
CORNERS[:, :16], CORNERS[:, 16:] = [200, 30, 30], [20, 40, 180]


def written(picture, form, **options):
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def jpeg(pixels=CORNERS, **options):
    return written(Image.fromarray(pixels), "JPEG", quality=95, subsampling=0, **options)


def compressed(stream, syntax=JPEGBaseline8Bit, **tags):
    return colour(CORNERS, syntax=syntax, PixelData=encapsulate([stream]), **tags)


def tiff(pixels, bits, samples=1, order="<", **tags):
    """A TIFF of 20 x 20 pixels with these bytes; `tags` are _NUMBER=value, bytes for text."""
    planes = samples if tags.get("_284") == 2 else 1
    size = 400 * bits * samples // 8 // planes
    stated = {256: 20, 257: 20, 258: [bits] * samples, 259: 1, 262: 1, 273: 0, 277: samples, 278: 20, 279: [size] * planes}
    stated |= {int(name[1:]): value for name, value in tags.items()}
    start = 8 + 2 + 12 * len(stated) + 4
    stated[273] = [start + 400 + size * plane for plane in range(planes)]
    entries, behind = b"", b""
    for tag, value in sorted(stated.items()):
        values = value if isinstance(value, list) else [value]
        text = isinstance(value, bytes)
        count, kind = (len(value), 2) if text else (len(values), 4)
        body = value if text else struct.pack(f"{order}{count}I", *values)
        if len(body) > 4:
            body, behind = struct.pack(order + "I", start + len(behind)), behind + body + bytes(len(body) % 2)
        entries += struct.pack(order + "HHI", tag, kind, count) + body.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(stated))
    return head + entries + bytes(4) + behind.ljust(400, b"\0") + pixels


def wide(values, kind):
    return np.tile(np.array([*values, *[values[-1]] * (20 - len(values))], kind), (20, 1)).tobytes()


def tables(first, red):
    tags = {}
    for name, entries in (("Red", red), ("Green", [0] * len(red)), ("Blue", [0] * len(red))):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [len(red), first, 8]
        tags[f"{name}PaletteColorLookupTableData"] = bytes(entries)
    return tags


def big_endian(pixels):
    swapped = np.frombuffer(pixels.tobytes(), "u2").byteswap().tobytes()
    data = encoded(colour(pixels, PixelData=swapped), ExplicitVRBigEndian)
    return data.replace(b"\x7f\xe0\0\x10OB", b"\x7f\xe0\0\x10OW")


def jpeg_2000(pixels):
    from openjpeg.utils import encode_array

    return bytes(encode_array(pixels, photometric_interpretation=1, use_mct=True, codec_format=0))


def in_fragments(number, empty_one_behind=False):
    """Three frames of grey 20, 80, 140, each in `number` fragments, without an offset table."""
    frames = [np.full((32, 32), grey, "u1") for grey in (20, 80, 140)]
    items = [b"".join(itemize_frame(jpeg(frame), number)) for frame in frames]
    empty = b"\xfe\xff\0\xe0\0\0\0\0"
    pixels = b"".join([empty, *items, *([empty] if empty_one_behind else [])])
    return dicom(np.stack(frames), syntax=JPEGBaseline8Bit, PixelData=pixels)


def cmyk():
    """A JPEG of CMYK without Adobe's mark."""
    stream = written(Image.new("CMYK", (20, 20)), "JPEG")
    return stream.replace(b"\xff\xee\0\x0eAdobe", b"\xff\xef\0\x0eadobe")


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    pixels = np.zeros((16, 32), "u1")
    pixels[8:] = 200  # below in the file is left in the picture
    return written(Image.fromarray(pixels), "PNG", exif=exif)


def grey_and_alpha():
    """A TIFF of grey times alpha, and alpha."""
    return tiff(bytes([90, 180]) * 400, 8, samples=2, _338=1)


def volume(values, affine=(2.0, 3.0, 4.0, 1.0), edit=lambda header: None):
    nibabel = pytest.importorskip("nibabel")
    made = nibabel.Nifti1Image(values, np.diag(affine) if np.ndim(affine) == 1 else affine)
    edit(made.header)
    return made.to_bytes()


def scaled(slope, intercept):
    data = bytearray(volume(COUNT))
    struct.pack_into("<2f", data, 112, slope, intercept)
    return bytes(data)


def two_directions(header):
    header.set_qform(np.diag([-2.0, 3.0, -4.0, 1.0]), 1)
    header.set_sform(np.diag([2.0, 3.0, 4.0, 1.0]), 1)


COUNT = np.arange(20 * 20 * 20, dtype="i2").reshape(20, 20, 20)
LEANING = np.array([[2.0, 0, 0, 0], [0, 3, 1, 0], [0, 0, 4, 0], [0, 0, 0, 1]])
RISING = wide([0, 1000, 30000, 65535], "<u2")
SIXTEEN = np.zeros((3, 20, 20), "<u2")
SIXTEEN[0] = 65535
SLICE = View(slice=3)
PLAIN = {"PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
YBR = {"PhotometricInterpretation": "YBR_FULL_422"}
RED, GREY = [200, 30, 30], [[0] * 3, [128] * 3, [255] * 3]

# the report: the file, the view, the first pixels of row 5 (within 3), and the codes that have to be said
READ = {
    "cornerstonejs/cornerstone3D#2462": (lambda: compressed(jpeg(), **YBR | {"PlanarConfiguration": 1}), View(), [RED], []),
    "dgobbi/vtk-dicom#237": (
        lambda: dicom(row([0, 100, 252], "u2"), bits=8, **window(128, 256), **tables(252, [0, 255])),
        View(), [[0] * 3, [100] * 3, [252] * 3], ["reading.supplemental_palette"]),
    "cornerstonejs/cornerstone3D#1925": (
        lambda: dicom(row([0, 5000, 10000], "u2"), RescaleSlope="0.01", RescaleIntercept="0", **window(50, 100)),
        View(), GREY, []),
    "fo-dicom/fo-dicom#1999": (
        lambda: dicom(row([0, 5000, 10000], "u2"), RescaleSlope="0.0001", RescaleIntercept="0", **window("0.5", "0.5")),
        View(), GREY, []),
    "rii-mango/Daikon#35": (
        lambda: dicom(row([0, 100, 255], "u1"), PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE",
                      PixelIntensityRelationshipSign=-1),
        View(), [[255] * 3, [155] * 3, [0] * 3], ["reading.inverted"]),
    "cornerstonejs/cornerstone#508": (
        lambda: dicom(row([100, 15050, 30000], "u2"), SmallestImagePixelValue=13731, LargestImagePixelValue=20000),
        View(), GREY, []),
    "pydicom/pydicom#1680": (lambda: big_endian(filled([255, 0, 0], [0, 255, 0], [1, 2, 3])), View(),
                             [[255, 0, 0], [0, 255, 0], [1, 2, 3]], []),
    "nroduit/Weasis#140": (lambda: compressed(jpeg(), **PLAIN), View(), [RED], []),
    "bettar/miele-lxiv#48": (
        lambda: compressed(jpeg(keep_rgb=True), PhotometricInterpretation="YBR_FULL"), View(), [RED], []),
    "fo-dicom/fo-dicom#1442": (
        lambda: dicom(row([0, 128, 255], "u1"), kind="1.2.840.10008.5.1.4.1.1.12.1", Modality="XA",
                      PixelIntensityRelationship="LOG", **lut([3, 0, 16], [0, 9, 9], "ModalityLUTSequence")),
        View(), GREY, ["reading.table_to_intensity"]),
    "cornerstonejs/cornerstone3D#1630": (
        lambda: dicom(np.stack([row([0, 128, 255], "u1")] * 2), Modality="XA",
                      MaskSubtractionSequence=[dataset(MaskOperation="AVG_SUB", MaskFrameNumbers=1)]),
        View(frame=1), GREY, ["reading.mask_subtraction"]),
    "dcm4che/dcm4che#1598": (lambda: in_fragments(2), View(frame=1), [[80] * 3], []),
    "fo-dicom/fo-dicom#1586": (lambda: in_fragments(1, empty_one_behind=True), View(frame=2), [[140] * 3], []),
    "tonycoz/imager#337": (lambda: tiff(wide([-100, 0, 100], "i1"), 8, _339=2), View(), GREY, ["reading.window"]),
    "python-pillow/Pillow#5850": (lambda: tiff(wide([0, 2_000_000_000, 4_000_000_000], "<u4"), 32), View(), GREY, []),
    "python-pillow/Pillow#452": (
        lambda: tiff(wide([0, 32768, 65535], ">u2"), 16, order=">"), View(), GREY, []),
    "ufo-kit/ufo-filters#68": (
        lambda: tiff(b"".join(wide([k, 9 - k], "<u2") for k in range(5)), 16, _270=b"ImageJ=1.53t\nimages=5\nslices=5\n\0"),
        View(frame=4, window="4.5,9"), [[128] * 3, [159] * 3], []),
    "etemesi254/zune-image#58": (
        lambda: written(Image.fromarray(np.frombuffer(wide([9000, 0, 1000], "u2"), "u2").reshape(20, 20)), "PNG",
                        transparency=9000),
        View(), [[0] * 3, [0] * 3, [255] * 3], ["reading.on_black"]),
    "geotiffjs/geotiff.js#28": (
        lambda: written(Image.fromarray(np.frombuffer(wide([-9.5, 0, 9.5], "f4"), "f4").reshape(20, 20)), "TIFF",
                        compression="tiff_lzw", tiffinfo={317: 3}),
        View(), GREY, []),
    "scifio/scifio#368": (
        lambda: dicom(row([0, 128, 255], "u1"), IconImageSequence=[
            dataset(Rows=8, Columns=8, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", BitsAllocated=8,
                    BitsStored=8, HighBit=7, PixelRepresentation=0, PixelData=bytes(64))]),
        View(), GREY, []),
    "libvips/libvips#1283": (cmyk, View(), [], ["image.unmarked_inks"]),
    "QwenLM/Qwen-MM-Plugins#51": (turned, View(), [[200] * 3], ["reading.turned"]),
    "layerfMRI/LAYNII#88": (lambda: scaled(0.0, 5.0), SLICE, [[252] * 3], []),
    "nipy/nibabel#549": (lambda: scaled(np.nan, np.nan), SLICE, [[252] * 3], []),
    "nipreps/fmriprep#2281": (lambda: volume(COUNT, edit=two_directions), SLICE, [], ["image.two_orientations"]),
    "nipy/heudiconv#409": (lambda: volume(COUNT, LEANING), View(slice=3, plane="sagittal"), [], ["image.sheared"]),
}  # fmt: skip
REFUSED = {
    "epam/mriviewer#249": (
        lambda: volume(COUNT)[:108] + bytes(4) + volume(COUNT)[112:], SLICE, ImageError, "image.voxels_in_header"),
    "libvips/libvips#2309": (lambda: jpeg(progressive=True)[:-60], View(), ImageError, "image.damaged"),
    "haraldk/TwelveMonkeys#184": (
        lambda: tiff(SIXTEEN.tobytes(), 16, samples=3, _262=2, _284=2), View(), ImageError, "image.tiff_pixels"),
    "niivue/niivue#656": (lambda: volume(COUNT.astype("c8")), SLICE, ImageError, "image.voxels_not_grey"),
    "HumanBrainProject/neuroglancer-scripts#22": (
        lambda: volume(np.zeros((20, 20, 20), [("R", "u1"), ("G", "u1"), ("B", "u1")])), SLICE, ImageError,
        "image.voxels_not_grey"),
    "ufo-kit/ufo-filters#68": (
        lambda: tiff(bytes(4000), 16, _270=b"ImageJ=1.53t\nimages=5\n\0"), View(), ChoiceError, "image.several_pictures"),
}  # fmt: skip


@pytest.mark.parametrize("report", READ)
def test_what_was_reported_is_read_right(report):
    make, view, pixels, codes = READ[report]
    image = read_image(make(), view)
    np.testing.assert_allclose(image.pixels[5, : len(pixels)].reshape(-1, 3), np.reshape(pixels, (-1, 3)), atol=3)
    said = {message.code for message in (*image.warnings, *image.reading, *image.not_applied)}
    assert set(codes) <= said


@pytest.mark.parametrize("report", REFUSED)
def test_what_was_reported_is_refused_by_name(report):
    make, view, error, code = REFUSED[report]
    with raises_code(error, code):
        read_image(make(), view)


def test_planes_do_not_matter_in_jpeg_2000():  # cornerstonejs/cornerstone3D#2462
    openjpeg = pytest.importorskip("openjpeg.utils")
    if not hasattr(openjpeg, "encode_array"):
        pytest.skip("this openjpeg only decodes")
    for planar in (0, 1):
        tags = {"PhotometricInterpretation": "YBR_RCT", "PlanarConfiguration": planar}
        image = read_image(compressed(jpeg_2000(CORNERS), JPEG2000Lossless, **tags))
        np.testing.assert_array_equal(image.pixels, CORNERS)


def test_slices_of_one_series_have_slopes_of_their_own(tmp_path):  # Kitware/VolView#292
    for number, slope in enumerate(("1", "0.5")):
        place = {"ImagePositionPatient": ["0", "0", str(number)], "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"]}
        same = {"Modality": "MR", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "InstanceNumber": str(number)}
        tags = same | place | window(128, 256) | {"RescaleSlope": slope, "RescaleIntercept": "0"}
        (tmp_path / f"{number}.dcm").write_bytes(dicom(row([200, 100], "u2"), **tags))
    for number, grey in enumerate((200, 100)):
        assert read_image(tmp_path, View(slice=number)).pixels[5, 0, 0] == grey


def test_the_spacing_of_a_detector_is_none_of_the_patient():  # cornerstonejs/cornerstoneWADOImageLoader#261
    tags = {"Modality": "DX", "ImagerPixelSpacing": ["0.1", "0.1"], "EstimatedRadiographicMagnificationFactor": "1.5"}
    assert read_image(dicom(row([0, 9], "u1"), **tags)).spacing_mm is None


@pytest.mark.parametrize("cosines", [(0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 2, 0)])
def test_an_orientation_that_is_none_gives_no_sides(cosines):  # OHIF/Viewers#5567
    tags = {"ImageOrientationPatient": [str(number) for number in cosines]}
    assert read_image(dicom(row([0, 9], "u1"), **tags)).patient_orientation is None


def test_a_map_of_atomic_numbers_is_in_no_hounsfield_units():
    tags = {"Modality": "CT", "RescaleSlope": "0.01", "RescaleIntercept": "0", "RescaleType": "Z_EFF"}
    image = read_image(dicom(row([0, 500, 1000], "u2"), **tags))
    np.testing.assert_allclose(image.pixels[5, :3], GREY, atol=1)


def test_grey_that_is_multiplied_by_its_alpha_is_shown_on_black():
    np.testing.assert_allclose(read_image(grey_and_alpha()).pixels[5, 0], 90, atol=1)


def test_a_copy_of_a_lossy_scan_says_so(tmp_path):  # imi-bigpicture/wsidicomizer#120
    objects = pytest.importorskip("tests.edge.test_output_dicom")
    stated = {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
    }
    path = tmp_path / "scan.dcm"
    for data, expected in (
        (compressed(jpeg(), **YBR | objects.STUDY), ("01", "ISO_10918_1", 3072 / len(jpeg()))),
        (dicom(CORNERS[..., 0], **stated | objects.STUDY), ("01", "ISO_15444_1", 12.5)),
        (dicom(CORNERS[..., 0], **objects.STUDY), (None, None, None)),
    ):
        path.write_bytes(data)
        made = objects.written_about(path, tmp_path, (), kinds=("sc",))[2]["sc"]
        lossy, method, ratio = (made.get(f"LossyImageCompression{end}") for end in ("", "Method", "Ratio"))
        assert (lossy, method, ratio and float(ratio)) == (
            *expected[:2],
            expected[2] and pytest.approx(expected[2], rel=0.01),
        )


def test_all_objects_name_the_issuer_of_the_patients_number(tmp_path):  # dcm4che/dcm4chee-arc-light#4508
    objects = pytest.importorskip("tests.edge.test_output_dicom")
    qualifiers = [dataset(UniversalEntityID="1.2.3", UniversalEntityIDType="ISO")]
    tags = {"IssuerOfPatientID": "HOSPITAL", "IssuerOfPatientIDQualifiersSequence": qualifiers}
    path = tmp_path / "scan.dcm"
    path.write_bytes(dicom(CORNERS[..., 0], **tags | objects.STUDY))
    for one in objects.written_about(path, tmp_path, ())[2].values():
        assert (one.IssuerOfPatientID, one.IssuerOfPatientIDQualifiersSequence) == ("HOSPITAL", qualifiers)


@pytest.mark.parametrize("frames", [1, 2])
def test_objects_about_a_scan_of_a_class_of_a_maker(tmp_path, frames):  # ImagingDataCommons/highdicom#41
    objects = pytest.importorskip("tests.edge.test_output_dicom")
    kind = "1.3.46.670589.11.0.0.12.1"  # of Philips
    path = tmp_path / "scan.dcm"
    values = objects.noise[:frames] if frames > 1 else objects.noise[0]
    path.write_bytes(dicom(values, bits=12, kind=kind, **objects.STUDY))
    made = objects.written_about(path, tmp_path, objects.REGIONS, frame=1 if frames > 1 else None)[2]
    assert sorted(made) == ["gsps", "sc", "sr"]
    for one in made.values():
        assert set(objects.find(one, "ReferencedSOPClassUID")) == {kind}


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")  # pydicom, of the name that this test writes
def test_a_character_set_of_an_unknown_name_is_not_guessed(tmp_path):  # radialogica/dicom-character-set#3
    objects = pytest.importorskip("tests.edge.test_output_dicom")
    path = tmp_path / "scan.dcm"
    path.write_bytes(objects.named("ISO 2022 IR 6, IS", "Иванов".encode("iso8859_5")))
    with raises_code(ImageError, "output.unknown_characters"):
        objects.written_about(path, tmp_path, (), kinds=("sc",))


def test_letters_of_spanish_leave_as_they_came(tmp_path):  # SlicerRt/SlicerRT#228
    objects = pytest.importorskip("tests.edge.test_output_dicom")
    path = tmp_path / "scan.dcm"
    path.write_bytes(objects.named("ISO_IR 100", "Muñoz".encode("latin-1")))
    assert objects.written_about(path, tmp_path, (), kinds=("sr",))[2]["sr"].PatientName == "Muñoz"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_whose_name_is_no_utf8_is_read(tmp_path, capsys):  # chardet/chardet#278
    path = tmp_path / os.fsdecode(b"\xff.png")
    Image.new("L", (20, 20)).save(path, "PNG")
    assert medrega("inspect", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["image"]["width"] == 20


def test_the_log_names_every_report_that_is_tried():
    text = LOG.read_text("utf-8").partition("## Cases found first")[0]  # with tests of their own
    found = re.findall(r"github\.com/([^/\s]+/[^/]+)/(?:issues|pull)/(\d+)", text)
    logged = {f"{repository}#{number}" for repository, number in found}
    assert {*READ, *REFUSED} <= logged
    assert [report for report in sorted(logged) if report not in TESTS.read_text("utf-8")] == []


def test_the_tests_that_the_log_names_are_there():
    tests = "".join(path.read_text("utf-8") for path in TESTS.parents[1].rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", LOG.read_text("utf-8"))
    assert len(named) > 15
    assert [name for name in named if f"def {name}(" not in tests] == []
