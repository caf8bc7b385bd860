"""Calls per second through this package, beside bare calls of the same SDK.

Run ``python benchmarks/throughput.py``. A server process answers 1,000 calls, 100 at a time; each
round measures every way once, in changing order, and a ratio compares ways of the same round, so
that a busy machine slows them alike. Printed is the median ratio of the rounds with its range.

The bare ways are what people write themselves: ``asyncio.gather`` over one client with a semaphore.
Both accept a stream that was cut half-way, and neither retries within a deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, Iterator, List, Optional, Tuple

import anthropic

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from claude_force_nb import AgentDefinition, AsyncAgentOrchestrator, ResponseCache
from claude_force_nb.providers.anthropic import AnthropicProvider

SERVER = Path(__file__).resolve().parent.parent / "tests" / "messages_server.py"
MODEL = "claude-haiku-5-5"
KEY = "sk-ant-benchmark"
TRANSPORTS = ("httpx", "aiohttp")
OURS = "orchestrator"
CACHED = "orchestrator, storing"

Call = Callable[[int], Awaitable[str]]
Way = Tuple[str, str]


@contextmanager
def server_process() -> Iterator[str]:
    """Run the test server in a process of its own and give its URL."""
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def bare_client(url: str, transport: str) -> Any:
    """The SDK's client as its documentation makes it, without retries."""
    http_client = anthropic.DefaultAioHttpClient() if transport == "aiohttp" else None
    return anthropic.AsyncAnthropic(
        api_key=KEY, base_url=url, max_retries=0, http_client=http_client
    )


def message(number: int) -> Dict[str, Any]:
    """The arguments of call *number*."""
    content = f"How are you, number {number}?"
    return {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": content}],
    }


def bare_create(client: Any) -> Call:
    """One call without streaming."""

    async def call(number: int) -> str:
        reply = await client.messages.create(**message(number))
        return str(reply.content[0].text)

    return call


def bare_stream(client: Any) -> Call:
    """One call with streaming, its text put together."""

    async def call(number: int) -> str:
        pieces = []
        async for event in await client.messages.create(**message(number), stream=True):
            if event.type == "content_block_delta":
                pieces.append(event.delta.text)
        return "".join(pieces)

    return call


def ours(url: str, transport: str, folder: Optional[str]) -> Tuple[AsyncAgentOrchestrator, Call]:
    """One call through the orchestrator: limits, retries, deadlines, streaming, whole replies.

    With a *folder* every answer is also looked for in the signed cache, and stored there durably.
    """
    cache = ResponseCache(folder, durable=True, roots=[Path(folder)]) if folder else None
    orchestrator = AsyncAgentOrchestrator(
        max_concurrent=1000,
        enable_cache=cache is not None,
        cache=cache,
        provider=AnthropicProvider(KEY, base_url=url, transport=transport),
    )
    orchestrator.library.define(AgentDefinition("benchmark", ""))
    rounds = itertools.count()

    async def call(number: int) -> str:
        content = message(number)["messages"][0]["content"]
        once = f"{transport} {next(rounds)}"
        options = {"metadata": {"round": once}} if cache else {}
        result = await orchestrator.execute_agent("benchmark", content, MODEL, 100, **options)
        if result.error is not None:
            raise result.error
        return result.output

    return orchestrator, call


async def measure(call: Call, calls: int, concurrency: int) -> Tuple[float, float]:
    """Wall and CPU seconds of *calls* calls, *concurrency* at a time; every answer is checked."""
    semaphore = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with semaphore:
            answer = await call(number)
        if answer != f"Echo: How are you, number {number}?":
            raise AssertionError(f"call {number} got {answer!r}")

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(number) for number in range(calls)))
    return time.perf_counter() - wall, time.process_time() - cpu


async def rounds(url: str, options: argparse.Namespace) -> Dict[Way, List[Tuple[float, float]]]:
    """Measure every way in every round."""
    clients = {transport: bare_client(url, transport) for transport in TRANSPORTS}
    closing: List[Any] = list(clients.values())
    ways: Dict[Way, Call] = {}
    for transport in TRANSPORTS:
        ways["bare create()", transport] = bare_create(clients[transport])
        ways["bare create(stream=True)", transport] = bare_stream(clients[transport])
        for name, folder in ((OURS, None), (CACHED, options.folder)):
            orchestrator, ways[name, transport] = ours(url, transport, folder)
            closing.append(orchestrator)
    taken: Dict[Way, List[Tuple[float, float]]] = {way: [] for way in ways}
    for call in ways.values():
        await measure(call, options.concurrency, options.concurrency)
    for _ in range(options.rounds):
        for way in random.sample(list(ways), len(ways)):
            taken[way].append(await measure(ways[way], options.calls, options.concurrency))
    for one in closing:
        await one.close()
    return taken


def ratios(taken: Dict[Way, List[Tuple[float, float]]], mine: Way, theirs: Way, of: int) -> str:
    """Median and range of *theirs* divided by *mine*, round by round; *of* 0 wall, 1 CPU time."""
    found = [their[of] / my[of] for my, their in zip(taken[mine], taken[theirs])]
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def report(taken: Dict[Way, List[Tuple[float, float]]], calls: int) -> None:
    """Print both tables."""
    print(f"{'way':<34}{'calls/s':>9}{'CPU ms/call':>13}")
    for (name, transport), times in taken.items():
        rate = calls / statistics.median(wall for wall, _ in times)
        cpu_ms = 1000 * statistics.median(cpu for _, cpu in times) / calls
        print(f"{name + ', ' + transport:<34}{rate:>9.0f}{cpu_ms:>13.2f}")
    print(f"\n{'ours : a bare way':<66}{'throughput':>18}{'calls per CPU':>18}")
    for mine in [way for way in taken if not way[0].startswith("bare")]:
        for theirs in [way for way in taken if way[0].startswith("bare")]:
            wall, cpu = ratios(taken, mine, theirs, of=0), ratios(taken, mine, theirs, of=1)
            names = f"{', '.join(mine)} : {', '.join(theirs)}"
            print(f"{names:<66}{wall:>18}{cpu:>18}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--calls", type=int, default=1000, help="calls of each way and round")
    parser.add_argument("--concurrency", type=int, default=100, help="calls in flight")
    parser.add_argument("--rounds", type=int, default=7, help="rounds")
    options = parser.parse_args()
    with server_process() as url, tempfile.TemporaryDirectory() as options.folder:
        taken = asyncio.run(rounds(url, options))
    print(
        f"anthropic {anthropic.__version__}, Python {sys.version.split()[0]}, "
        f"{options.calls} calls, {options.concurrency} at a time, {options.rounds} rounds\n"
    )
    report(taken, options.calls)


if __name__ == "__main__":
    main()
