"""Attempts: trying again where it may help, and stopping where it does not.

tenacity decides here and nowhere else; the SDK retries nothing. It costs a few per cent of a fast
call, so a first attempt that succeeds never meets it: only a failure is handed to it, as its first.
"""

from __future__ import annotations

import asyncio
import random as random_module
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Optional

from .deadlines import Expired, finish_by
from .errors import ConnectionFailed, DeadlineExceeded, InputError, ProviderError
from .providers.base import Provider
from .records import AgentRequest, Reply
from .runs import Run

if TYPE_CHECKING:
    from tenacity import RetryCallState

Sleep = Callable[[float], Awaitable[Any]]
_RESUME = "Run the cell again then: answers that are there are kept, only missing ones are made."


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often to try.

    Attributes:
        max_attempts: Attempts, the first one included.
        timeout_s: Seconds for the whole run, all attempts and pauses; ``None`` for no limit.
        attempt_timeout_s: Seconds for each attempt; ``None`` for no limit but the run's.
        stall_timeout_s: Seconds an attempt may go without content.
        base_delay_s: Upper end of the first pause; it doubles with each attempt.
        max_delay_s: Upper end of any pause that the server has not asked for.

    Raises:
        InputError: A number makes no sense.
    """

    max_attempts: int = 3
    timeout_s: Optional[float] = 600.0
    attempt_timeout_s: Optional[float] = None
    stall_timeout_s: float = 30.0
    base_delay_s: float = 0.5
    max_delay_s: float = 8.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise InputError(f"max_attempts must be at least 1, not {self.max_attempts!r}.")
        for name in ("timeout_s", "attempt_timeout_s", "stall_timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be a positive number, not {value!r}.")


async def answer_with_retries(
    provider: Provider,
    request: AgentRequest,
    run: Run,
    policy: RetryPolicy,
    *,
    sleep: Sleep = asyncio.sleep,
    random: Callable[[], float] = random_module.random,
) -> Reply:
    """Get a reply, with as many attempts as *policy* allows and as make sense.

    Pauses grow exponentially with full jitter. A ``Retry-After`` is obeyed if it ends before the
    run's deadline; otherwise the run stops at once and the error names the time of reset.

    Args:
        provider: Who answers.
        request: What to ask.
        run: Told of attempts, pauses and text as they come.
        policy: How long and how often.
        sleep: Waits some seconds.
        random: Draws from [0, 1).

    Returns:
        A whole reply.

    Raises:
        ProviderError: No attempt succeeded; ``attempts`` says how many there were.
        InputError: The provider does not accept the request.
    """
    attempts = _Attempts(provider, request, run, policy, sleep, random)
    if policy.timeout_s is None:
        return await attempts.make()
    try:
        return await finish_by(attempts.make(), lambda: attempts.deadline)
    except Expired:
        raise attempts.too_late() from attempts.last_error


class _Attempts:
    """The attempts of one run."""

    def __init__(
        self,
        provider: Provider,
        request: AgentRequest,
        run: Run,
        policy: RetryPolicy,
        sleep: Sleep,
        random: Callable[[], float],
    ) -> None:
        self._provider = provider
        self._request = request
        self._run = run
        self._policy = policy
        self._sleep = sleep
        self._random = random
        self._clock = asyncio.get_running_loop().time
        self._made = 0
        limit_s = float("inf") if policy.timeout_s is None else policy.timeout_s
        self.deadline = self._clock() + limit_s
        self.last_error: Optional[ProviderError] = None

    async def make(self) -> Reply:
        try:
            return await self._attempt()
        except ProviderError as error:
            first = error
        try:
            return await self._make_more(first)
        except ProviderError as error:
            raise self._final(error) from error.__cause__

    async def _make_more(self, first: ProviderError) -> Reply:
        """Go on after *first*, which tenacity meets as the outcome of its own first attempt."""
        from tenacity import AsyncRetrying, retry_if_exception

        failed = [first]

        async def attempt() -> Reply:
            if failed:
                raise failed.pop()
            return await self._attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(_worth_retrying),
            wait=self._pause_s,
            stop=self._is_over,
            sleep=self._pause,
            reraise=True,
        )
        # Handed a callable that is no coroutine function, tenacity would not await its result.
        return await retrying(attempt)

    async def _attempt(self) -> Reply:
        self._made += 1
        self._run.begin_attempt(self._made)
        try:
            return await self._answer()
        except ProviderError as error:
            self.last_error = error
            raise

    async def _answer(self) -> Reply:
        work = self._provider.answer(
            self._request,
            on_text=self._run.add_text,
            stall_timeout_s=self._policy.stall_timeout_s,
        )
        limit_s = self._policy.attempt_timeout_s
        if limit_s is None:
            return await work
        end = self._clock() + limit_s
        try:
            return await finish_by(work, lambda: end)
        except Expired as error:
            raise DeadlineExceeded(f"An attempt took longer than {limit_s:g} s.") from error

    def _pause_s(self, state: RetryCallState) -> float:
        policy, error = self._policy, self.last_error
        asked_s = None if error is None else error.retry_after_s
        if asked_s is not None:
            # Everybody who was told the same number would come back in the same moment.
            return asked_s + self._random() * policy.base_delay_s
        doublings = min(state.attempt_number - 1, 60)
        return self._random() * min(policy.max_delay_s, policy.base_delay_s * 2.0**doublings)

    def _is_over(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._policy.max_attempts:
            return True
        return self._clock() + state.upcoming_sleep >= self.deadline

    async def _pause(self, pause_s: float) -> None:
        self._run.wait(_in_a_few_words(self.last_error), pause_s)
        await self._sleep(pause_s)

    def _final(self, error: ProviderError) -> ProviderError:
        """*error* with what is known at the end: the attempts, and when it may work again."""
        error.attempts = self._made
        if self._made > 1:
            error.what = f"{error.what.rstrip('.')} after {self._made} attempts."
        if error.retryable and error.retry_after_s:
            error.advice = (
                f"The server asks to wait until {_clock_time(error.retry_after_s)}. {_RESUME}"
            )
        return error

    def too_late(self) -> DeadlineExceeded:
        """The error of a run whose time is up."""
        tried = f" in {self._made} attempts" if self._made > 1 else ""
        error = DeadlineExceeded(
            f"No whole answer within {self._policy.timeout_s:g} s{tried}.",
            advice="Allow more time with --timeout, or run the cell again later.",
        )
        error.attempts = self._made
        return error


def _worth_retrying(error: BaseException) -> bool:
    return isinstance(error, ProviderError) and error.retryable


def _in_a_few_words(error: Optional[ProviderError]) -> str:
    if error is None or error.status is None:
        return "connection" if isinstance(error, ConnectionFailed) else "no whole answer"
    return str(error.status)


def _clock_time(seconds: float) -> str:
    """The local time in *seconds*; with the date unless that is today's."""
    now = datetime.now()
    then = now + timedelta(seconds=seconds)
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M}"
