"""A workflow's wall time beside its bound, and its overhead beside plain asyncio code.

Run ``python benchmarks/workflow.py``. A server process answers each call after 50 ms. A random
graph of 200 steps runs in several ways, one right after the other in each round, so that a busy
machine slows them alike:

* plain asyncio: a task for each step that awaits the tasks of the steps before it, a semaphore,
  and streamed calls over the SDK's client with its faster transport.
* claude_force_nb: ``execute_workflow``, with validation, templates, retries, deadlines and
  whole-reply checks; once without a cache, once storing each answer durably in a signed cache.
* both once more with a sleep in place of the call, which leaves the scheduling alone.

The bound is what no scheduler can beat: the longest path, or all steps divided by the concurrency,
whichever is longer, times what one call takes. That is the server's 50 ms (``x bound``), or the
time of a bare call that runs alone, measured in the same round (``x alone``): a call through the
SDK takes longer than its server, and calls in flight at once share one processor.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import math
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import anthropic

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from claude_force_nb import AsyncAgentOrchestrator, ResponseCache, Workflow
from claude_force_nb.agents import AgentDefinition
from claude_force_nb.records import AgentRequest, Reply, Usage
from claude_force_nb.workflow import Step

SERVER = Path(__file__).resolve().parent.parent / "tests" / "messages_server.py"
MODEL = "claude-haiku-5-5"
KEY = "sk-ant-benchmark"
SAID = re.compile(r"\[\[wait ([0-9.]+)\]\] \[\[say (\w+)\]\]")

PLAIN, OURS = "plain asyncio", "claude_force_nb"
STORING = "claude_force_nb, storing answers"
PLAIN_SLEEP, OURS_SLEEP = "plain asyncio, sleeping", "claude_force_nb, sleeping"
BASELINES = {PLAIN: PLAIN, OURS: PLAIN, STORING: PLAIN, PLAIN_SLEEP: PLAIN_SLEEP,
             OURS_SLEEP: PLAIN_SLEEP}  # fmt: skip
ALONE_CALLS = 10

Needs = Dict[str, Tuple[str, ...]]
Timed = Tuple[float, float]
Way = Callable[[], Awaitable[Dict[str, str]]]
Ask = Callable[[str], Awaitable[str]]


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


def random_graph(steps: int, depth: int, seed: int) -> Needs:
    """Steps in *depth* stages; each needs one step of the stage before and up to two others."""
    draw = random.Random(seed)
    stages: List[List[str]] = [[] for _ in range(depth)]
    needs: Needs = {}
    for number in range(steps):
        stage = number if number < depth else draw.randrange(depth)
        name = f"s{number}"
        earlier = [one for before in stages[:stage] for one in before]
        chosen = set(draw.sample(earlier, min(len(earlier), draw.randrange(3))))
        if stage:
            chosen.add(draw.choice(stages[stage - 1]))
        needs[name] = tuple(sorted(chosen))
        stages[stage].append(name)
    return needs


def longest_path(needs: Mapping[str, Sequence[str]]) -> int:
    """Steps on the longest path."""
    level: Dict[str, int] = {}

    def height(name: str) -> int:
        if name not in level:
            level[name] = 1 + max(map(height, needs[name]), default=0)
        return level[name]

    return max(map(height, needs))


def list_schedule(needs: Needs, concurrency: int) -> int:
    """Calls one after the other when each step starts as soon as it can."""
    missing = {name: len(needed) for name, needed in needs.items()}
    ready = [name for name, count in missing.items() if not count]
    running: List[Tuple[int, str]] = []
    now = 0
    while ready or running:
        while ready and len(running) < concurrency:
            heapq.heappush(running, (now + 1, ready.pop(0)))
        now = running[0][0]
        while running and running[0][0] == now:
            _, done = heapq.heappop(running)
            for later, needed in needs.items():
                if done in needed:
                    missing[later] -= 1
                    if not missing[later]:
                        ready.append(later)
    return now


def task_of(name: str, needs: Needs, latency_s: float) -> str:
    """The task of a step, for the server too: how long to wait, and what to say."""
    answers = " ".join(f"{{{{ steps.{one} }}}}" for one in needs[name])
    return f"[[wait {latency_s}]] [[say {name}]] after {answers}"


def ours(needs: Needs, latency_s: float, orchestrator: AsyncAgentOrchestrator) -> Way:
    """The graph as a workflow."""
    steps = (Step(name, "worker", task=task_of(name, needs, latency_s)) for name in needs)
    workflow = Workflow(tuple(steps))

    async def run() -> Dict[str, str]:
        result = await orchestrator.execute_workflow(workflow, model=MODEL, max_tokens=100)
        return {name: step.output for name, step in result.items()}

    return run


def plain(needs: Needs, latency_s: float, ask: Ask, concurrency: int) -> Way:
    """The same in plain asyncio: a task for each step, which awaits those before it."""

    async def run() -> Dict[str, str]:
        semaphore = asyncio.Semaphore(concurrency)
        tasks: Dict[str, asyncio.Task[str]] = {}

        async def step(name: str) -> str:
            answers = [await tasks[one] for one in needs[name]]
            start, _, _ = task_of(name, needs, latency_s).partition("{{")
            async with semaphore:
                return await ask(start + " ".join(answers))

        for name in needs:
            tasks[name] = asyncio.ensure_future(step(name))
        return {name: await task for name, task in tasks.items()}

    return run


def asking(client: Any) -> Ask:
    """One streamed call, its text put together."""

    async def ask(text: str) -> str:
        messages = [{"role": "user", "content": text}]
        pieces = []
        async for event in await client.messages.create(
            model=MODEL, max_tokens=100, messages=messages, stream=True
        ):
            if event.type == "content_block_delta":
                pieces.append(event.delta.text)
        return "".join(pieces)

    return ask


class Sleeper:
    """A provider that answers what it is told to after a while, without any call."""

    name, endpoint = "sleeper", ""

    async def answer(self, request: AgentRequest, **_: Any) -> Reply:
        """Answer as the server would."""
        return Reply(await self.ask(request.messages[0]["content"]), MODEL, "end_turn", Usage(1, 1))

    async def ask(self, text: str) -> str:
        """Sleep, then say the text's word."""
        found = SAID.match(text)
        assert found is not None
        await asyncio.sleep(float(found.group(1)))
        return found.group(2)

    async def close(self) -> None:
        """Nothing to close."""


