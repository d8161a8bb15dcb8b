"""Check that bytes are a complete picture, regardless of name and content type."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Literal, cast

from PIL import Image

PictureFormat = Literal["png", "jpeg"]
# The last bytes of each format: anything after them would be stored and served along with the picture.
ENDINGS: dict[PictureFormat, bytes] = {"png": b"\0\0\0\0IEND\xaeB`\x82", "jpeg": b"\xff\xd9"}
# Decoding takes four bytes a pixel.
LARGEST_PIXELS = 25_000_000


class NotAPicture(Exception):
    """The bytes are not a valid picture. The message is a clause with the reason: "it is damaged"."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """Format and size of a picture, determined from its content; ``width`` and ``height`` are in pixels."""

    format: PictureFormat
    width: int
    height: int


def check_picture(content: bytes) -> PictureFacts:
    """Decode a PNG or JPEG to verify that it is complete.

    Raises:
        NotAPicture: it is something else, damaged, cut off or too large.
    """
    if not content:
        raise NotAPicture("it is empty")
    try:
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            size, found = image.size, cast(PictureFormat, (image.format or "").lower())
            # Known from the header, before anything is decoded.
            if size[0] * size[1] > LARGEST_PIXELS:
                raise NotAPicture(f"its size is {size[0]} by {size[1]}")
            # Only verify() checks the checksums of a PNG; the picture must be reopened after it.
            image.verify()
        with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
            image.load()
    except (NotAPicture, MemoryError):
        raise
    except Image.UnidentifiedImageError:
        markup = content[:1000].lstrip(b"\xef\xbb\xbf\t\r\n ").startswith(b"<")
        raise NotAPicture("it is a page (HTML or XML)" if markup else "it is neither PNG nor JPEG") from None
    except Image.DecompressionBombError:
        raise NotAPicture("it would be too large when decoded") from None
    except Exception as error:
        # Pillow does not catch the errors of its parsers in damaged files, such as IndexError or zlib.error.
        raise NotAPicture(f"it is damaged ({type(error).__name__})") from None
    if not content.endswith(ENDINGS[found]):
        raise NotAPicture("it is cut off, or something follows its end")
    return PictureFacts(found, *size)
