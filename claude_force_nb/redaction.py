"""Keys: holding them, noticing them in text, taking them out of it.

Three independent tools. :class:`Secret` holds a key so that it does not show by accident;
:func:`looks_secret` notices text that should not be sent to anybody; :class:`Redactor` removes
keys that are known from text that is about to be shown or stored.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from typing import Any, Iterable, Iterator, NoReturn, Optional, Pattern, Set, Tuple, Union
from urllib.parse import quote, quote_plus

MASK = "****"
MIN_REDACTED_CHARS = 4


class Secret:
    """A key that shows itself as ``****``.

    It has no ``__dict__``, cannot be pickled, compares in constant time and is false when empty.

    Args:
        value: The key.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself; hand it to nothing that logs or stores its arguments."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self._value), _bytes(other._value))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class Redactor:
    """Removes known keys from text.

    Each key is found as it is and base64-encoded (alone or inside a larger value such as a Basic
    header), URL-quoted, JSON-escaped and hexadecimal.

    Args:
        secrets: The keys. Those below ``MIN_REDACTED_CHARS`` characters are left out: they occur
            in ordinary text.
    """

    __slots__ = ("_pattern",)

    def __init__(self, secrets: Iterable[Union[str, Secret]]) -> None:
        self._pattern = _any_of(form for secret in secrets for form in _forms(_plain(secret)))

    def redact(self, text: str) -> str:
        """*text* with ``****`` in place of each key."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def __reduce__(self) -> NoReturn:
        raise TypeError("a redactor holds secrets and cannot be pickled")


def _plain(secret: Union[str, Secret]) -> str:
    return secret.reveal() if isinstance(secret, Secret) else secret


def _any_of(forms: Iterable[str]) -> Optional[Pattern[str]]:
    # The longest first, so that no tail of a longer form stays behind.
    ordered = sorted(set(forms), key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _forms(secret: str) -> Set[str]:
    if len(secret) < MIN_REDACTED_CHARS:
        return set()
    raw = _bytes(secret)
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    quoted |= {re.sub("%..", lambda code: code.group().lower(), form) for form in quoted}
    escaped = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    return {secret, raw.hex(), raw.hex().upper(), *quoted, *escaped, *_base64_forms(raw)}


def _base64_forms(raw: bytes) -> Iterator[str]:
    """The base64 text of *raw*, alone and at each of the three places inside a longer input."""
    yield base64.b64encode(raw).decode("ascii")
    yield base64.urlsafe_b64encode(raw).decode("ascii")
    for before, unsure_head in ((0, 0), (1, 2), (2, 3)):
        padded = bytes(before) + raw
        # The last group's characters depend on what follows unless it is full.
        unsure_tail = (0, 3, 2)[len(padded) % 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(padded).decode("ascii")
            core = text[unsure_head : len(text) - unsure_tail]
            if len(core) >= MIN_REDACTED_CHARS:
                yield core


# Every pattern starts at a word's beginning and has bounded or final repetitions only, so that
# a search takes time linear in the text.
_TOKENS: Tuple[Tuple[str, Pattern[str]], ...] = tuple(
    (kind, re.compile(r"(?<![A-Za-z0-9_-])" + pattern))
    for kind, pattern in (
        ("Anthropic key", r"sk-ant-[A-Za-z0-9_-]{16,}"),
        ("OpenAI key", r"sk-(?:(?:proj|svcacct|admin|or-v1)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{32,})"),
        ("AWS access key", r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("GitHub token", r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})"),
        ("GitLab token", r"glpat-[A-Za-z0-9_-]{20,}"),
        ("Slack token", r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
        ("Google key", r"(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[\w-]{20,})"),
        ("Hugging Face token", r"hf_[A-Za-z0-9]{30,}"),
        ("Stripe key", r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"),
        ("PyPI token", r"pypi-[A-Za-z0-9_-]{50,}"),
        ("JSON web token", r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    )
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"[\s\\nr]{1,8}(?:Proc-Type|Version|Comment|[A-Za-z0-9+/]{16})"
)
_URL_PASSWORD = re.compile(r"://[^\s:/@\"']{0,100}:(?P<value>[^\s:/@\"']{4,200})@")
_BEARER = re.compile(
    r"(?i:authorization[\"']?\s{0,5}[:=]\s{0,5}[\"']?(?:bearer|basic|token)\s{1,5})"
    r"(?P<value>[A-Za-z0-9._~+/=-]{12,})"
)
_ASSIGNMENT = re.compile(
    r"(?i:password|passwd|passphrase|pwd|secret|token|(?:api|access|account|private|secret)[_-]?key)"
    r"[\"']?\s{0,5}(?:=>|:=|[:=])\s{0,5}"
    r"(?:(?P<quote>[\"'])(?P<quoted>[^\s\"']{8,200})(?P=quote)"
    r"|(?P<bare>[A-Za-z0-9+/=_.~-]{12,200})(?![\w(\[]))"
)
_PLACEHOLDER = re.compile(
    r"(?i)[x*.#_-]+|<.*>|\[.*\]|\{.*\}|\$.*|%.*%|your\b.*|your[_-].*|my[_-].*|.*(?:change|replace)[_-]?"
    r"me.*|.*example.*|dummy|test|testing|none|null|true|false|redacted|placeholder|hidden|secret"
    r"|password|token"
)
_FILLER = re.compile(r"(?i)x{8}|\*{3}|\.{3}")
_DOTTED_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


def looks_secret(text: str, *, name: str = "") -> Optional[str]:
    """Say what kind of secret *text* looks like or contains.

    Keys with a known shape are found anywhere in the text. An assignment (``password = "…"``,
    ``token: …``) counts only if its value looks random: code that *handles* passwords passes.

    Args:
        text: What would be sent.
        name: The variable that holds it. One called ``password`` or ``api_key`` is a secret
            whatever short line it holds; one called ``token`` or ``key`` unless it holds words.

    Returns:
        The kind, such as ``GitHub token``; ``None`` if nothing looks secret.
    """
    return _known_shape(text) or _assigned(text) or _by_name(text, name)


def _known_shape(text: str) -> Optional[str]:
    if _PRIVATE_KEY.search(text):
        return "private key"
    for kind, pattern in _TOKENS:
        if any(not _FILLER.search(found.group()) for found in pattern.finditer(text)):
            return kind
    return None


def _assigned(text: str) -> Optional[str]:
    for kind, pattern in (("URL with a password", _URL_PASSWORD), ("bearer token", _BEARER)):
        if any(not _is_placeholder(found["value"]) for found in pattern.finditer(text)):
            return kind
    if any(_assigns_secret(found) for found in _ASSIGNMENT.finditer(text)):
        return "assigned password or token"
    return None


def _assigns_secret(found: Any) -> bool:
    value = found["quoted"] or found["bare"]
    if _is_placeholder(value) or (found["bare"] and _DOTTED_NAME.fullmatch(value)):
        return False
    return _is_random(value) or (bool(found["quoted"]) and _is_mixed(value))


def _is_placeholder(value: str) -> bool:
    return bool(_PLACEHOLDER.fullmatch(value) or _FILLER.search(value))


def _is_random(value: str) -> bool:
    """Whether kinds of characters alternate as they do in generated keys, not in identifiers."""
    kinds = [_character_kind(character) for character in value if character.isalnum()]
    pairs = list(zip(kinds, kinds[1:]))
    digit_edges = sum((a == "digit") != (b == "digit") for a, b in pairs)
    edges = sum(a != b for a, b in pairs)
    return digit_edges >= 3 or (len(kinds) >= 16 and edges >= 0.45 * len(pairs))


def _is_mixed(value: str) -> bool:
    """Whether letters, digits and punctuation as people put it into passwords occur together."""
    kinds = {_character_kind(character) for character in value}
    return "digit" in kinds and len(kinds) >= 3 and any(mark in value for mark in "!@#$%^&*?~")


def _character_kind(character: str) -> str:
    if character.isdigit():
        return "digit"
    if character.isalpha():
        return "upper" if character.isupper() else "lower"
    return "mark"


_PASSWORD_NAMES = {"password", "passwd", "passphrase", "pwd", "secret", "apikey", "credential"}
_KEY_ADJECTIVES = {"api", "access", "private", "secret", "signing", "encryption", "account", "auth"}
_TOKEN_NAMES = {"token", "key", "bearer", "pat"}
_STAGE = re.compile(r"\d+|prod|production|dev|test|staging|live|old|new|default|value|str")
_NAME_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def _by_name(text: str, name: str) -> Optional[str]:
    words = [word.lower() for word in _NAME_WORD.findall(name)]
    while words and _STAGE.fullmatch(words[-1]):
        words.pop()
    if not words or len(text) > 4096 or "\n" in text.strip() or _is_placeholder(text.strip()):
        return None
    if words[-1] in _PASSWORD_NAMES or (words[-1] == "key" and _KEY_ADJECTIVES & set(words[:-1])):
        return "password or key" if len(text.strip()) >= 4 else None
    if words[-1] in _TOKEN_NAMES and _is_no_word(text.strip()):
        return "token"
    return None


def _is_no_word(value: str) -> bool:
    if len(value) < 8 or re.search(r"\s", value):
        return False
    return any(
        not (part.isalpha() or part.isdigit()) for part in re.split(r"[_./:-]", value) if part
    )
