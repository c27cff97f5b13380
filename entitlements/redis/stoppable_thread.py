"""A thread that reads from Redis until it is stopped."""

import threading
from collections.abc import Callable


class StoppableThread:
    """One function on a thread of its own, which is to end soon after `is_stopped`."""

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name = name
        self._run = run
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_stopped(self) -> bool:
        """True once it is to end."""
        return self._stopped.is_set()

    def pause(self, seconds: float) -> None:
        """On the thread: waits for so long, or until it is to end."""
        self._stopped.wait(seconds)

    def start(self) -> None:
        """Begins; once."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when it has ended; can be called twice."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
