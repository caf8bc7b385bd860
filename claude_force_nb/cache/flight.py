"""Single flight: identical requests at the same time make one call.

Within a process, twins wait on a future, whatever thread and event loop they belong to. Between
processes they watch a lock file. All file operations happen in worker threads that exist only
while somebody is flying. The lock only saves money; nothing is wrong if it fails, and it fails
*open*: after a deadline, or when the file system does not play along, everybody may call.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar

from .lock import HEARTBEAT_S, FileLock, Holder, Sighting
from .lookup import Lookup

T = TypeVar("T")
Waiter = Tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]

DEADLINE_S = 900.0  # longer than any run by default: a waiter who calls early pays twice
_FIRST_POLL_S = 0.02
_SLOWEST_POLL_S = 0.2


class Flights:
    """Who is flying in this process, and the worker threads for them.

    Args:
        lock_path: Gives the lock file of a key; ``None`` where there is no directory to hold
            one. Called in a worker thread.
        deadline_s: How long anybody waits for somebody else.

    Attributes:
        holder: Whose the lock files are, while anybody flies.
    """

    def __init__(
        self, lock_path: Callable[[str], Optional[str]], deadline_s: float = DEADLINE_S
    ) -> None:
        self.deadline_s = deadline_s
        self.lock_path = lock_path
        self._lock = threading.Lock()
        self._waiters: Dict[str, List[Waiter]] = {}
        self._workers: Optional[ThreadPoolExecutor] = None
        self._users = 0
        self.holder = Holder()

    def lead_or_wait(self, key: str) -> Optional[Waiter]:
        """Become the leader of *key* in this process (``None``), or get a future to wait on."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if key not in self._waiters:
                self._waiters[key] = []
                return None
            waiter = loop, loop.create_future()
            self._waiters[key].append(waiter)
            return waiter

    def forget(self, key: str, waiter: Waiter) -> None:
        """Stop waiting."""
        with self._lock:
            if waiter in self._waiters.get(key, ()):
                self._waiters[key].remove(waiter)

    def land(self, key: str) -> None:
        """Wake everybody in this process who waits for *key*."""
        with self._lock:
            waiters = self._waiters.pop(key, [])
        for loop, future in waiters:
            try:
                loop.call_soon_threadsafe(_wake, future)
            except RuntimeError:  # that loop is closed; nobody waits there any more
                continue

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run *work* in a worker thread; only between :meth:`enter` and :meth:`leave`."""
        assert self._workers is not None
        return self._workers.submit(work)

    def enter(self) -> None:
        """Keep worker threads until :meth:`leave`."""
        with self._lock:
            self._users += 1
            if self._workers is None:
                self._workers = ThreadPoolExecutor(4, thread_name_prefix="cfnb-flight")

    def leave(self) -> None:
        """The last one to leave lets the threads finish what they have and end."""
        with self._lock:
            self._users -= 1
            workers = None if self._users else self._workers
            if workers is None:
                return
            self._workers = None
            holder, self.holder = self.holder, Holder()
        workers.submit(holder.remove)
        workers.shutdown(wait=False)

    def after_fork(self) -> None:
        """The child flies nothing, has no worker threads, and a lock may be held for good."""
        self._lock = threading.Lock()
        self._waiters, self._workers, self._users = {}, None, 0
        self.holder = Holder()


class Flight:
    """One try at a key: ``async with cache.flight(key) as flight``.

    Args:
        flights: Who else is flying.
        key: What for.
        alone: Wait for nobody.
        again: Looks the answer up once more, in a worker thread as soon as we lead: between the
            caller's lookup and that, somebody may have finished.

    Attributes:
        leader: Whether it is ours to call. If not, somebody else has just finished: look the
            answer up again, and if there is none (their call failed), enter a new flight.
        found: What *again* gave, if it was called.
    """

    def __init__(
        self,
        flights: Flights,
        key: str,
        *,
        alone: bool = False,
        again: Optional[Callable[[], Lookup]] = None,
    ) -> None:
        self.leader = True
        self.found: Optional[Lookup] = None
        self._again = again
        self._flights = flights
        self._key = key
        self._alone = alone
        self._deadline = time.monotonic() + flights.deadline_s
        self._lock: Optional[FileLock] = None
        self._heart: Optional[asyncio.TimerHandle] = None
        self._beaten: Optional[Future[None]] = None
        self._last: Optional[Future[bool]] = None

    async def __aenter__(self) -> Flight:
        if self._alone:
            return self
        waiter = self._flights.lead_or_wait(self._key)
        if waiter is not None:
            self.leader = not await self._wait_for_twin(waiter)
            self._alone = True
            return self
        self._flights.enter()
        try:
            await self._take_lock()
        except BaseException:
            self._end()
            raise
        if not self.leader:
            self._end()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not self._alone:
            await asyncio.shield(asyncio.wrap_future(self._end()))

    async def finish(self, work: Callable[[], object]) -> None:
        """Do *work*, such as storing the answer, in a worker thread, and let the others in.

        It is done even if the caller is cancelled meanwhile, and costs one change of threads
        instead of two.
        """
        if self._alone:
            self._flights.enter()
            done: Future[Any] = self._flights.submit(work)
            self._flights.leave()
        else:
            done = self._end(work)
        await asyncio.shield(asyncio.wrap_future(done))

    async def _wait_for_twin(self, waiter: Waiter) -> bool:
        """Wait for the leader of this process; whether it landed before the deadline."""
        try:
            done, _ = await asyncio.wait([waiter[1]], timeout=self._remaining_s())
        finally:
            self._flights.forget(self._key, waiter)
        return bool(done)

    async def _take_lock(self) -> None:
        """Get the lock file, or see somebody else finish with it."""
        watch = _Watch()
        delay_s = _FIRST_POLL_S
        while True:
            if await self._in_thread(lambda: self._try(watch)):
                break
            if self._remaining_s() <= 0:
                return  # fail open, without the lock
            await asyncio.sleep(min(delay_s, self._remaining_s()))
            delay_s = min(delay_s * 1.5, _SLOWEST_POLL_S)
        if self.leader and self._lock is not None and self._lock.held:
            self._beat(self._lock)

    def _try(self, watch: _Watch) -> bool:
        over = self._try_once(watch)
        if over and self.leader and self._again is not None:
            self.found = self._again()
        return over

    def _try_once(self, watch: _Watch) -> bool:
        """One step in a worker thread; whether the wait is over."""
        try:
            if self._lock is None:
                path = self._flights.lock_path(self._key)
                if path is None:
                    return True
                self._lock = FileLock(path, self._flights.holder)
            if not watch.waiting:
                watch.waiting = not self._lock.acquire()
                return not watch.waiting
        except OSError:
            return True
        return self._look(self._lock, watch)

    def _look(self, lock: FileLock, watch: _Watch) -> bool:
        seen = lock.look()
        if seen is None:
            self.leader = False
            return True
        try:
            return watch.is_stale(seen) and lock.steal(seen)
        except OSError:
            return True

    async def _in_thread(self, work: Callable[[], bool]) -> bool:
        future = self._flights.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # The thread may be just creating the file: whoever ends the flight waits for it.
            self._last = future
            raise

    def _beat(self, lock: FileLock) -> None:
        """Show a sign of life now and then; the first one is the new file itself."""
        if self._heart is not None and (self._beaten is None or self._beaten.done()):
            self._beaten = self._flights.submit(lock.beat)
        self._heart = asyncio.get_running_loop().call_later(HEARTBEAT_S, self._beat, lock)

    def _end(self, work: Callable[[], object] = lambda: None) -> Future[None]:
        """Do *work*, give up the lock and wake the twins, in a worker thread, come what may."""
        if self._heart is not None:
            self._heart.cancel()
        key, flights, last = self._key, self._flights, self._last

        def land() -> None:
            try:
                if last is not None:
                    concurrent.futures.wait([last])
                work()
            finally:
                if self._lock is not None:  # made by the thread that was just waited for
                    self._lock.release()
                flights.land(key)

        self._alone = True
        released = flights.submit(land)
        flights.leave()
        return released

    def _remaining_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


class _Watch:
    """What a waiter has seen so far.

    Whether a heart beats is judged by whether the file's time *changes*, by our own clock: the
    clocks of two machines may differ by more than the limit.
    """

    def __init__(self) -> None:
        self.waiting = False
        self._beat: Any = None
        self._since = 0.0

    def is_stale(self, seen: Sighting) -> bool:
        now = time.monotonic()
        if seen.beat != self._beat:
            self._beat, self._since = seen.beat, now
        unchanged_s = now - self._since
        if seen.here:  # the same clock: a lock of yesterday need not be watched first
            unchanged_s = max(unchanged_s, seen.age_s)
        return unchanged_s > seen.stale_after_s()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
