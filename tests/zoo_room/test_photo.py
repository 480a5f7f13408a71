"""Photographs open upright, in 8-bit RGB, or say what is wrong with them."""

import numpy as np
import pytest
from PIL import Image

from pellucid.errors import FileError, InputError, PellucidWarning
from pellucid.zoo import photo
from pellucid.zoo.photo import open_photo


@pytest.fixture
def whole(tmp_path):
    """A small PNG of random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "whole.png"
    Image.fromarray(pixels).save(path)
    return path


def test_a_photo_opens_from_a_path_a_string_and_an_image(whole):
    opened = open_photo(whole)
    assert (opened.mode, opened.size) == ("RGB", (60, 40))
    assert open_photo(str(whole)) == opened
    assert open_photo(opened) == opened


def test_a_missing_file(tmp_path):
    with pytest.raises(FileError, match=r"none\.png must be a file that exists; got 'nothing at"):
        open_photo(tmp_path / "none.png")
    with pytest.raises(FileError, match=r"Its folder .*nowhere does not exist either"):
        open_photo(tmp_path / "nowhere" / "none.png")


def test_a_folder(tmp_path):
    with pytest.raises(FileError, match=r"must be an image file; got 'a folder'. Name the files"):
        open_photo(tmp_path)


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(FileError, match="must be a whole image; got 'an empty file'"):
        open_photo(path)


def test_a_file_that_is_no_image(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not an image at all")
    with pytest.raises(FileError, match=r"got 'a file in no known image format'. Try PNG, JPEG"):
        open_photo(path)


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "gif", "tiff", "bmp"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_an_error_and_never_half_a_picture(whole, tmp_path, form, kept):
    path = tmp_path / f"cut.{form}"
    open_photo(whole).save(path, format=form)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FileError, match=r"cut\.\w+ must be (a whole image|an image that can be)"):
        open_photo(path)


def test_a_huge_image_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "wide.png"
    Image.new("L", (300, 100)).save(path)
    monkeypatch.setattr(photo, "MAX_PIXELS", 20_000)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("unpacked"))
    with pytest.raises(FileError, match=r"got '300 x 100 pixels'\. Shrink it first"):
        open_photo(path)


def test_a_decompression_bomb(whole, monkeypatch):
    """What PIL itself refuses, or warns of, is one of our errors, or no matter of ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(FileError, match="at most 160 million pixels; got 'an image that unpacks"):
        open_photo(whole)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert open_photo(whole).size == (60, 40)


def test_a_huge_file(whole, monkeypatch):
    monkeypatch.setattr(photo, "MAX_BYTES", 10)
    with pytest.raises(FileError, match="million pixels; got 'a file of 0 MB'"):
        open_photo(whole)


def test_the_orientation_of_the_camera_is_applied(tmp_path):
    image = Image.new("RGB", (4, 2), "black")
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    path = tmp_path / "turned.png"
    image.save(path, exif=exif)
    opened = open_photo(path)
    assert opened.size == (2, 4)
    assert opened.getpixel((1, 0)) == (255, 255, 255)


def test_transparent_parts_are_white(tmp_path):
    path = tmp_path / "clear.png"
    Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(path)
    assert open_photo(path).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(path)
    opened = open_photo(path)
    assert [opened.getpixel((x, 0))[0] for x in range(3)] == [0, 127, 255]


def test_twelve_bits_in_sixteen_are_warned_of(tmp_path):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.array([[0, 4000]], dtype=np.uint16)).save(path)
    with pytest.warns(PellucidWarning, match="brightest value is 4000 of 65535. If it has 12 bits"):
        open_photo(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "HSV"])
def test_every_mode_becomes_rgb(mode):
    assert open_photo(Image.new("RGB", (3, 3), "gray").convert(mode)).mode == "RGB"


def test_an_array_is_not_a_photo():
    with pytest.raises(InputError, match=r"path or a PIL image; got uint8\[2, 2, 3\].*fromarray"):
        open_photo(np.zeros((2, 2, 3), np.uint8))