async def timed(way: Way, names: Sequence[str]) -> Timed:
    """Wall and CPU seconds of one run; every answer is checked."""
    wall, cpu = time.perf_counter(), time.process_time()
    answers = await way()
    taken = time.perf_counter() - wall, time.process_time() - cpu
    wrong = [name for name in names if answers.get(name) != name]
    if wrong:
        raise AssertionError(f"wrong answers of {wrong[:5]}")
    return taken


async def alone(ask: Ask, latency_s: float) -> float:
    """Wall seconds of a bare call while nothing else runs."""
    start = time.perf_counter()
    for _ in range(ALONE_CALLS):
        await ask(f"[[wait {latency_s}]] [[say alone]]")
    return (time.perf_counter() - start) / ALONE_CALLS


async def measure(
    url: str, options: argparse.Namespace, needs: Needs
) -> Tuple[Dict[str, List[Timed]], List[float]]:
    """Run every way in every round, in changing order; also what a call takes alone."""
    limit = {"max_concurrent": options.concurrency, "base_url": url, "api_key": KEY}
    latency_s, names = options.latency / 1000, list(needs)
    client = anthropic.AsyncAnthropic(
        api_key=KEY, base_url=url, max_retries=0, http_client=anthropic.DefaultAioHttpClient()
    )
    sleeper = Sleeper()
    with tempfile.TemporaryDirectory() as folder:
        cache = ResponseCache(folder, roots=[Path(folder)], durable=True)
        orchestrators = {
            OURS: AsyncAgentOrchestrator(enable_cache=False, **limit),
            STORING: AsyncAgentOrchestrator(cache=cache, mode="refresh", **limit),
            OURS_SLEEP: AsyncAgentOrchestrator(enable_cache=False, provider=sleeper, **limit),
        }
        for orchestrator in orchestrators.values():
            orchestrator.library.define(AgentDefinition("worker", ""))
        ways = {name: ours(needs, latency_s, one) for name, one in orchestrators.items()}
        ways[PLAIN] = plain(needs, latency_s, asking(client), options.concurrency)
        ways[PLAIN_SLEEP] = plain(needs, latency_s, sleeper.ask, options.concurrency)
        for way in ways.values():
            await timed(way, names)
        taken: Dict[str, List[Timed]] = {name: [] for name in BASELINES}
        alone_s = []
        for _ in range(options.rounds):
            alone_s.append(await alone(asking(client), latency_s))
            for name in random.sample(list(ways), len(ways)):
                taken[name].append(await timed(ways[name], names))
        for closing in (client, *orchestrators.values()):
            await closing.close()
    return taken, alone_s


