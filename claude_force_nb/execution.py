"""Running prepared requests: cache, limits, provider, result.

Together with the orchestrator built on it, the only module that sees both the cache and the
providers. It imports neither until a run needs one, so that a notebook whose answers are all
cached never loads an SDK.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Deque, Dict, Optional, Type, TypeVar, Union

from .agents import AgentLibrary
from .attempts import RetryPolicy, answer_with_retries
from .credentials import as_secret, find_api_key
from .errors import CacheMiss, RunCancelled
from .limits import Limits
from .outcomes import cancelled, failed, fresh, recalled
from .providers.base import Provider
from .records import AgentRequest, AgentResult
from .redaction import Secret
from .requests import Task, check_task, make_request
from .runs import Run
from .settings import MODES, Settings, one_of

if TYPE_CHECKING:
    from .cache import Entry, ResponseCache

Self = TypeVar("Self", bound="RequestRunner")
T = TypeVar("T")

RECENT_RUNS = 1000
RECENT_REQUESTS = 50

logger = logging.getLogger(__name__)


class RequestRunner:
    """Runs prepared requests, through one cache and one set of limits.

    Args:
        settings: How it behaves.
        library: Whose project the cache and the ``.env`` file belong to.
        api_key: API key; by default found as :mod:`claude_force_nb.credentials` says.
        provider: A provider to use instead of the one that *settings* name.
        cache: A cache to use instead of one of its own.
        enable_cache: Whether answers are stored and found again.
        cache_ttl_hours: Hours an answer stays valid; ``None`` for ever.
        cache_max_size_mb: Megabytes the cache may take on disk.

    Attributes:
        settings: The settings in force; :meth:`reconfigure` changes them.
        limits: What keeps calls within bounds.
        recent_runs: The last runs that ended, oldest first, at most ``RECENT_RUNS``; the last
            ``RECENT_REQUESTS`` of them still know what was asked.
    """

    def __init__(
        self,
        settings: Settings,
        library: AgentLibrary,
        *,
        api_key: Union[str, Secret, None] = None,
        provider: Optional[Provider] = None,
        cache: Optional[ResponseCache] = None,
        enable_cache: bool = True,
        cache_ttl_hours: Optional[float] = 24,
        cache_max_size_mb: float = 100,
    ) -> None:
        self.settings = settings
        self.library = library
        self.limits = Limits(settings.max_concurrent)
        self.recent_runs: Deque[Run] = deque(maxlen=RECENT_RUNS)
        self._api_key = as_secret(api_key)
        self._own_provider = provider
        self._built: Dict[str, Provider] = {}
        self._cache = cache
        self._cache_enabled = enable_cache
        self._cache_ttl_hours = cache_ttl_hours
        self._cache_max_size_mb = cache_max_size_mb
        self._threads: Optional[ThreadPoolExecutor] = None

    def prepare(
        self,
        agent_name: str,
        task: Task,
        model: Optional[str] = None,
        max_tokens: Optional[int] = None,
        *,
        system: Optional[str] = None,
        sample: int = 0,
        **options: Any,
    ) -> AgentRequest:
        """Make the request that :meth:`execute` runs; nothing is sent.

        Raises:
            InputError: Something is wrong with the name, the agent's file, the task or an option.
        """
        check_task(agent_name, task, self.settings.max_task_chars)
        own = self._own_provider
        return make_request(
            self.library.find(agent_name),
            task,
            self.settings,
            model=model,
            max_tokens=max_tokens,
            system=system,
            provider=own.name if own else self.settings.provider,
            endpoint=own.endpoint if own else self.settings.endpoint,
            sample=sample,
            options=options,
        )

    async def execute(
        self,
        request: AgentRequest,
        *,
        run: Optional[Run] = None,
        mode: Optional[str] = None,
        timeout_s: Optional[float] = None,
        max_attempts: Optional[int] = None,
    ) -> AgentResult:
        """Run a prepared request.

        Whatever happens becomes a result, also an exit that a tool asks for: raised out of a
        task, it would stop the event loop and with it the kernel. Only a cancellation is passed
        on, after the run has been closed as ``cancelled``.

        Args:
            request: What to ask.
            run: Progress is reported here.
            mode: Cache mode of this run.
            timeout_s: Seconds this run may take.
            max_attempts: Attempts of this run, the first one included.
        """
        from .cache import request_key

        mode = mode or self.settings.mode
        one_of("cache mode", mode, MODES)
        run = run or Run(request.agent_name, request.model)
        run.request = request
        key = request_key(request)
        try:
            policy = self._policy(timeout_s, max_attempts)
            result = await self._obtain(request, key, run, mode, policy)
        except (asyncio.CancelledError, KeyboardInterrupt, RunCancelled) as stop:
            result = cancelled(request, key, run, stop)
            self._finish(run, result)
            if isinstance(stop, asyncio.CancelledError):
                raise
            return result
        except GeneratorExit:
            raise
        except BaseException as error:
            result = failed(request, key, run, error)
        self._finish(run, result)
        return result

    def stored_answer(self, request: AgentRequest, mode: Optional[str] = None) -> Optional[str]:
        """The stored answer that a run in *mode* would give; nothing is counted or called.

        Reads the disk.
        """
        from .cache import request_key

        mode = mode or self.settings.mode
        if self.cache is None or mode in ("off", "refresh"):
            return None
        found = self.cache.peek(request_key(request))
        return found.entry.response if found.hit and found.entry is not None else None

    def _finish(self, run: Run, result: AgentResult) -> None:
        run.end(result)
        self._remember(run)
        logger.info(
            "run ended",
            extra={
                "agent_name": result.agent_name,
                "model": result.model,
                "state": result.state,
                "key": result.key,
                "attempts": result.metadata.get("attempts", 0),
                "input_tokens": result.usage.input_tokens,
                "output_tokens": result.usage.output_tokens,
                "cost_usd": result.cost_usd,
                "elapsed_s": round(result.elapsed_s, 3),
                "request_id": result.request_id,
                "error_type": type(result.error).__name__ if result.error else None,
            },
        )

    def _remember(self, run: Run) -> None:
        if run.request is not None:
            run.request = run.request.without_payloads()
        self.recent_runs.append(run)
        if len(self.recent_runs) > RECENT_REQUESTS:
            self.recent_runs[-RECENT_REQUESTS - 1].request = None

    async def _obtain(
        self, request: AgentRequest, key: str, run: Run, mode: str, policy: RetryPolicy
    ) -> AgentResult:
        cache = self.cache if mode != "off" else None
        if cache is None:
            run.cache_status = "off"
            return await self._call(request, key, run, policy)
        run.cache_status = "refresh" if mode == "refresh" else ""
        entry = None if mode == "refresh" else await self._recall(cache, request, run, mode)
        if entry is not None:
            return recalled(request, run, entry)
        if mode == "replay":
            raise await self._miss(cache, request)
        # The cache looks once more when it is our turn: somebody may just have stored the answer.
        async with cache.flight(key, None if mode == "refresh" else request) as flight:
            if not flight.leader:
                entry = await self._recall(cache, request, run, mode)
            elif flight.found is not None and flight.found.hit:
                entry, run.cache_status = flight.found.entry, flight.found.status
            if entry is not None:
                return recalled(request, run, entry)
            result = await self._call(request, key, run, policy)
            await flight.finish(functools.partial(cache.store, request, result))
            return result

    async def _recall(
        self, cache: ResponseCache, request: AgentRequest, run: Run, mode: str
    ) -> Optional[Entry]:
        found = cache.memory_lookup(request)
        if found is None or found.entry is None:
            found = await self._in_thread(
                functools.partial(cache.lookup, request, strict=mode == "strict")
            )
        run.cache_status = found.status
        # An expired entry comes with its lookup too, to be explained, not to be served.
        return found.entry if found.hit else None

    async def _miss(self, cache: ResponseCache, request: AgentRequest) -> CacheMiss:
        explanation = await self._in_thread(functools.partial(cache.explain, request))
        return CacheMiss(
            f"No stored answer for {request.agent_name}.",
            advice=f"{explanation.brief()}\n"
            "Replay makes no calls; run with --cache auto to make this one.",
        )

    async def _call(
        self, request: AgentRequest, key: str, run: Run, policy: RetryPolicy
    ) -> AgentResult:
        async with self.limits.slot():
            reply = await answer_with_retries(self.provider, request, run, policy)
        return fresh(request, key, run, reply)

    def _policy(self, timeout_s: Optional[float], max_attempts: Optional[int]) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=max_attempts or self.settings.max_attempts,
            timeout_s=self.settings.timeout_s if timeout_s is None else timeout_s,
            stall_timeout_s=self.settings.stall_timeout_s,
        )

    @property
    def provider(self) -> Provider:
        """The provider in use, built when first needed."""
        if self._own_provider is not None:
            return self._own_provider
        name = self.settings.provider
        if name not in self._built:
            self._built[name] = self._build_provider(name)
        return self._built[name]

    def _build_provider(self, name: str) -> Provider:
        if name == "offline":
            from .providers.offline import OfflineProvider

            return OfflineProvider.from_environment()
        from .providers.anthropic import AnthropicProvider

        key = find_api_key(self._api_key, start=self.library.project_dir)
        return AnthropicProvider(key, base_url=self.settings.base_url)

    @property
    def cache(self) -> Optional[ResponseCache]:
        """The cache, made when first needed; ``None`` if it is disabled."""
        if self._cache is None and self._cache_enabled:
            from .cache import ResponseCache

            folder = self.settings.cache_dir
            self._cache = ResponseCache(
                cache_dir=folder or self.library.cache_dir,
                roots=(self.library.project_dir, *([folder] if folder else [])),
                durable=True,
                ttl_hours=self._cache_ttl_hours,
                max_size_mb=self._cache_max_size_mb,
            )
        return self._cache

    def reconfigure(self, api_key: Union[str, Secret, None] = None, **changes: Any) -> None:
        """Change settings (and the key) for the runs to come.

        Raises:
            InputError: A setting makes no sense.
        """
        self.settings = self.settings.replaced(**changes)
        if "max_concurrent" in changes:
            self.limits = Limits(self.settings.max_concurrent)
        if api_key is not None:
            self._api_key = as_secret(api_key)
        if api_key is not None or "base_url" in changes:
            self._built.pop("anthropic", None)

    async def close(self) -> None:
        """Close connections and threads; the orchestrator may be used again afterwards."""
        for provider in filter(None, (self._own_provider, *self._built.values())):
            await provider.close()
        if self._cache is not None:
            self._cache.close()
        self.release_threads()

    def release_threads(self) -> None:
        """Let idle worker threads end; new ones start when they are needed."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False)

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do blocking file work beside the event loop."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(4, thread_name_prefix="claude-force-nb")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
