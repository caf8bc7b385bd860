"""Figures, images and files become content blocks."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from claude_force_nb.errors import PromptError
from claude_force_nb.values import ValueLimits, show
from claude_force_nb.values.media import image_size

LIMITS = ValueLimits()


def image_bytes(kind, size=(30, 20), **options):
    """An image file of *kind*."""
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format=kind, **options)
    return buffer.getvalue()


def plot():
    """A figure with a line."""
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 3, 2])
    return figure


def decoded(form):
    """The bytes of a form's block."""
    return base64.b64decode(form.block["source"]["data"])


class TestMedia:
    """Figures, images and files become content blocks."""

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
    def test_makes_image_block(self, kind, tmp_path):
        """A file is what its first bytes say, and its pixels are counted."""
        path = tmp_path / "picture.txt"
        path.write_bytes(image_bytes(kind, (75, 20)))
        form = show(path, LIMITS)

        assert form.block["type"] == "image"
        assert form.block["source"]["media_type"] == f"image/{kind.lower()}"
        assert (form.note, form.tokens_estimate) == (f"{kind} 75×20 picture.txt", 2)
        assert form.block == show(path.read_bytes(), LIMITS).block

    @pytest.mark.parametrize("lossless", [True, False])
    def test_measures_webp(self, lossless):
        """Both of WebP's encodings tell their size, with metadata or without."""
        for extra in ({}, {"exif": b"Exif\0\0"}):
            data = image_bytes("WEBP", (30, 20), lossless=lossless, **extra)
            assert image_size(data) == (30, 20)

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
    def test_survives_damaged_header(self, kind):
        """A file that ends early or lies still has a form, or none, but never an odd error."""
        data = image_bytes(kind)
        for length in range(12, min(len(data), 200)):
            assert show(data[:length], LIMITS).block["type"] == "image"

    def test_makes_document_block(self):
        """A PDF is a document block with its pages counted."""
        form = show(b"%PDF-1.4\n<</Type /Page>> <</Type/Page>> <</Type /Pages>>", LIMITS)

        assert form.block["type"] == "document"
        assert form.note == "PDF of 2 pages"

    @pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n" + b"x" * 100, b"%PDF-" + b"x" * 100])
    def test_refuses_large_block(self, data):
        """A block above its bound is refused with both sizes."""
        with pytest.raises(PromptError, match="MiB"):
            show(data, ValueLimits(max_image_bytes=139, max_document_bytes=139))

    def test_figure_repeats(self):
        """The same figure gives the same bytes each time, so its answer is found again."""
        assert show(plot(), LIMITS).sha256 == show(plot(), LIMITS).sha256

    def test_figure_from_axes(self):
        """The axes that pandas' plot gives stand for their figure."""
        figure = plot()

        assert show(figure.axes[0], LIMITS) == show(figure, LIMITS)
        assert show(figure, LIMITS).note == "PNG 200×100 of a figure"

    def test_figure_keeps_settings(self):
        """Showing a figure leaves its resolution and canvas alone."""
        figure = plot()
        before = (figure.dpi, figure.canvas, tuple(figure.get_size_inches()))
        show(figure, LIMITS)

        assert (figure.dpi, figure.canvas, tuple(figure.get_size_inches())) == before

    @pytest.mark.parametrize(
        "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "F", "I"]
    )
    def test_converts_modes(self, mode):
        """Images of each mode become PNG."""
        image = Image.new(mode, (4, 3))

        assert show(image, LIMITS).note == "PNG 4×3"
        assert image.mode == mode

    def test_drops_photo_metadata(self):
        """Where and when a photo was taken does not leave with it."""
        exif = Image.Exif()
        exif[0x010E] = "at-home-secretly"
        photo = Image.open(io.BytesIO(image_bytes("PNG", exif=exif)))
        photo.load()

        assert photo.getexif()[0x010E] == "at-home-secretly"
        sent = Image.open(io.BytesIO(decoded(show(photo, LIMITS))))
        assert not sent.getexif() and not sent.info


class TestFiles:
    """Paths stand for what is in their files."""

    def test_inserts_text_file(self, tmp_path):
        """UTF-8 text is inserted to the letter, without a byte order mark."""
        path = tmp_path / "notes.md"
        path.write_bytes("\ufeffä {{ x }}\r\n".encode())
        form = show(path, LIMITS)

        assert (form.text, form.note) == ("ä {{ x }}\r\n", "text of notes.md")

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"\xff\xfe\x00", "neither UTF-8 text"), (b"a\x00b", "neither UTF-8 text")],
    )
    def test_refuses_binary(self, content, message, tmp_path):
        """A file that is neither text nor picture is refused."""
        path = tmp_path / "data.bin"
        path.write_bytes(content)
        with pytest.raises(PromptError, match=message):
            show(path, LIMITS)

    def test_refuses_missing(self, tmp_path):
        """A missing file is named, with the folder that paths start from."""
        with pytest.raises(PromptError, match=r"gone\.txt cannot be read: No such file") as caught:
            show(tmp_path / "gone.txt", LIMITS)

        assert str(Path.cwd()) in caught.value.advice

    def test_refuses_folder(self, tmp_path):
        """A folder is no file."""
        with pytest.raises(PromptError, match="no ordinary file"):
            show(tmp_path, LIMITS)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    def test_never_waits_for_pipe(self, tmp_path):
        """A named pipe without a writer is refused at once."""
        os.mkfifo(str(tmp_path / "pipe"))
        with pytest.raises(PromptError, match="no ordinary file"):
            show(tmp_path / "pipe", LIMITS)

    def test_refuses_large_file(self, tmp_path):
        """No more of a file is read than could be inserted."""
        path = tmp_path / "big"
        with path.open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(PromptError, match="larger than"):
            show(path, LIMITS)
