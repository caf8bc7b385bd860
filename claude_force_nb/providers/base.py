"""What a provider is: a way to get one answer, in one attempt.

Retries, deadlines, limits and caching are not a provider's business.
"""

from __future__ import annotations

from typing import Callable, Optional, Protocol

from ..records import AgentRequest, Reply

TextListener = Callable[[str], None]


class Provider(Protocol):
    """A way to get an answer.

    Attributes:
        name: Short name, part of the request and so of the key (``anthropic``, ``offline``).
        endpoint: Base URL of the server without credentials; empty for the default one.
    """

    name: str
    endpoint: str

    async def answer(
        self,
        request: AgentRequest,
        *,
        on_text: Optional[TextListener] = None,
        stall_timeout_s: float = 30.0,
    ) -> Reply:
        """Make one attempt at *request*.

        Cancelling the task closes the connection before the cancellation is passed on.

        Args:
            request: What to ask.
            on_text: Called on the event loop with each piece of text as it arrives.
            stall_timeout_s: Give up after this many seconds without content; pings do not count.

        Returns:
            A whole reply: known stop reason, sane usage, content where it is due.

        Raises:
            ProviderError: The attempt failed; ``retryable`` says whether another one may help.
            UnsupportedOption: The SDK or the model does not accept an option of the request.
        """
        ...  # pragma: no cover

    async def close(self) -> None:
        """Release what belongs to the running loop; the provider may be used again afterwards."""
        ...  # pragma: no cover
