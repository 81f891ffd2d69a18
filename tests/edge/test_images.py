import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medrega_edge.domain import Language
from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.codes import raises_code
from tests.edge.dicoms import dicom


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", **options)
    return buffer.getvalue()


FRAME = Message("image.frame")
noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
ramp = np.tile(np.arange(32, dtype=np.uint8) * 8, (24, 1))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_lossless_formats_keep_every_pixel(form, tmp_path):
    path = tmp_path / "肝脏 扫描.bin"  # neither the name nor its ending matters
    Image.fromarray(ramp).save(path, format=form)
    image = read_image(path)
    assert (image.width, image.height) == (32, 24)
    np.testing.assert_array_equal(image.pixels, np.repeat(ramp[..., None], 3, axis=2))
    assert image.window is None


def test_jpeg_is_read():
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, format="JPEG", quality=95)
    assert np.abs(read_image(buffer.getvalue()).pixels.astype(int) - ramp[..., None]).max() < 16


def test_exif_orientation_turns_the_picture():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, format="JPEG", exif=exif)
    assert (read_image(buffer.getvalue()).width, read_image(buffer.getvalue()).height) == (24, 32)


def test_sixteen_bits_are_windowed_and_say_so():
    wide = (ramp.astype(np.uint16) + 3) * 100
    image = read_image(png(wide))
    assert image.window == ((wide.min() + wide.max()) / 2, wide.max() - wide.min())
    assert image.pixels.min() == 0
    assert image.pixels.max() == 255


def test_a_picture_of_one_shade_says_so():
    assert read_image(png(ramp * 0 + 7)).warnings == (Message("image.single_shade"),)
    assert read_image(png(ramp)).warnings == ()


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_zero_of_a_tiff_may_be_white(kind):
    values = np.linspace(0, 200, 20 * 30).reshape(20, 30).astype(kind)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    entry, white = (struct.pack("<HHIH", 262, 3, 1, photometric) for photometric in (1, 0))
    assert buffer.getvalue().count(entry) == 1
    black_is_zero, white_is_zero = (
        read_image(data).pixels.astype(int) for data in (buffer.getvalue(), buffer.getvalue().replace(entry, white))
    )
    assert abs(black_is_zero - (255 - white_is_zero)).max() <= 1


def test_the_size_of_the_chosen_level_of_a_pyramid_counts():
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "TIFF", save_all=True, append_images=[Image.fromarray(noise)])
    data = buffer.getvalue()
    for tag in (256, 257):
        entry = struct.pack("<HHII", tag, 4, 1, 32)
        data = data.replace(entry, entry[:8] + struct.pack("<I", 20_000), 1)  # of the first level
    np.testing.assert_array_equal(read_image(data, View(frame=1)).pixels[..., 0], noise)
    with raises_code(ImageError, "image.too_many_pixels", width=20_000):
        read_image(data, View(frame=0))
    with raises_code(ChoiceError, "image.several_pictures", count=2):
        read_image(data)


def test_transparent_pixels_are_black():
    rgba = np.full((20, 20, 4), 255, np.uint8)
    rgba[..., 3] = 0
    assert read_image(png(rgba)).pixels.max() == 0


def test_sixteen_bits_through_a_window():
    wide = np.tile(np.array([0, 1000, 1500, 2000, 4000] * 4, np.uint16), (20, 1))
    image = read_image(png(wide), View(window="1500,1001"))
    assert image.window == (1500, 1001)
    np.testing.assert_allclose(image.pixels[0, :5, 0], [0, 0, 127.6, 255, 255], atol=1)
    with raises_code(ImageError, "image.not_hounsfield"):
        read_image(png(wide), View(window="lung"))
    with raises_code(ImageError, "image.window_on_8_bits"):
        read_image(png(ramp), View(window="40,400"))


def test_frames_have_to_be_chosen():
    buffer = io.BytesIO()
    pages = [Image.fromarray(ramp), Image.fromarray(ramp[::-1])]
    pages[0].save(buffer, format="TIFF", save_all=True, append_images=pages[1:])
    with raises_code(ChoiceError, "image.several_pictures", noun=FRAME, count=2, option="--frame", last=1):
        read_image(buffer.getvalue())
    image = read_image(buffer.getvalue(), View(frame=1))
    assert image.frame == 1
    np.testing.assert_array_equal(image.pixels[..., 0], ramp[::-1])
    with raises_code(ImageError, "image.no_such_picture", noun=FRAME, number=2):
        read_image(buffer.getvalue(), View(frame=2))
    with raises_code(ImageError, "image.single_picture", noun=FRAME, option="--frame"):
        read_image(png(ramp), View(frame=1))


