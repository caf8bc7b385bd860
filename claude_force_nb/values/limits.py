"""How much of a value is shown, and what a shown value is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Mapping, Optional

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class ValueLimits:
    """Bounds on what values add to a prompt.

    Attributes:
        max_rows: Rows of a frame or series, unless ``head`` or ``sample`` asks for a number.
        max_columns: Columns of a frame.
        max_cell_chars: Characters of one cell; what is cut is marked.
        max_items: Items of each list, set, dict or array dimension; the rest is counted.
        max_depth: Nesting of lists and dicts.
        max_string_chars: Characters of one string inside a list or dict; what is cut is marked.
        max_chars: Characters of one value. Frames, lists and dicts are cut to it, with a mark;
            a text is never cut, a longer one is an error.
        max_prompt_chars: Characters of the whole prompt; more is an error.
        max_image_bytes: Base64 bytes of one image, the form in which the API counts its 5 MB.
        max_document_bytes: Base64 bytes of one PDF.
        max_media_bytes: Base64 bytes of all images and PDFs of a prompt; the API takes requests
            of 32 MB.
    """

    max_rows: int = 20
    max_columns: int = 50
    max_cell_chars: int = 200
    max_items: int = 100
    max_depth: int = 8
    max_string_chars: int = 2_000
    max_chars: int = 100_000
    max_prompt_chars: int = 2_000_000
    max_image_bytes: int = 5 * MEBIBYTE
    max_document_bytes: int = 31 * MEBIBYTE
    max_media_bytes: int = 31 * MEBIBYTE


DEFAULT_LIMITS = ValueLimits()


@dataclass(frozen=True)
class Form:
    """A value as it goes into a prompt: text, or one block of the Messages API.

    Attributes:
        kind: ``text``, ``scalar``, ``table``, ``array``, ``json``, ``image`` or ``document``.
        note: What it is and what was left out, a few words such as ``1,204×8 → first 20 rows``.
        text: The text; empty for a block.
        block: The content block, if it is one.
        block_tokens: Estimated tokens of the block.
    """

    kind: str
    note: str
    text: str = ""
    block: Optional[Mapping[str, Any]] = None
    block_tokens: int = 0

    @property
    def size_chars(self) -> int:
        """Characters of the text, or of the block's base64 data."""
        return len(self.text if self.block is None else self.block["source"]["data"])

    @property
    def tokens_estimate(self) -> int:
        """About how many tokens it costs."""
        return estimate_tokens(self.text) if self.block is None else self.block_tokens

    @property
    def sha256(self) -> str:
        """Digest of what is inserted: equal exactly when the model gets the same."""
        if self.block is None:
            return hashlib.sha256(b"text\0" + self.text.encode("utf-8")).hexdigest()
        source = self.block["source"]
        typed = f"{source['media_type']}\0{source['data']}"
        return hashlib.sha256(typed.encode("ascii")).hexdigest()


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of *text*: four ASCII characters each, one for any other character.

    A rule of thumb to within a third or so for English prose and code; no model's tokenizer is
    asked. Only the API's own count is exact.
    """
    ascii_chars = len(text.encode("ascii", "ignore"))
    return -(-ascii_chars // 4) + len(text) - ascii_chars
