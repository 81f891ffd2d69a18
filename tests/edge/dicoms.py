"""DICOM files made in memory, for tests: small, exact, and wrong where a test wants them wrong."""

import io
import zlib

import numpy as np


def dataset(**tags):
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in tags.items():
        setattr(item, name, value)
    return item


def dicom(values, syntax=None, bits=None, kind=None, **tags):
    """A file of grey `[rows, columns]` or `[frames, rows, columns]`; `tags` replace what the values imply, None deletes."""
    from pydicom.config import disable_value_validation
    from pydicom.dataelem import DataElement
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax or ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind or SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = values.shape[-2:]
    if values.ndim == 3:
        data.NumberOfFrames = values.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = values.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(values.dtype.kind == "i")
    data.PixelData = values.tobytes()
    data["PixelData"].VR = "OW" if values.itemsize > 1 else "OB"
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
            continue
        with disable_value_validation():  # tests want wrong values too
            data.add(value) if isinstance(value, DataElement) else setattr(data, name, value)
    if meta.TransferSyntaxUID.is_encapsulated:
        data["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def colour(pixels, **tags):
    """A file of colour `[rows, columns, 3]`, planar when PlanarConfiguration is 1."""
    planar = tags.get("PlanarConfiguration", 0)
    stored = np.moveaxis(pixels, 2, 0) if planar else pixels
    named = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0} | tags
    return dicom(pixels[..., 0], PixelData=named.pop("PixelData", stored.tobytes()), **named)


def deflated(data):
    """The same file in the deflated transfer syntax."""
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    end = 144 + int.from_bytes(data[140:144], "little")
    plain, packed = (uid.encode().ljust(len(uid) + len(uid) % 2, b"\0") for uid in
                     (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian))  # fmt: skip
    old, new = (b"UI" + len(uid).to_bytes(2, "little") + uid for uid in (plain, packed))
    meta = data[:end].replace(old, new)
    length = (int.from_bytes(data[140:144], "little") + len(new) - len(old)).to_bytes(4, "little")
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return meta[:140] + length + meta[144:] + stream.compress(data[end:]) + stream.flush()


def encoded(data, syntax):
    """The same file in another uncompressed transfer syntax; pixels of 16 bits are the caller's to turn round."""
    import pydicom

    read = pydicom.dcmread(io.BytesIO(data))
    read.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    options = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian, "force_encoding": True}
    pydicom.dcmwrite(buffer, read, **options)
    return buffer.getvalue()


def bare(data):
    """The dataset of a file without all that stands in front of it."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def row(values, kind):
    """A picture of 16 rows that all hold `values`, the last one repeated to 16 columns."""
    line = np.array([*values, *[values[-1]] * (16 - len(values))]).astype(kind)
    return np.tile(line, (16, 1))


def window(centre, width, function=None):
    """The tags of a window."""
    tags = {"WindowCenter": centre, "WindowWidth": width}
    return tags | ({"VOILUTFunction": function} if function else {})


def written(**elements):
    """Tags with the VR and the value as they stand in the file, also where these are wrong: keyword=(VR, value)."""
    from pydicom.dataelem import DataElement

    return {word: DataElement(word, vr, value, already_converted=True) for word, (vr, value) in elements.items()}


def lut(descriptor, data, kind="VOILUTSequence", words=True):
    """A table as bytes (OW) or as numbers (US): files hold either."""
    item = dataset(LUTDescriptor=descriptor, LUTData=np.array(data, "<u2").tobytes())
    if not words:
        item["LUTData"].VR, item.LUTData = "US", data
    return {kind: [item]}


def filled(*pixels, kind="u1"):
    """`row` in colour."""
    return np.tile(np.array([*pixels, *[pixels[-1]] * (16 - len(pixels))], kind), (16, 1, 1))
