"""Figures, images and files as content blocks of the Messages API.

What a file is, its first bytes tell, never its name. Rendering is deterministic, so that the
same figure gives the same request and finds its cached answer.
"""

from __future__ import annotations

import base64
import io
import os
import re
import stat
import struct
from pathlib import Path
from typing import Any, Optional, Tuple

from ..errors import PromptError
from .limits import MEBIBYTE, Form, ValueLimits
from .scalars import class_in, visible

FIGURE_DPI = 100
# https://docs.anthropic.com/en/docs/build-with-claude/vision: width × height / 750, and images
# are scaled down to about 1,600 tokens.
PIXELS_PER_TOKEN = 750
MAX_IMAGE_TOKENS = 1_600
PDF_TOKENS_PER_PAGE = 2_500

_PDF = "application/pdf"
_MAGIC: Tuple[Tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", _PDF),
)
_PDF_PAGE = re.compile(rb"/Type\s{0,5}/Page(?![a-zA-Z])")
_KEPT_MODES = {"1", "L", "RGB", "RGBA"}
_ALPHA_MODES = {"P", "PA", "LA", "La", "RGBa"}


def media_type(data: bytes) -> Optional[str]:
    """The media type that the first bytes of *data* announce, if the API takes it."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def block(data: bytes, limits: ValueLimits, origin: str = "") -> Form:
    """Make an image or document block.

    Args:
        data: A PNG, JPEG, GIF, WebP or PDF file.
        limits: Its ``max_image_bytes`` and ``max_document_bytes`` bound the block.
        origin: A few words for the note, such as the file's name.

    Raises:
        PromptError: The bytes are none of these formats, or too many.
    """
    kind = media_type(data)
    if kind is None:
        raise PromptError(
            f"{len(data):,} bytes that are no PNG, JPEG, GIF, WebP or PDF cannot be inserted.",
            advice="Decode text first: name.decode('utf-8').",
        )
    name = "document" if kind == _PDF else "image"
    encoded_bytes = 4 * -(-len(data) // 3)
    most = limits.max_document_bytes if kind == _PDF else limits.max_image_bytes
    if encoded_bytes > most:
        raise _too_large(name, encoded_bytes, most)
    source = {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode("ascii")}
    detail, tokens = _pages(data) if kind == _PDF else _pixels(data)
    words = [word for word in (kind.partition("/")[2].upper(), detail, origin) if word]
    return Form(name, " ".join(words), block={"type": name, "source": source}, block_tokens=tokens)


def _too_large(name: str, size_bytes: int, most: int) -> PromptError:
    advice = "Insert some of its pages." if name == "document" else "Make it smaller or a JPEG."
    return PromptError(
        f"The {name} takes {size_bytes / MEBIBYTE:.1f} MiB as base64, "
        f"more than the {most / MEBIBYTE:.1f} MiB that the API takes.",
        advice=advice,
    )


def _pages(data: bytes) -> Tuple[str, int]:
    pages = len(_PDF_PAGE.findall(data))
    # Compressed PDFs hide their page list: then this is a guess at one page per 100 KB.
    guess = pages or -(-len(data) // 100_000)
    return (
        f"of {pages:,} page{'' if pages == 1 else 's'}" if pages else ""
    ), guess * PDF_TOKENS_PER_PAGE


def _pixels(data: bytes) -> Tuple[str, int]:
    size = image_size(data)
    if size is None:
        return "", MAX_IMAGE_TOKENS
    tokens = -(-size[0] * size[1] // PIXELS_PER_TOKEN)
    return f"{size[0]}×{size[1]}", min(MAX_IMAGE_TOKENS, tokens)


def image_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Width and height in pixels, read from the header; ``None`` if it is damaged."""
    kind = media_type(data)
    try:
        if kind == "image/png":
            return struct.unpack(">II", data[16:24])
        if kind == "image/gif":
            return struct.unpack("<HH", data[6:10])
        return _jpeg_size(data) if kind == "image/jpeg" else _webp_size(data)
    except (struct.error, IndexError):
        return None


def _jpeg_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Walk the segments to the frame header (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 <= len(data):
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


def _webp_size(data: bytes) -> Optional[Tuple[int, int]]:
    """Read the first chunk (RFC 9649, 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return _u24(data, 24) + 1, _u24(data, 27) + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _u24(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def drawn(value: Any, limits: ValueLimits) -> Optional[Form]:
    """The image block of a matplotlib figure or axes, or of a PIL image.

    Returns:
        The block, or ``None`` if *value* is none of these.
    """
    if class_in(value, "matplotlib.axes", "Axes"):
        value = value.get_figure()
    if class_in(value, "matplotlib.figure", "Figure"):
        return block(_figure_png(value), limits, "of a figure")
    if class_in(value, "PIL.Image", "Image"):
        return block(_image_png(value), limits)
    return None


def _figure_png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    # The version of matplotlib in the file would change the request with every upgrade.
    figure.savefig(buffer, format="png", dpi=FIGURE_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _image_png(image: Any) -> bytes:
    """The pixels alone: a photo's metadata knows place, time and device."""
    if image.mode in _KEPT_MODES:
        pixels = image.copy()
    else:
        pixels = image.convert("RGBA" if image.mode in _ALPHA_MODES else "RGB")
    pixels.info = {}
    buffer = io.BytesIO()
    pixels.save(buffer, format="PNG")
    return buffer.getvalue()


def file_form(path: Path, limits: ValueLimits) -> Form:
    """A file as a block, or as text if it is UTF-8 text.

    Args:
        path: An image, PDF or text file. Links are followed.
        limits: They bound what is read, too.

    Raises:
        PromptError: It cannot be read, is no ordinary file, too large, or neither of these.
    """
    shown = visible(path.name)
    data = _read(path, shown, max(limits.max_document_bytes, limits.max_chars * 4))
    if media_type(data):
        return block(data, limits, shown)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise PromptError(
            f"The file {shown} is neither UTF-8 text nor a PNG, JPEG, GIF, WebP or PDF.",
            advice="Read it yourself and insert the result.",
        )
    return Form("text", f"text of {shown}", text)


def _read(path: Path, shown: str, most: int) -> bytes:
    try:
        data = _regular_bytes(path, most + 1)
    except OSError as error:
        raise PromptError(
            f"The file {shown} cannot be read: {error.strerror}.",
            advice=f"Relative paths start at {Path.cwd()}.",
        ) from error
    if data is None:
        raise PromptError(f"{shown} is no ordinary file.", advice="Insert the path of a file.")
    if len(data) > most:
        raise PromptError(
            f"The file {shown} is larger than {most / MEBIBYTE:.1f} MiB.",
            advice="Insert a part of it.",
        )
    return data


def _regular_bytes(path: Path, most: int) -> Optional[bytes]:
    """At most *most* bytes of a regular file, ``None`` for a folder, pipe or device."""
    # Opening a pipe must not wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(str(path), flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(descriptor)
