"""The orchestrator: from an agent's name and a task to a result."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from .agents import AgentLibrary
from .errors import InputError
from .execution import RequestRunner
from .outcomes import unsendable
from .providers.base import Provider
from .records import AgentResult
from .redaction import Secret
from .requests import Task, as_pair, check_task, prompt_metadata
from .runs import Run
from .settings import Settings

if TYPE_CHECKING:
    from .cache import ResponseCache
    from .workflow import Workflow, WorkflowResult


class AsyncAgentOrchestrator(RequestRunner):
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
        settings = settings or Settings.from_environment(
            provider=provider if own is None else None,
            base_url=base_url,
            mode=mode,
            model=model,
            max_tokens=max_tokens,
            max_concurrent=max_concurrent,
            max_attempts=max_retries,
            timeout_s=timeout_seconds,
        )
        super().__init__(
            settings,
            AgentLibrary(
                start=Path(start_dir) if start_dir else None,
                config_path=Path(config_path) if config_path else None,
            ),
            api_key=api_key,
            provider=own,
            cache=cache,
            enable_cache=enable_cache,
            cache_ttl_hours=cache_ttl_hours,
            cache_max_size_mb=cache_max_size_mb,
        )

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
            return unsendable(pair[0], error)

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
