"""Foreign errors, translated into the tree of :mod:`claude_force_nb.errors`.

The SDK changes its classes with every line of releases and lets errors of its HTTP library through.
So an error is judged by its HTTP status, by the type that the server names in the body, and by the
package that it comes from; never by its class, and without importing any of those packages.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import ssl
import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, Iterator, Mapping, Optional, Set, Tuple, Type

from ..errors import (
    AuthenticationFailed,
    ClaudeForceError,
    ConnectionFailed,
    ContextTooLong,
    DeadlineExceeded,
    Overloaded,
    ProviderError,
    RateLimited,
    RequestRejected,
    ServerFailed,
    UnknownModel,
)
from ..redaction import MASK, Redactor
from .streaming import incomplete

_RESUME = "Answers that are there are kept: run the cell again later to make only the missing ones."
_CHECK_KEY = "`%agents key` asks for another key; `%agents use offline` goes on without one."
_CHECK_REQUEST = "Sending it again will not help; change what the message names."
_CHECK_URL = "Check base_url (or ANTHROPIC_BASE_URL): it names the server without /v1/messages."
_CHECK_NETWORK = "Check the network, a proxy and base_url; with `--cache replay` none is needed."
_SHORTEN = "Send less, for example {{ name | head(20) }}, or choose a model with a larger context."

_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "timeout_error": 408,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}
_TOO_LONG = re.compile(r"prompt is too long|exceeds? .{0,40}context|context (window|length)", re.I)
_HTTP_PACKAGES = frozenset(
    {"httpx", "httpx2", "httpcore", "httpcore2", "httpx_aiohttp", "aiohttp", "anyio", "h11", "h2"}
)
_NOT_DECODABLE = re.compile("DecodingError|ContentEncoding")
_SILENT = re.compile("ReadTimeout|WriteTimeout")
_NOT_SENDABLE = re.compile("InvalidURL|UnsupportedProtocol|LocalProtocol|NonHttpUrl|InvalidUrl")
_SURROGATE = "Look for half a surrogate pair, such as '\\ud83d'."
# What the SDK lets out, by version, when a body is not what it expects.
_UNREADABLE = (
    json.JSONDecodeError,
    UnicodeDecodeError,
    AssertionError,
    AttributeError,
    TypeError,
    RecursionError,
)
MAX_QUOTED_CHARS = 300
MAX_RETRY_AFTER_S = 366 * 86400.0


@contextmanager
def translated(redactor: Redactor) -> Iterator[None]:
    """Raise errors of this package in place of foreign ones.

    The foreign error stays reachable as the cause, without its frames: they hold request headers,
    and so the key, which verbose tracebacks would print.

    Args:
        redactor: Removes the key from texts that a server or proxy might echo.
    """
    try:
        yield
    except ClaudeForceError:
        raise
    except Exception as error:
        mine = translate(error, redactor)
        if mine is None:
            raise
        raise mine from _presentable(error, redactor)


def translate(error: BaseException, redactor: Redactor) -> Optional[ProviderError]:
    """The error of this package that means the same; ``None`` for an error of our own making."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _from_response(error, status, redactor)
    chain = tuple(_chain(error))
    if any(_is_transport_error(link) for link in chain):
        return _from_transport(chain, redactor)
    if isinstance(error, UnicodeEncodeError):
        return RequestRejected("The prompt has characters that cannot be sent.", advice=_SURROGATE)
    if isinstance(error, _UNREADABLE):
        return incomplete(f"The server's answer cannot be read ({type(error).__name__}).")
    if "anthropic" in _packages(error):
        return ProviderError(f"The SDK failed: {redactor.redact(_reason(chain))}.")
    return None


# -- errors that the server reports -----------------------------------------------------------


def _from_response(error: BaseException, status: int, redactor: Redactor) -> ProviderError:
    headers = getattr(getattr(error, "response", None), "headers", {})
    kind, message = error_in(getattr(error, "body", None))
    return from_status(
        _STATUS_OF_TYPE.get(kind, status) if status == 200 else status,
        kind=kind,
        message=redactor.redact(message),
        request_id=getattr(error, "request_id", None) or headers.get("request-id"),
        retry_after_s=parse_retry_after(headers.get("retry-after")),
        location=redactor.redact(headers.get("location") or ""),
    )


def error_in(body: Any) -> Tuple[str, str]:
    """Type and message of the error that an API body names; empty if it names none."""
    found = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(found, Mapping):
        return "", ""
    return str(found.get("type") or ""), str(found.get("message") or "")[:MAX_QUOTED_CHARS]


def from_event(event: Mapping[str, Any], request_id: Optional[str], key: Redactor) -> ProviderError:
    """The error that an ``error`` event inside a stream reports."""
    kind, message = error_in(event)
    status = _STATUS_OF_TYPE.get(kind, 500)
    return from_status(status, kind=kind, message=key.redact(message), request_id=request_id)