def report(
    taken: Dict[str, List[Timed]],
    alone_s: Sequence[float],
    calls: int,
    latency_s: float,
    steps: int,
) -> None:
    """Print the table; a ratio is the median of the rounds' ratios."""
    columns = ("wall s", "x bound", "x alone", "CPU ms/step", "wall x plain", "CPU x plain")
    print(f"{'way':<34}" + "".join(f"{column:>13}" for column in columns))
    for name, times in taken.items():
        base = taken[BASELINES[name]]
        alone = [latency_s] * len(times) if "sleeping" in name else alone_s
        cells = (
            f"{statistics.median(wall for wall, _ in times):.3f}",
            f"{statistics.median(wall / (calls * latency_s) for wall, _ in times):.2f}",
            f"{statistics.median(t[0] / (calls * one) for t, one in zip(times, alone)):.2f}",
            f"{1000 * statistics.median(cpu for _, cpu in times) / steps:.2f}",
            f"{statistics.median(mine[0] / its[0] for mine, its in zip(times, base)):.2f}",
            f"{statistics.median(mine[1] / its[1] for mine, its in zip(times, base)):.2f}",
        )
        print(f"{name:<34}" + "".join(f"{cell:>13}" for cell in cells))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200, help="steps of the graph")
    parser.add_argument("--depth", type=int, default=12, help="stages of the graph")
    parser.add_argument("--concurrency", type=int, default=10, help="calls in flight")
    parser.add_argument("--latency", type=float, default=50, help="milliseconds of each call")
    parser.add_argument("--rounds", type=int, default=7, help="rounds")
    parser.add_argument("--seed", type=int, default=4, help="which random graph")
    options = parser.parse_args()
    needs = random_graph(options.steps, options.depth, options.seed)
    path, schedule = longest_path(needs), list_schedule(needs, options.concurrency)
    bound = max(path, math.ceil(len(needs) / options.concurrency))
    with server_process() as url:
        taken, alone_s = asyncio.run(measure(url, options, needs))
    print(
        f"anthropic {anthropic.__version__}, Python {sys.version.split()[0]}, {len(needs)} steps, "
        f"{sum(map(len, needs.values()))} arrows, longest path {path}, {options.concurrency} at "
        f"once, {options.latency:g} ms each, {options.rounds} rounds\n"
        f"bound {bound} calls one after the other (starting each step as soon as possible takes "
        f"{schedule}); a bare call alone takes {1000 * statistics.median(alone_s):.1f} ms\n"
    )
    report(taken, alone_s, bound, options.latency / 1000, len(needs))


if __name__ == "__main__":
    main()
