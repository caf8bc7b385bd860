"""From a value of the notebook to its form in a prompt."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, Callable, Optional, Tuple

from ..errors import PromptError, SecretInPrompt
from ..records import AgentResult
from ..redaction import Secret
from .frames import as_frame
from .jsontext import JsonText, container_length, is_array, is_container
from .limits import Form, ValueLimits
from .media import block, drawn, file_form
from .scalars import class_in, exact_text, is_a, scalar_text, type_name, visible
from .tables import View, table

SUPPORTED = (
    "Text, numbers, dates, lists, dicts, sets, data frames, series, arrays, matplotlib figures, "
    "PIL images, paths and agent results can be inserted."
)


def show(value: Any, limits: ValueLimits) -> Form:
    """Turn *value* into bounded text or one content block.

    The value is not changed, and no method of a class that is not known here is called.

    Args:
        value: Anything; the table in :mod:`claude_force_nb.values` lists what has a form.
        limits: Bounds of the form.

    Raises:
        PromptError: The value has no form, or a text is longer than its bound.
        SecretInPrompt: The value is a :class:`~claude_force_nb.redaction.Secret`.
    """
    for attempt in (_refused, _text, _file, _result, _frame, _json, drawn):
        form = attempt(value, limits)
        if form is not None:
            return form
    raise PromptError(f"A value of type {type_name(value)} has no form.", advice=_advice(value))


def _refused(value: Any, limits: ValueLimits) -> Optional[Form]:
    if value is None:
        raise PromptError(
            "Its value is None: there is nothing to insert.",
            advice="Check the cell that makes it; many methods change in place and return None.",
        )
    if is_a(value, Secret):
        raise SecretInPrompt("It is a secret.", advice="Keep keys out of prompts.")
    return None


def _text(value: Any, limits: ValueLimits) -> Optional[Form]:
    if is_a(value, str):
        return text_form(exact_text(value), limits)
    text = scalar_text(value)
    return None if text is None else Form("scalar", type_name(value), text)


def text_form(text: str, limits: ValueLimits, note: str = "") -> Form:
    """The form of a text: itself, to the letter.

    Raises:
        PromptError: It is longer than ``limits.max_chars`` or cannot be sent as UTF-8.
    """
    if len(text) > limits.max_chars:
        raise PromptError(
            f"It has {len(text):,} characters, more than the {limits.max_chars:,} "
            "that one value may have; a text is never cut.",
            advice="Insert a part of it: {{ name | head(100) }} gives its first 100 lines.",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PromptError(
            "It holds half of a surrogate pair, which cannot be sent.",
            advice="Clean it: text.encode('utf-8', 'replace').decode('utf-8').",
        ) from error
    lines = text.count("\n") + 1
    return Form("text", note or ("text" if lines == 1 else f"text of {lines:,} lines"), text)


def _file(value: Any, limits: ValueLimits) -> Optional[Form]:
    if is_a(value, bytes, bytearray):
        return block(bytes(value), limits)
    if not is_a(value, PurePath):
        return None
    form = file_form(Path(value), limits)
    return form if form.block else text_form(form.text, limits, form.note)


def _result(value: Any, limits: ValueLimits) -> Optional[Form]:
    if not is_a(value, AgentResult):
        return None
    if not value.success:
        raise PromptError(
            f"The run of {value.agent_name} that it comes from {value.state}: it has no answer.",
            advice="Run that cell again first.",
        )
    return text_form(value.output, limits, f"answer of {value.agent_name}")


def _frame(value: Any, limits: ValueLimits) -> Optional[Form]:
    view = as_view(value)
    return None if view is None else table(view, limits)


def as_view(value: Any) -> Optional[View]:
    """The view of a frame or series, or of what a filter chose of it."""
    if is_a(value, View):
        chosen: View = value
        return chosen
    frame = as_frame(value)
    return None if frame is None else View.of(frame)


def _json(value: Any, limits: ValueLimits) -> Optional[Form]:
    if is_array(value):
        return _array_form(value, limits)
    if class_in(value, "pandas", "Index"):
        value = value.tolist()
    return json_form(value, limits) if is_container(value) else None


def json_form(value: Any, limits: ValueLimits) -> Form:
    """The bounded JSON form of a container or scalar."""
    written = JsonText(value, limits)
    size = f" of {container_length(value):,}" if is_container(value) else ""
    return Form("json", type_name(value) + size + _left_out(written), written.text)


def _array_form(value: Any, limits: ValueLimits) -> Form:
    shape = "×".join(f"{length:,}" for length in value.shape) or "0-dimensional"
    written = JsonText(value, limits)
    name = f"{type_name(value)} {shape} {visible(str(value.dtype))}"[:200]
    return Form("array", f"{shape}{_left_out(written)}", f"{name}:\n{written.text}")


def _left_out(written: JsonText) -> str:
    unknown = f", {written.opaque:,} shown by type only" if written.opaque else ""
    return (" → its beginning" if written.cut else "") + unknown


_ADVICE: Tuple[Tuple[Callable[[Any], bool], str], ...] = (
    (
        lambda value: type(value).__name__.endswith("GroupBy"),
        "Aggregate it first, for example name.mean().",
    ),
    (
        lambda value: hasattr(type(value), "__dataclass_fields__"),
        "Insert dataclasses.asdict(name).",
    ),
    (lambda value: hasattr(type(value), "__next__"), "Make it a list first."),
    (lambda value: callable(value), "Insert its source: inspect.getsource(name)."),
)


def _advice(value: Any) -> str:
    special = next((advice for applies, advice in _ADVICE if applies(value)), "")
    return special or f"Make text of it yourself. {SUPPORTED}"
