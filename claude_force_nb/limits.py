"""What keeps calls within bounds: for now, how many may be in flight at once.

A semaphore belongs to one event loop, so one is made for each running loop when it is first
needed; the orchestrator itself can be constructed anywhere, before any loop exists.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import AsyncIterator, Dict


class Limits:
    """Bounds shared by all calls of one orchestrator.

    Args:
        max_concurrent: Most calls in flight at once, on each event loop.
    """

    def __init__(self, max_concurrent: int) -> None:
        self.max_concurrent = max_concurrent
        self._semaphores: Dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a free place and hold it."""
        async with self._semaphore():
            yield

    def _semaphore(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        semaphore = self._semaphores.get(loop)
        if semaphore is None:
            for closed in [known for known in self._semaphores if known.is_closed()]:
                del self._semaphores[closed]
            semaphore = self._semaphores[loop] = asyncio.Semaphore(self.max_concurrent)
        return semaphore
