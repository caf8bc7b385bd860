"""What every provider promises: subclass :class:`ProviderContract` and give it a provider."""

from __future__ import annotations

import asyncio
from typing import Any, AsyncIterator, List, Type

import pytest

from claude_force_nb.errors import ClaudeForceError
from claude_force_nb.providers.base import Provider
from claude_force_nb.records import AgentRequest


class ProviderContract:
    """Promises of every provider.

    A subclass has a fixture ``provider``, usable on any event loop.

    Attributes:
        model: A model that the provider knows.
        slow_text: A task whose answer takes so long that a test can interrupt it.
        failing_text: A task at which the provider fails.
        failure: The error that comes of it.
    """

    model = "claude-opus-5-5"
    slow_text = ""
    failing_text = ""
    failure: Type[ClaudeForceError] = ClaudeForceError

    def request(self, text: str, **fields: Any) -> AgentRequest:
        """A request for *text*."""
        content = {
            "agent_name": "reviewer",
            "model": self.model,
            "messages": ({"role": "user", "content": text},),
            "max_tokens": 1000,
            "system": "You review code.",
            **fields,
        }
        return AgentRequest(**content)

    @pytest.fixture
    def provider(self) -> Provider:
        """The provider under test."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    async def closed_afterwards(self, provider: Provider) -> AsyncIterator[None]:
        """Close the provider on the test's own loop."""
        yield
        await provider.close()

    async def test_reply_is_whole(self, provider: Provider) -> None:
        """A reply has text, a reason to stop, a model, counted tokens and what made it."""
        reply = await provider.answer(self.request("Look at the year 1984 in this text."))

        assert reply.stop_reason == "end_turn"
        assert all((reply.text, reply.model, reply.sdk))
        assert reply.usage.input_tokens > 0
        assert reply.usage.output_tokens > 0

    async def test_pieces_make_the_text(self, provider: Provider) -> None:
        """What is heard while it streams is, put together, the text of the reply."""
        pieces: List[str] = []

        reply = await provider.answer(self.request("Read this twice."), on_text=pieces.append)

        assert "".join(pieces) == reply.text

    async def test_blocks_hold_the_text(self, provider: Provider) -> None:
        """The text blocks of the content are the text of the reply."""
        reply = await provider.answer(self.request("Read this twice."))

        assert "".join(b["text"] for b in reply.content if b["type"] == "text") == reply.text

    async def test_answers_do_not_mix(self, provider: Provider) -> None:
        """Answers that come at the same time are the ones that come one after the other."""
        requests = [self.request(f"Sentence number {number} is here.") for number in range(8)]

        together = await asyncio.gather(*(provider.answer(request) for request in requests))

        alone = [await provider.answer(request) for request in requests]
        assert [reply.text for reply in together] == [reply.text for reply in alone]

    async def test_request_stays_as_it_was(self, provider: Provider) -> None:
        """Asking does not change the request."""
        request = self.request("Read this.", options={"stop_sequences": ["never"]})
        before = request.canonical()

        await provider.answer(request)

        assert request.canonical() == before

    async def test_cancelling_leaves_nothing(self, provider: Provider) -> None:
        """A cancelled answer is cancelled at once and leaves no task behind."""
        begun = asyncio.Event()
        request = self.request(self.slow_text)
        answering = asyncio.ensure_future(
            provider.answer(request, on_text=lambda text: begun.set())
        )
        await asyncio.wait_for(begun.wait(), 10)

        answering.cancel()
        await asyncio.wait({answering}, timeout=2)

        assert answering.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_failure_has_advice(self, provider: Provider) -> None:
        """A failure is an error of this package that says what to do."""
        with pytest.raises(self.failure) as caught:
            await provider.answer(self.request(self.failing_text))

        assert caught.value.advice

    async def test_listener_errors_come_through(self, provider: Provider) -> None:
        """An error of the listener is not taken for one of the provider."""

        def broken(text: str) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await provider.answer(self.request("Read this."), on_text=broken)

    async def test_closed_provider_works_again(self, provider: Provider) -> None:
        """Closing releases what is held; the next answer takes it again."""
        first = await provider.answer(self.request("Read this."))
        await provider.close()
        await provider.close()

        assert (await provider.answer(self.request("Read this."))).text == first.text
        await provider.close()

    def test_second_loop_works(self, provider: Provider) -> None:
        """One provider serves one event loop after another."""
        request = self.request("Read this.")

        texts = {asyncio.run(provider.answer(request)).text for _ in range(3)}

        assert len(texts) == 1

    def test_endpoint_shows_no_credentials(self, provider: Provider) -> None:
        """Name and endpoint, which become part of the key, are text without credentials."""
        assert provider.name
        assert "@" not in provider.endpoint
