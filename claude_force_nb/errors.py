"""What can go wrong, as one tree.

::

    ClaudeForceError
    ├── InputError (also ValueError)   bad input; nothing was sent
    │   ├── AgentNotFound              no agent has this name
    │   ├── AgentFileError             an agent file or claude.json cannot be used
    │   ├── PromptError                a template or a value in it cannot be inserted
    │   │   └── SecretInPrompt         a value looks like a key or password
    │   ├── WorkflowError              a workflow is malformed or cannot run as it is
    │   ├── UnsupportedOption          this model or SDK does not accept an option
    │   ├── CacheDirectoryError        the cache directory is outside the allowed roots
    │   └── WeakKeyError               a signing secret is too weak to protect anything
    ├── ProviderError                  an attempt to get an answer failed
    │   ├── MissingKey                 no API key is configured
    │   ├── AuthenticationFailed       401, 403
    │   ├── UnknownModel               404
    │   ├── RequestRejected            400, 402, 413, 422: sending it again will not help
    │   │   └── ContextTooLong         the prompt does not fit the model
    │   ├── RateLimited                429
    │   ├── ServerFailed               408, 409, 5xx, and error events inside a stream
    │   │   └── Overloaded             529
    │   ├── ConnectionFailed           no connection, or it broke
    │   ├── IncompleteReply            a reply came, but not whole
    │   └── DeadlineExceeded           an attempt or the whole run took too long
    ├── RunCancelled                   somebody stopped the run
    └── CacheError
        ├── CacheMiss                  replay found no stored answer
        └── CacheTampered              strict mode met an entry that fails its signature

Every message says what happened; ``advice`` says what to do about it.
"""

from __future__ import annotations

from typing import Optional


class ClaudeForceError(Exception):
    """Base of all errors of this package.

    Args:
        what: What happened, one sentence.
        advice: What the reader can do now, one sentence or empty.
        request_id: The API's id of the failed request, where it gave one.

    Attributes:
        attempts: How many attempts a run made before it ended with this error.
    """

    def __init__(self, what: str, *, advice: str = "", request_id: Optional[str] = None) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.request_id = request_id
        self.attempts = 0

    def __str__(self) -> str:
        parts = [self.what]
        if self.request_id:
            parts.append(f"(request {self.request_id})")
        if self.advice:
            parts.append(self.advice)
        return " ".join(parts)


class InputError(ClaudeForceError, ValueError):
    """Bad input, found before anything was sent."""


class AgentNotFound(InputError):
    """No agent has this name."""


class AgentFileError(InputError):
    """An agent file or ``claude.json`` cannot be used."""


class PromptError(InputError):
    """A template or a value in it cannot be inserted."""


class SecretInPrompt(PromptError):
    """A value that would be inserted looks like a key or password."""


class WorkflowError(InputError):
    """A workflow is malformed, or cannot run as it is written."""


class UnsupportedOption(InputError):
    """The chosen model or the installed SDK does not accept an option."""


class CacheDirectoryError(InputError):
    """The cache directory resolves to a place outside the allowed roots."""


class WeakKeyError(InputError):
    """A signing secret is too weak to protect anything."""


class ProviderError(ClaudeForceError):
    """An attempt to get an answer failed.

    Args:
        what: What happened, one sentence.
        advice: What the reader can do now.
        request_id: The API's id of the failed request.
        status: The HTTP status, where there was one.
        retry_after_s: Seconds the server asked to wait, where it did.
    """

    retryable = False

    def __init__(
        self,
        what: str,
        *,
        advice: str = "",
        request_id: Optional[str] = None,
        status: Optional[int] = None,
        retry_after_s: Optional[float] = None,
    ) -> None:
        super().__init__(what, advice=advice, request_id=request_id)
        self.status = status
        self.retry_after_s = retry_after_s


class MissingKey(ProviderError):
    """No API key is configured."""


class AuthenticationFailed(ProviderError):
    """The server did not accept the key (401, 403)."""


class UnknownModel(ProviderError):
    """The server does not know the model (404)."""


class RequestRejected(ProviderError):
    """The server refused the request for good (400, 402, 413, 422)."""


class ContextTooLong(RequestRejected):
    """The prompt does not fit the model."""


class RateLimited(ProviderError):
    """Too many requests (429)."""

    retryable = True


class ServerFailed(ProviderError):
    """The server failed (408, 409, 5xx, or an error event inside a stream)."""

    retryable = True


class Overloaded(ServerFailed):
    """The service is overloaded (529)."""


class ConnectionFailed(ProviderError):
    """No connection could be made, or it broke."""

    retryable = True


class IncompleteReply(ProviderError):
    """A reply came, but not a whole one: cut, empty or not a message."""

    retryable = True


class DeadlineExceeded(ProviderError):
    """An attempt, or the whole run, took too long."""

    retryable = True


class RunCancelled(ClaudeForceError):
    """Somebody stopped the run before it had an answer."""


class CacheError(ClaudeForceError):
    """The cache cannot do what it was asked to."""


class CacheMiss(CacheError):
    """Replay found no stored answer."""


class CacheTampered(CacheError):
    """Strict mode met an entry that fails its signature."""
