"""Opening photographs that may be broken, huge or turned on their side."""

import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from pellucid.errors import FileError, InputError, PellucidWarning

Photo: TypeAlias = Image.Image | str | Path

# A photograph of today's largest cameras has 150 million pixels; a decompression bomb has more.
MAX_PIXELS = 160_000_000
MAX_BYTES = 512 * 2**20

SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L", "I;16N"}


def open_photo(photo: Photo) -> Image.Image:
    """Open a photograph as upright 8-bit RGB; transparent parts become white.

    The orientation that a camera stored is applied, so that maps lie as the photo is seen.
    Of an animation it is the first frame.
    """
    if isinstance(photo, Image.Image):
        return _as_rgb(photo)
    if not isinstance(photo, str | Path):
        raise InputError(
            "A photo must be a path or a PIL image",
            got=photo,
            hint="Make one of an array with PIL.Image.fromarray(array).",
        )
    if not str(photo):
        raise InputError("A photo must be named by its path", found="an empty name")
    path = Path(photo)
    _check_file(path)
    # PIL's plugins fail in many ways on broken files (OSError, SyntaxError, struct.error ...), so
    # all of them are caught, around the decoding alone.
    try:
        with warnings.catch_warnings():
            # The size is checked below, with a message of our own.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _check_pixels(path, opened.size)
                opened.load()
                return _as_rgb(opened)
    except FileError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "an image that unpacks to far more than its file") from error
    except Image.UnidentifiedImageError as error:
        raise FileError(
            f"{path} must be an image that can be read",
            got="a file in no known image format",
            hint="Try PNG, JPEG, WebP or TIFF.",
        ) from error
    except Exception as error:
        raise FileError(
            f"{path} must be a whole image",
            got=error,
            hint="It may be truncated or damaged: copy or download it again.",
        ) from error


def _check_file(path: Path) -> None:
    if not path.exists():
        nearby = "" if path.parent.is_dir() else f" Its folder {path.parent} does not exist either."
        raise FileError(
            f"{path} must be a file that exists",
            got="nothing at that path",
            hint=f"Look for a slip in the name.{nearby}",
        )
    if not path.is_file():
        raise FileError(
            f"{path} must be an image file", got="a folder", hint="Name the files in it."
        )
    size = path.stat().st_size
    if size == 0:
        raise FileError(f"{path} must be a whole image", got="an empty file", hint="Copy it again.")
    if size > MAX_BYTES:
        raise _too_large(path, f"a file of {size / 2**20:.0f} MB")


def _check_pixels(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise _too_large(path, f"{width} x {height} pixels")


def _too_large(path: Path, what: str) -> FileError:
    return FileError(
        f"{path} must have at most {MAX_PIXELS // 10**6} million pixels",
        got=what,
        hint="Shrink it first; models see a few hundred pixels a side.",
    )


def _as_rgb(opened: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(opened)
    if image.mode == "F" or (image.mode == "I" and np.asarray(image).max() <= 255):
        raise FileError(
            "A photo must have 8 or 16 bits for each color",
            got=f"an image of mode {image.mode}, whose range of brightness is not known",
            hint="Scale it to 0..255 and save it as an 8-bit PNG.",
        )
    if image.mode in SIXTEEN_BITS:
        # Converting clips at 255, where all of a 16-bit picture is white.
        values = np.asarray(image).clip(0, 65535)
        _warn_if_dark(int(values.max()))
        image = Image.fromarray((values // 257).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        image = Image.alpha_composite(white, layered)
    return image.convert("RGB")


def _warn_if_dark(brightest: int) -> None:
    """Cameras and scanners store 10 or 12 bits in 16, and files do not say which."""
    if 0 < brightest < 2**12:
        warnings.warn(
            f"The photo is read as almost black: its brightest value is {brightest} of 65535. "
            f"If it has {brightest.bit_length()} bits, scale it up to 16 and save it again.",
            PellucidWarning,
            stacklevel=4,
        )
