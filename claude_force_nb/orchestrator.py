"""The orchestrator: from an agent's name and a task to a result.

The only module that sees both the cache and the providers. It imports neither until a run needs
one, so that a notebook whose answers are all cached never loads an SDK.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from . import outcomes
from .agents import AgentLibrary
from .attempts import RetryPolicy, answer_with_retries
from .credentials import as_secret, find_api_key
from .errors import CacheMiss, InputError, RunCancelled
from .limits import Limits
from .providers.base import Provider
from .records import AgentRequest, AgentResult
from .redaction import Secret
from .requests import Task, as_pair, check_task, make_request, prompt_metadata
from .runs import Run
from .settings import MODES, Settings, one_of

if TYPE_CHECKING:
    from .cache import Entry, ResponseCache
    from .workflow import Workflow, WorkflowResult

T = TypeVar("T")

RECENT_RUNS = 1000
RECENT_REQUESTS = 50

logger = logging.getLogger(__name__)


class AsyncAgentOrchestrator:
    """Runs agents concurrently, through one cache and one set of limits.

    It can be constructed anywhere, also in a thread or before an event loop exists, and used in
    several loops one after the other. Use it as ``async with`` or call :meth:`close`.

    Args:
        config_path: A ``claude.json``; by default the nearest one above *start_dir*.
        api_key: API key; by default found as :mod:`claude_force_nb.credentials` says.
        max_concurrent: Most calls in flight at once, whichever method starts them.
        timeout_seconds: Seconds a run may take, all attempts and waits together.
        max_retries: Attempts for each call, the first one included.
        enable_cache: Whether answers are stored and found again.
        cache_ttl_hours: Hours an answer stays valid; ``None`` for ever.
        cache_max_size_mb: Megabytes the cache may take on disk.
        provider: ``anthropic``, ``offline``, or a :class:`~.providers.base.Provider`.
        base_url: Another server that speaks the Messages API.
        mode: Cache mode, one of ``auto``, ``refresh``, ``off``, ``replay``, ``strict``.
        model: Model of agents that name none.
        max_tokens: Longest answer of agents that set none.
        start_dir: Folder from which agents are looked for, upwards; by default the current one.
        cache: A cache to use instead of one made from the other arguments.
        settings: All settings at once; then *base_url*, *mode*, *model* and so on are ignored.

    Attributes:
        settings: The settings in force; :meth:`reconfigure` changes them.
        library: Where agents are found.
        limits: What keeps calls within bounds.
        recent_runs: The last runs that ended, oldest first, at most ``RECENT_RUNS``; the last
            ``RECENT_REQUESTS`` of them still know what was asked.

    Raises:
        InputError: A setting makes no sense.
    """

    def __init__(
        self,
        config_path: Union[str, Path, None] = None,
        api_key: Union[str, Secret, None] = None,
        max_concurrent: int = 10,
        timeout_seconds: float = 600.0,
        max_retries: int = 3,
        enable_cache: bool = True,
        cache_ttl_hours: Optional[float] = 24,
        cache_max_size_mb: float = 100,
        *,
        provider: Union[str, Provider, None] = None,
        base_url: Optional[str] = None,
        mode: Optional[str] = None,
        model: Optional[str] = None,
        max_tokens: Optional[int] = None,
        start_dir: Union[str, Path, None] = None,
        cache: Optional[ResponseCache] = None,
        settings: Optional[Settings] = None,
    ) -> None:
        own = None if provider is None or isinstance(provider, str) else provider
        self.settings = settings or Settings.from_environment(
            provider=provider if own is None else None,
            base_url=base_url,
            mode=mode,
            model=model,
            max_tokens=max_tokens,
            max_concurrent=max_concurrent,
            max_attempts=max_retries,
            timeout_s=timeout_seconds,
        )
        self.library = AgentLibrary(
            start=Path(start_dir) if start_dir else None,
            config_path=Path(config_path) if config_path else None,
        )
        self.limits = Limits(self.settings.max_concurrent)
        self._api_key = as_secret(api_key)
        self._own_provider = own
        self._built: Dict[str, Provider] = {}
        self._cache = cache
        self._cache_ttl_hours = cache_ttl_hours
        self._cache_max_size_mb = cache_max_size_mb
        self._cache_enabled = enable_cache
        self._threads: Optional[ThreadPoolExecutor] = None
        self.recent_runs: Deque[Run] = deque(maxlen=RECENT_RUNS)

    # -- what a caller asks for -----------------------------------------------------------

    async def execute_agent(
        self,
        agent_name: str,
        task: Task,
        model: Optional[str] = None,
        max_tokens: Optional[int] = None,
        *,
        system: Optional[str] = None,
        run: Optional[Run] = None,
        mode: Optional[str] = None,
        timeout_s: Optional[float] = None,
        sample: int = 0,
        **options: Any,
    ) -> AgentResult:
        """Run one agent on *task*.

        Args:
            agent_name: Name of an agent.
            task: The text, or a rendered prompt with images and documents.
            model: Model to ask instead of the agent's own.
            max_tokens: Longest answer instead of the agent's own.
            system: System prompt instead of the agent's own.
            run: Progress is reported here.
            mode: Cache mode of this run.
            timeout_s: Seconds this run may take.
            sample: Which independent draw of the same prompt this is.
            options: Further fields of the API call (``temperature``, ``tools`` …), sent as given.

        Returns:
            The result; ``success`` is false if the call failed.

        Raises:
            InputError: Something is wrong before anything was sent.
        """
        request = self.prepare(
            agent_name, task, model, max_tokens, system=system, sample=sample, **options
        )
        run = run or Run(agent_name, request.model, prompt_metadata(task))
        return await self.execute(request, run=run, mode=mode, timeout_s=timeout_s)

    async def execute_with_semaphore(
        self, agent_name: str, task: Task, **options: Any
    ) -> AgentResult:
        """The same as :meth:`execute_agent`, which is always limited; kept for existing code."""
        return await self.execute_agent(agent_name, task, **options)

    async def execute_multiple(
        self,
        tasks: Iterable[Tuple[str, Task]],
        model: Optional[str] = None,
        max_tokens: Optional[int] = None,
        **options: Any,
    ) -> List[AgentResult]:
        """Run ``(agent_name, task)`` pairs at once and keep their order.

        A failing call or an unknown agent gives a result with ``success=False``; its siblings go
        on. Malformed input (a name or task that no agent could have) is reported before anything
        is sent.

        Raises:
            InputError: A pair is malformed.
        """
        pairs = [as_pair(pair) for pair in tasks]
        for agent_name, task in pairs:
            check_task(agent_name, task, self.settings.max_task_chars)
        return list(
            await asyncio.gather(
                *(self._one_of_many(pair, model, max_tokens, options) for pair in pairs)
            )
        )

    async def _one_of_many(
        self,
        pair: Tuple[str, Task],
        model: Optional[str],
        max_tokens: Optional[int],
        options: Mapping[str, Any],
    ) -> AgentResult:
        try:
            return await self.execute_agent(*pair, model, max_tokens, **options)
        except InputError as error:
            return outcomes.unsendable(pair[0], error)

    async def execute_workflow(
        self,
        workflow: Union[str, Workflow],
        task: Optional[Task] = None,
        *,
        model: Optional[str] = None,
        max_tokens: Optional[int] = None,
        mode: Optional[str] = None,
        timeout_s: Optional[float] = None,
        allow_secrets: bool = False,
        **variables: Any,
    ) -> WorkflowResult:
        """Run a graph of agents.

        A step that fails skips only the steps that depend on it. Every step goes through the
        cache: after a failure or a cancellation the same call makes only what is missing.

        Args:
            workflow: A workflow, or the name of one in ``claude.json``, or arrows such as
                ``"a, b -> c"``.
            task: The task of steps that have none of their own; text, not a template.
            model: Model of every step.
            max_tokens: Longest answer of every step.
            mode: Cache mode.
            timeout_s: Seconds each run may take.
            allow_secrets: Insert values even if they look like keys or passwords.
            variables: Values for the templates, conditions and ``for_each`` of the steps.

        Returns:
            The outcome of every step; ``success`` is false if one failed.

        Raises:
            InputError: Something is wrong; nothing was sent.
        """
        from .workflow import Execution, Overrides, Plan, find_workflow
        from .workflow.plan import check_names

        if isinstance(workflow, str):
            workflow = find_workflow(workflow, self.library)
        check_names(workflow, variables)
        overrides = Overrides(model, max_tokens, mode, timeout_s, allow_secrets)
        return await Execution(Plan(self, workflow, task, variables, overrides)).run()

    async def load_config(self) -> Dict[str, Any]:
        """The content of ``claude.json``; empty if there is none."""
        return await self._in_thread(self.library.config)

    async def load_agent_definition(self, agent_name: str) -> str:
        """The system prompt of an agent.

        Raises:
            AgentNotFound: No agent has this name.
            AgentFileError: Its file cannot be used.
        """
        definition = await self._in_thread(lambda: self.library.find(agent_name))
        return definition.system

    # -- requests and runs -----------------------------------------------------------------

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
        """Make the request that :meth:`execute_agent` would run; nothing is sent.

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
            result = outcomes.cancelled(request, key, run, stop)
            self._finish(run, result)
            if isinstance(stop, asyncio.CancelledError):
                raise
            return result
        except GeneratorExit:
            raise
        except BaseException as error:
            result = outcomes.failed(request, key, run, error)
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
            return outcomes.recalled(request, run, entry)
        if mode == "replay":
            raise await self._miss(cache, request)
        async with cache.flight(key) as flight:
            if not flight.leader or (mode != "refresh" and await self._landed(cache, key)):
                entry = await self._recall(cache, request, run, mode)
            if entry is not None:
                return outcomes.recalled(request, run, entry)
            result = await self._call(request, key, run, policy)
            await self._in_thread(functools.partial(cache.store, request, result))
            return result

    async def _landed(self, cache: ResponseCache, key: str) -> bool:
        """Whether somebody stored the answer between our lookup and our turn to call."""
        found = await self._in_thread(functools.partial(cache.peek, key))
        return found.hit

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
        return outcomes.fresh(request, key, run, reply)

    def _policy(self, timeout_s: Optional[float], max_attempts: Optional[int]) -> RetryPolicy:
        return RetryPolicy(
            max_attempts=max_attempts or self.settings.max_attempts,
            timeout_s=self.settings.timeout_s if timeout_s is None else timeout_s,
            stall_timeout_s=self.settings.stall_timeout_s,
        )

    # -- what it holds ---------------------------------------------------------------------

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

    async def __aenter__(self) -> AsyncAgentOrchestrator:
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
