"""What may follow a name in a prompt: ``{{ df | sample(5) | csv }}``.

``head``, ``sample`` and ``describe`` choose a part of a value and may be followed by others;
``columns``, ``csv`` and ``json`` write it and come last. Arguments are whole numbers.
"""

from __future__ import annotations

import difflib
import random
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..errors import PromptError
from .jsontext import is_container
from .limits import Form, ValueLimits
from .scalars import exact_text, is_a
from .show import as_view, json_form, show
from .tables import View, column_list, counted, csv_text, json_text

MAX_ARGUMENT = 100_000


@dataclass(frozen=True)
class FilterCall:
    """A filter with its arguments, as written in a template.

    Attributes:
        name: The filter.
        args: Positional arguments.
        options: Arguments by name.
    """

    name: str
    args: Tuple[int, ...] = ()
    options: Tuple[Tuple[str, int], ...] = ()


def formed(value: Any, calls: Sequence[FilterCall], limits: ValueLimits) -> Form:
    """Apply *calls* to *value* from left to right and show what comes out.

    Raises:
        PromptError: A filter does not exist, does not fit the value or its arguments, or follows
            one that comes last; or the value has no form.
    """
    for number, call in enumerate(calls):
        if is_a(value, Form):
            raise PromptError(
                f"{call.name} cannot follow {calls[number - 1].name}.",
                advice=f"{calls[number - 1].name} comes last.",
            )
        known = check_filter(call)
        value = known.apply(value, limits, **known.bound(call))
    return value if is_a(value, Form) else show(value, limits)


@dataclass(frozen=True)
class Filter:
    """A filter.

    Attributes:
        apply: Takes the value, the limits and the arguments; gives a part of the value or a form.
        usage: How to write it and what it gives, for help and completion.
        parameters: Its parameters with their defaults.
    """

    apply: Callable[..., Any]
    usage: str
    parameters: Mapping[str, int]

    def bound(self, call: FilterCall) -> Dict[str, int]:
        """The arguments of *call* by parameter name.

        Raises:
            PromptError: There are too many, an unknown one, or one out of range.
        """
        names = list(self.parameters)
        given = [*zip(names, call.args), *call.options]
        known = {name for name, _ in given} <= set(names)
        if len(call.args) > len(names) or not known or len(dict(given)) < len(given):
            raise PromptError(
                f"{call.name} does not take these arguments.", advice=f"Usage: {self.usage}"
            )
        for name, number in given:
            least = self.parameters[name] and 1
            if not least <= number <= MAX_ARGUMENT:
                raise PromptError(
                    f"{name} is {number}, not between {least} and {MAX_ARGUMENT:,}.",
                    advice=f"Usage: {self.usage}",
                )
        return {**self.parameters, **dict(given)}


def check_filter(call: FilterCall) -> Filter:
    """The filter that *call* names.

    Raises:
        PromptError: There is none of this name, or it does not take the arguments.
    """
    known = FILTERS.get(call.name)
    if known is None:
        close = difflib.get_close_matches(call.name, FILTERS, 1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise PromptError(
            f"There is no filter named {call.name}.", advice=f"{hint}Known: {', '.join(FILTERS)}."
        )
    known.bound(call)
    return known


def _head(value: Any, limits: ValueLimits, n: int) -> Any:
    view = as_view(value)
    if view is not None:
        part = view.part and f"first {n:,} of {view.part}"
        return View(view.frame.first(n), view.shape, part, n)
    if is_a(value, str):
        return "".join(exact_text(value).splitlines(keepends=True)[:n])
    return _items(value, "head")[:n]


def _sample(value: Any, limits: ValueLimits, n: int, seed: int) -> Any:
    view = as_view(value)
    if view is None:
        items = _items(value, "sample")
        return [items[at] for at in _positions(len(items), n, seed)]
    chosen = view.frame.pick(_positions(view.frame.row_count, n, seed))
    return View(chosen, view.shape, counted(chosen.row_count, "sampled row"), n)


def _positions(count: int, n: int, seed: int) -> List[int]:
    """The same positions for the same seed on every machine and Python, in ascending order."""
    return sorted(random.Random(seed).sample(range(count), min(n, count)))


def _items(value: Any, name: str) -> List[Any]:
    if not is_a(value, list, tuple):
        raise _unfit(name, "frames, series, lists and, for head, text")
    kind: Any = list if is_a(value, list) else tuple
    return list(kind.__getitem__(value, slice(None)))


def _describe(value: Any, limits: ValueLimits) -> Any:
    view = _view(value, "describe")
    return View(view.frame.described(), view.shape, "summary", limits.max_rows)


def _columns(value: Any, limits: ValueLimits) -> Form:
    return column_list(_view(value, "columns"), limits)


def _csv(value: Any, limits: ValueLimits) -> Form:
    return csv_text(_view(value, "csv"), limits)


def _json(value: Any, limits: ValueLimits) -> Form:
    view = as_view(value)
    if view is not None:
        return json_text(view, limits)
    if not (is_container(value) or is_a(value, str, int, float)):
        raise _unfit("json", "frames, series, lists, dicts, text and numbers")
    return json_form(value, limits)


def _view(value: Any, name: str) -> View:
    view: Optional[View] = as_view(value)
    if view is None:
        raise _unfit(name, "data frames and series")
    return view


def _unfit(name: str, takes: str) -> PromptError:
    return PromptError(f"{name} does not fit this value.", advice=f"It works on {takes}.")


FILTERS: Dict[str, Filter] = {
    "head": Filter(_head, "head(n=5): the first n rows, items or lines", {"n": 5}),
    "sample": Filter(
        _sample,
        "sample(n=5, seed=0): n rows or items by chance, the same ones each time",
        {"n": 5, "seed": 0},
    ),
    "describe": Filter(_describe, "describe: the frame's own summary", {}),
    "columns": Filter(_columns, "columns: names and types of the columns", {}),
    "csv": Filter(_csv, "csv: comma-separated values", {}),
    "json": Filter(_json, "json: JSON; of a frame, one object for each row", {}),
}
