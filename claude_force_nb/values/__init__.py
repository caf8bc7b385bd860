"""How the values of a notebook show themselves in a prompt.

======================================  =========================================================
value                                   form
======================================  =========================================================
``str``                                 itself, to the letter; longer than ``max_chars`` is an error
``int``, ``float``, ``bool``,           its exact text: floats as the shortest digits that read
``complex``, ``Decimal``, dates and     back the same, dates in ISO form
times, ``UUID``, NumPy and pandas
scalars
``list``, ``tuple``, ``set``,           JSON: ``max_items`` of each, ``max_depth`` levels,
``frozenset``, ``dict`` and its views,  ``max_string_chars`` of each string; what is left out is
``deque``, ``range``, pandas ``Index``  counted in its place; sets in order
pandas ``DataFrame``, ``Series`` and    shape, column types and the first ``max_rows`` rows of
extension arrays; Polars                ``max_columns`` columns as a Markdown table; cells of
``DataFrame``, ``Series``               ``max_cell_chars``; an index that only counts is left out
NumPy array                             shape, type and the beginning of each dimension as JSON
matplotlib figure or axes               PNG image block at 100 dpi
PIL image                               PNG image block of the pixels, without metadata
``bytes``, ``Path`` of an image or PDF  image or document block, by its first bytes, not its name
``Path`` of a text file                 its UTF-8 text, as ``str``
``AgentResult``                         its output; of a failed run, an error
``None``, a ``Secret``, anything else   an error: ``repr`` of an unknown object may hold keys
======================================  =========================================================

Values inside a list, dict or cell that have no form are shown as ``<TypeName>`` and counted in
the note. Tables and JSON escape line breaks and characters that hide or reorder text, so that
data cannot leave its place. No library is imported for any of this.
"""

from __future__ import annotations

from .filters import FILTERS, FilterCall, check_filter, formed
from .limits import DEFAULT_LIMITS, Form, ValueLimits, estimate_tokens
from .show import show

__all__ = [
    "DEFAULT_LIMITS",
    "FILTERS",
    "FilterCall",
    "Form",
    "ValueLimits",
    "check_filter",
    "estimate_tokens",
    "formed",
    "show",
]
