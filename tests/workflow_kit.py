"""An orchestrator for tests of workflows: the real one, with a provider that keeps a ledger."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, List, Optional

from claude_force_nb import AsyncAgentOrchestrator, ResponseCache
from claude_force_nb.agents import AgentDefinition
from claude_force_nb.errors import Overloaded, RequestRejected
from claude_force_nb.records import AgentRequest, Reply, Usage

AGENTS = ("a", "b", "c", "d")


class Ledger:
    """A provider that notes when each call began and ended.

    The prompt decides: ``FAIL`` in it is refused for good, ``BUSY`` is refused each first time,
    ``HANG`` never ends; everything else is answered after a few turns of the event loop.

    Attributes:
        events: ``("start" | "end", prompt)`` in order.
        in_flight: Calls under way now.
        peak: Most calls that were under way at once.
    """

    name, endpoint = "ledger", ""

    def __init__(self, answer: Optional[Callable[[AgentRequest], str]] = None) -> None:
        self._answer = answer or (lambda request: f"<{request.agent_name}>")
        self._busy: Dict[str, bool] = {}
        self.events: List[Any] = []
        self.in_flight = self.peak = 0
        self._hanging: Optional[asyncio.Event] = None

    @property
    def hanging(self) -> asyncio.Event:
        """Set once a call hangs; made late, because Python 3.8 binds it to a loop at once."""
        self._hanging = self._hanging or asyncio.Event()
        return self._hanging

    @property
    def prompts(self) -> List[str]:
        """The prompts in the order in which their calls began."""
        return [prompt for kind, prompt in self.events if kind == "start"]

    async def answer(self, request: AgentRequest, **_: Any) -> Reply:
        """Answer as the prompt says."""
        prompt = request.messages[0]["content"]
        self.events.append(("start", prompt))
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await self._work(prompt)
        finally:
            self.in_flight -= 1
        self.events.append(("end", prompt))
        return Reply(self._answer(request), request.model, "end_turn", Usage(10, 5))

    async def _work(self, prompt: str) -> None:
        for _ in range(1 + len(prompt) % 3):
            await asyncio.sleep(0)
        if "HANG" in prompt:
            self.hanging.set()
            await asyncio.get_running_loop().create_future()
        if "FAIL" in prompt:
            raise RequestRejected("It was refused.", status=400)
        if "BUSY" in prompt and not self._busy.get(prompt):
            self._busy[prompt] = True
            raise Overloaded("It is busy.", status=529, retry_after_s=0.0)

    async def close(self) -> None:
        """Nothing to close."""


def orchestrator_of(
    provider: Ledger, cache: Optional[ResponseCache] = None, max_concurrent: int = 10
) -> AsyncAgentOrchestrator:
    """An orchestrator with the agents ``a`` to ``d`` and this provider."""
    made = AsyncAgentOrchestrator(
        provider=provider,
        cache=cache,
        enable_cache=cache is not None,
        max_concurrent=max_concurrent,
        model="claude-haiku-5-5",
        max_tokens=1000,
    )
    for name in AGENTS:
        made.library.define(AgentDefinition(name, f"You are {name}.", source="cell"))
    return made