def from_status(
    status: int,
    *,
    kind: str = "",
    message: str = "",
    request_id: Optional[str] = None,
    retry_after_s: Optional[float] = None,
    location: str = "",
) -> ProviderError:
    """The error for an HTTP status.

    Args:
        status: The status; for an error event the one that its type stands for.
        kind: The type that the body names.
        message: The message in the body.
        request_id: The server's id of the request.
        retry_after_s: Seconds the server asked to wait.
        location: Where a redirect points to.
    """
    cls, what, advice = _verdict(status, kind, message)
    if location:
        what, advice = f"The server redirects to {location}, which is not followed", _CHECK_URL
    reason = f"{status}: {message}" if message else str(status)
    return cls(
        f"{what} ({reason.rstrip('.')}).",
        advice=advice,
        request_id=request_id,
        status=status,
        retry_after_s=retry_after_s,
    )


def _verdict(status: int, kind: str, message: str) -> Tuple[Type[ProviderError], str, str]:
    if status == 400 and _TOO_LONG.search(message):
        return ContextTooLong, "The prompt does not fit the model", _SHORTEN
    if status == 404 and kind != "not_found_error":
        return RequestRejected, "There is no Messages API at this address", _CHECK_URL
    if status == 404 and "model" in message:
        return UnknownModel, "The server does not know the model", "`%agents models` lists them."
    if kind == "overloaded_error":
        status = 529
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return ServerFailed, "The server failed", _RESUME
    return RequestRejected, "The server refused the request", _CHECK_REQUEST


_BY_STATUS: Mapping[int, Tuple[Type[ProviderError], str, str]] = {
    401: (AuthenticationFailed, "The server did not accept the API key", _CHECK_KEY),
    402: (RequestRejected, "The account cannot pay for the request", "Check its billing page."),
    403: (AuthenticationFailed, "The API key may not do this", _CHECK_KEY),
    408: (ServerFailed, "The server timed out", _RESUME),
    409: (ServerFailed, "The server met a conflict", _RESUME),
    413: (RequestRejected, "The request is too large", _SHORTEN),
    429: (RateLimited, "Too many requests", f"Run fewer agents at once. {_RESUME}"),
    529: (Overloaded, "The service is overloaded", _RESUME),
}


def parse_retry_after(value: Optional[str]) -> Optional[float]:
    """Seconds to wait according to a ``Retry-After`` header, a number or a date.

    Returns:
        ``None`` for no header and for one without sense: negative, not a number, over a year.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return seconds if 0 <= seconds <= MAX_RETRY_AFTER_S else None


def _seconds_until(date: str) -> float:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return math.nan


# -- errors of the connection -----------------------------------------------------------------


def _chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    seen: Set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_transport_error(error: BaseException) -> bool:
    from_http = bool(_packages(error) & _HTTP_PACKAGES)
    return from_http or isinstance(error, (OSError, EOFError, asyncio.TimeoutError))


def _packages(error: BaseException) -> Set[str]:
    return {cls.__module__.partition(".")[0] for cls in type(error).__mro__}


def _from_transport(chain: Tuple[BaseException, ...], redactor: Redactor) -> ProviderError:
    names = " ".join(type(link).__name__ for link in chain)
    reason = redactor.redact(_reason(chain))
    if _NOT_SENDABLE.search(names):
        return RequestRejected(f"The request cannot be sent: {reason}.", advice=_CHECK_URL)
    if _NOT_DECODABLE.search(names):
        return incomplete(f"The server's answer cannot be decoded: {reason}.")
    if _SILENT.search(names):
        return DeadlineExceeded("The server went silent.", advice=_RESUME)
    return _connection_failed(chain, reason)


def _connection_failed(chain: Tuple[BaseException, ...], reason: str) -> ConnectionFailed:
    failed = ConnectionFailed(f"The connection failed: {reason}.", advice=_CHECK_NETWORK)
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        failed.advice = "A proxy that reads traffic needs its certificate in SSL_CERT_FILE."
        failed.retryable = False
    if "Event loop is closed" in reason:
        failed.retryable = False
    return failed


def _reason(chain: Tuple[BaseException, ...]) -> str:
    """The operating system's words if there are any, else those of the HTTP library."""
    from_system = [link for link in chain if isinstance(link, OSError)]
    from_library = [link for link in chain if _packages(link) & _HTTP_PACKAGES]
    ranked = [*from_system, *from_library, *chain]
    texts = (" ".join(str(link).split()).rstrip(".") for link in ranked)
    return next(filter(None, texts), type(ranked[0]).__name__)[:MAX_QUOTED_CHARS]


def _presentable(error: BaseException, redactor: Redactor) -> Optional[BaseException]:
    """*error* as a cause: without frames, and not at all if a text in it holds the key."""
    told = False
    for link in _chain(error):
        link.__traceback__ = None
        text = str(link)
        if redactor.redact(text) != text:
            # Frames of other modules still have it in their variables.
            link.args, told = (MASK,), True
    return None if told else error
