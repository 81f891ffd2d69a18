import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from medrega_edge.errors import ImageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.edge.dicoms import dicom


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", **options)
    return buffer.getvalue()


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
    assert "single shade" in read_image(png(ramp * 0 + 7)).warnings[0]
    assert read_image(png(ramp)).warnings == ()


def test_transparent_pixels_are_black():
    rgba = np.full((20, 20, 4), 255, np.uint8)
    rgba[..., 3] = 0
    assert read_image(png(rgba)).pixels.max() == 0


def test_sixteen_bits_through_a_window():
    wide = np.tile(np.array([0, 1000, 1500, 2000, 4000] * 4, np.uint16), (20, 1))
    image = read_image(png(wide), View(window="1500,1001"))
    assert image.window == (1500, 1001)
    np.testing.assert_allclose(image.pixels[0, :5, 0], [0, 0, 127.6, 255, 255], atol=1)
    with pytest.raises(ImageError, match="Hounsfield"):
        read_image(png(wide), View(window="lung"))
    with pytest.raises(ImageError, match="8 bits"):
        read_image(png(ramp), View(window="40,400"))


def test_frames_have_to_be_chosen():
    buffer = io.BytesIO()
    pages = [Image.fromarray(ramp), Image.fromarray(ramp[::-1])]
    pages[0].save(buffer, format="TIFF", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="2 frames"):
        read_image(buffer.getvalue())
    image = read_image(buffer.getvalue(), View(frame=1))
    assert image.frame == 1
    np.testing.assert_array_equal(image.pixels[..., 0], ramp[::-1])
    with pytest.raises(ImageError, match="no frame 2"):
        read_image(buffer.getvalue(), View(frame=2))
    with pytest.raises(ImageError, match="single frame"):
        read_image(png(ramp), View(frame=1))


def huge_png(side):
    """A PNG that claims side x side pixels in a few bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"patient: somebody, liver fine\n" * 20, "no PNG, JPEG, TIFF, DICOM or NIfTI"),
        (png(noise)[:700], "damaged or incomplete"),
        (png(ramp[:1, :1]), "1 x 1"),
        (huge_png(20_000), "too many pixels"),
        (huge_png(60_000), "too many pixels"),
        (huge_png(8_000), "8000 x 8000"),
        (b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\x04\0\xff\xff\xff\xff" + b"\x7f" * 64, "DICOM"),
        (dicom(ramp)[:-100], "claims 768 bytes of pixels and holds 668"),
    ],
)
def test_what_cannot_be_used_gives_one_sentence(data, said):
    with pytest.raises(ImageError, match=said) as caught:
        read_image(data)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="no file at the path"):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError):
        read_image("a\0b.png")