def huge_png(side):
    """A PNG that claims side x side pixels in a few bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "code", "params"),
    [
        (b"", "image.empty", {"image": Message("image.given")}),
        (b"patient: somebody, liver fine\n" * 20, "image.unknown_format", {}),
        (png(noise)[:700], "image.damaged", {}),
        (png(ramp[:1, :1]), "image.too_small", {"width": 1, "height": 1}),
        (huge_png(20_000), "image.decompression_bomb", {}),
        (huge_png(60_000), "image.decompression_bomb", {}),
        (huge_png(8_000), "image.too_many_pixels", {"width": 8000, "height": 8000}),
        (b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0\xff\xff\xff\xff" + b"\x7f" * 64, "dicom.no_picture", {}),
        (dicom(ramp)[:-100], "dicom.fewer_bytes", {"claimed": 768, "held": 668}),
    ],
)
def test_what_cannot_be_used_gives_one_sentence(data, code, params):
    with raises_code(ImageError, code, **params):
        read_image(data)


def test_a_sentence_begins_with_a_capital_and_has_its_chinese():
    with pytest.raises(ImageError) as caught:
        read_image(b"")
    assert str(caught.value) == "The given image is empty (0 bytes); export it again."
    assert caught.value.message.text(Language.ZH) == "所给图像是空文件（0 字节）；请重新导出。"


def test_missing_files_and_folders(tmp_path):
    with raises_code(ImageError, "image.no_file"):
        read_image(tmp_path / "nowhere.png")
    with raises_code(ImageError, "dicom.folder_without_picture"):
        read_image(tmp_path)
    with raises_code(ImageError, "image.invalid_path"):
        read_image("a\0b.png")
    with raises_code(ImageError, "image.cannot_open"):
        read_image("a" * 5000)


def tiff(values, photometric, sample_format=1, order="<", bits=None, colours=None):
    """A TIFF of one strip, by hand, because Pillow writes few kinds; of 12 `bits`, two values lie in three bytes."""
    rows, columns = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    bits = bits or values.dtype.itemsize * 8
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        raw = b"".join(int(one << 12 | other).to_bytes(3, "big") for one, other in pairs)
    tags = {
        256: (4, [columns]), 257: (4, [rows]), 258: (3, [bits] * samples), 259: (3, [1]), 262: (3, [photometric]),
        273: (4, [8]), 277: (3, [samples]), 278: (4, [rows]), 279: (4, [len(raw)]), 339: (3, [sample_format] * samples),
    }  # fmt: skip
    if colours is not None:
        tags[320] = (3, colours)
    start = 8 + len(raw) + len(raw) % 2
    behind = start + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        body = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(body) > 4:
            body, tail = struct.pack(order + "I", behind + len(tail)), tail + body
        entries += struct.pack(order + "HHI", tag, kind, len(numbers)) + body.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return head + raw.ljust(start - 8, b"\0") + struct.pack(order + "H", len(tags)) + entries + bytes(4) + tail


SHARES = np.linspace(0, 1, 400).reshape(20, 20)
TIFF_KINDS = {  # values from 0 to 1, sample format, bits
    "8 bits": (np.round(SHARES * 255).astype("u1"), 1, None),
    "16 bits": (np.round(SHARES * 65535).astype("u2"), 1, None),
    "32 bits": (np.round(SHARES * (2**32 - 1)).astype("u4"), 1, None),
    "8 bits, signed": (np.round(SHARES * 255 - 128).astype("i1"), 2, None),
    "16 bits, signed": (np.round(SHARES * 65535 - 32768).astype("i2"), 2, None),
    "32 bits, signed": (np.round(SHARES * 2**31 - 2**30).astype("i4"), 2, None),
    "floats": ((SHARES * 5 - 1).astype("f4"), 3, None),
    "12 bits": (np.round(SHARES * 4095).astype("u2"), 1, 12),
}
UNREAD = {("32 bits", ">"), ("12 bits", ">"), ("8 bits, signed", "white")}  # by Pillow


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("name", TIFF_KINDS)
def test_every_kind_of_grey_tiff_is_read_right_or_refused(name, photometric, order):
    values, sample_format, bits = TIFF_KINDS[name]
    data = tiff(values, photometric, sample_format, order, bits)
    if {(name, order), (name, "black" if photometric else "white")} & UNREAD:
        with raises_code(ImageError, "image.tiff_pixels"):
            read_image(data)
        return
    expected = SHARES * 255 if photometric else 255 - SHARES * 255
    assert abs(read_image(data).pixels[..., 0] - expected).max() <= 1


@pytest.mark.parametrize("scale", [1, 257])
def test_a_palette_of_8_bits_in_16_is_read(scale):
    colours = [scale * entry for entry in range(256)] * 3
    pixels = read_image(tiff(np.round(SHARES * 255).astype("u1"), 3, colours=colours)).pixels
    assert abs(pixels[..., 0] - SHARES * 255).max() <= 1


def test_a_tiff_of_doubles_is_refused_as_such():
    with raises_code(ImageError, "image.tiff_pixels"):
        read_image(tiff(SHARES, 1, sample_format=3))
