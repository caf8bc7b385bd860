"""A value that fits a JSON schema, filled with what a text holds.

Enough of JSON Schema for the tools and answer formats that people write by hand. What it cannot
promise to fulfil, such as ``pattern``, is refused instead of guessed.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from ..errors import UnsupportedOption

MAX_DEPTH = 16
DEEP = 4
"""From this depth on only what is required is filled in, so that trees come to an end."""

_REFUSED = ("pattern", "not", "if", "contains", "uniqueItems", "multipleOf", "minProperties")
_COMBINING = ("allOf", "anyOf", "oneOf", "$ref", "$defs", "definitions")
_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "nobody@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = Mapping[str, Any]


class Filler:
    """Makes a value for a schema; the same inputs give the same value.

    Args:
        schema: The whole schema; ``$ref`` points into it.
        texts: Texts for string values, used in turn.
        numbers: Numbers for numeric values; the first that fits is used.
    """

    def __init__(self, schema: Schema, texts: Sequence[str], numbers: Sequence[float]) -> None:
        self._root = schema
        self._texts = list(texts) or ["nothing"]
        self._numbers = list(numbers)
        self._used = 0

    def value(self) -> Any:
        """A value that the schema accepts.

        Raises:
            UnsupportedOption: The schema asks for something that cannot be promised.
        """
        return self._value(self._root, 0)

    def _value(self, schema: Any, depth: int) -> Any:
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        makers: Dict[str, Callable[[Schema, int], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda schema, depth: False,
            "null": lambda schema, depth: None,
        }
        kind = _type(schema)
        if kind not in makers:
            raise _refusal(f"has the unknown type {kind!r}")
        return makers[kind](schema, depth)

    def _resolved(self, schema: Any, depth: int) -> Schema:
        """*schema* with references followed and the first alternative taken."""
        schema = schema if isinstance(schema, Mapping) else {}
        refused = [word for word in _REFUSED if schema.get(word)]
        if refused or depth > MAX_DEPTH:
            raise _refusal(f"uses {refused[0]}" if refused else "has no end")
        merged = {name: value for name, value in schema.items() if name not in _COMBINING}
        for part in self._parts(schema):
            merged = _merged(merged, self._resolved(part, depth + 1))
        return merged

    def _parts(self, schema: Schema) -> List[Any]:
        chosen = [schema[word][0] for word in ("anyOf", "oneOf") if schema.get(word)]
        referred = [self._referred(schema["$ref"])] if "$ref" in schema else []
        return [*schema.get("allOf", ()), *chosen, *referred]

    def _referred(self, reference: str) -> Any:
        target: Any = self._root
        for step in filter(None, reference.lstrip("#").split("/")):
            if not isinstance(target, Mapping) or step not in target:
                raise _refusal(f"refers to {reference}, which is not in it")
            target = target[step]
        return target

    def _object(self, schema: Schema, depth: int) -> Dict[str, Any]:
        properties = schema.get("properties", {})
        required = list(schema.get("required", ()))
        names = [name for name in properties if depth < DEEP or name in required]
        names += [name for name in required if name not in properties]
        return {name: self._value(properties.get(name, {}), depth + 1) for name in names}

    def _array(self, schema: Schema, depth: int) -> List[Any]:
        usual = 1 if depth < DEEP else 0
        count = min(max(schema.get("minItems", 0), usual), schema.get("maxItems", 1000))
        return [self._value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _string(self, schema: Schema, depth: int) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self._texts[self._used % len(self._texts)]
        self._used += 1
        return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), ".")

    def _integer(self, schema: Schema, depth: int) -> int:
        whole = [number for number in self._numbers if number == int(number)]
        lowest, highest = _bounds(schema)
        lowest = math.ceil(lowest) if math.isfinite(lowest) else lowest
        return int(_fitting(whole, lowest, highest))

    def _number(self, schema: Schema, depth: int) -> float:
        return _fitting(self._numbers, *_bounds(schema))


def _type(schema: Schema) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((word for word in kind if word != "null"), "null")
    implied = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind or implied)


def _merged(first: Schema, second: Schema) -> Dict[str, Any]:
    both = {**second, **first}
    if "properties" in first and "properties" in second:
        both["properties"] = {**second["properties"], **first["properties"]}
    if "required" in first and "required" in second:
        both["required"] = list(dict.fromkeys([*second["required"], *first["required"]]))
    return both


def _bounds(schema: Schema) -> Tuple[float, float]:
    """The least and the greatest number; excluded ends are kept one away from."""
    lowest = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + 1)
    highest = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - 1)
    return lowest, highest


def _fitting(numbers: Sequence[float], lowest: float, highest: float) -> float:
    if lowest > highest:
        raise _refusal("has a range without a simple number in it")
    nearest_to_zero = min(max(0, lowest), highest)
    return next((number for number in numbers if lowest <= number <= highest), nearest_to_zero)


def _refusal(why: str) -> UnsupportedOption:
    return UnsupportedOption(
        f"The offline stand-in model cannot fill this JSON schema: it {why}.",
        advice="Ask the real model (`%agents use anthropic`), or simplify the schema.",
    )
