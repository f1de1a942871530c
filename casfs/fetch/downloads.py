"""Downloads: many files side by side. One that fails ends them all; so does Ctrl-C, at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence

from casfs.fetch.access import Access
from casfs.fetch.download import Download, fetch
from casfs.fetch.line import Line

THREAD_NAME = "casfs fetches"

_THREADS = 4
_LOOK_EVERY_S = 0.1
_END_WAIT_S = 1.0  # a thread that waits for the system's resolver longer than this is left to die with the process


class _Work:
    """What the threads share."""

    def __init__(self, downloads: Sequence[Download], access: Access) -> None:
        self.access = access
        self.lines = [Line(access) for _ in range(min(_THREADS, len(downloads)))]
        self.stop = threading.Event()
        self.count = len(downloads)
        self.ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._sizes = {download.path: (0, download.size) for download in downloads}
        self._done, self._total = 0, sum(download.size for download in downloads)
        self._waiting: queue.SimpleQueue[Download] = queue.SimpleQueue()
        for download in sorted(downloads, key=lambda one: -one.size):
            self._waiting.put(download)

    def run(self, line: Line) -> None:
        """The whole life of a thread."""
        while not self.stop.is_set():
            try:
                download = self._waiting.get_nowait()
            except queue.Empty:
                break
            self.ended.put(self._fetch(line, download))
        line.close()

    def _fetch(self, line: Line, download: Download) -> BaseException | None:
        def report(done: int, total: int) -> None:
            with self._lock:
                before = self._sizes[download.path]
                self._sizes[download.path] = (done, total)
                self._done, self._total = self._done + done - before[0], self._total + total - before[1]

        try:
            fetch(line, self.access, download, report, self.stop)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            return error
        return None

    def sizes(self) -> tuple[int, int]:
        """Bytes that are done, and bytes in all as far as is known."""
        with self._lock:
            return self._done, self._total


ReportAll = Callable[[int, int, int, int], None]
"""Called with bytes that are done, bytes in all (as far as is known), files that are done, and files in all."""


def fetch_all(downloads: Sequence[Download], access: Access, report: ReportAll) -> None:
    """Download all files. Raises what the first one that failed raised; then some files may be there, whole or not."""
    work = _Work(downloads, access)
    threads = [threading.Thread(target=work.run, args=(line,), name=THREAD_NAME, daemon=True) for line in work.lines]
    try:
        for thread in threads:
            thread.start()
        for number in range(len(downloads)):
            if (problem := _wait_for_one(work, report, number)) is not None:
                raise problem
    finally:
        work.stop.set()
        for line in work.lines:
            line.cut("it is not needed any more")
        for thread in threads:
            if thread.is_alive():
                thread.join(_END_WAIT_S)


def _wait_for_one(work: _Work, report: ReportAll, ended: int) -> BaseException | None:
    while True:
        report(*work.sizes(), ended, work.count)
        for line in work.lines:
            if reason := line.pace.look():
                line.cut(reason)
        try:
            return work.ended.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            continue
