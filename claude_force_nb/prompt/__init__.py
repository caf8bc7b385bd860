"""Prompts: text with ``{{ name }}`` in it, filled with the values of a notebook.

:mod:`~claude_force_nb.prompt.grammar` says what a template is,
:mod:`claude_force_nb.values` what each kind of value looks like in it.
"""

from __future__ import annotations

from ..values import FILTERS, ValueLimits
from .rendering import Content, Insertion, Namespaces, RenderedPrompt, render, variables_in

__all__ = [
    "FILTERS",
    "Content",
    "Insertion",
    "Namespaces",
    "RenderedPrompt",
    "ValueLimits",
    "render",
    "variables_in",
]
