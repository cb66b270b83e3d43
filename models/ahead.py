"""Work ahead of whoever takes the results: networks go on while a frame is composed, encoded or written."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import cv2
import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(make: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Generator[Result]:
    """`make(item)` of every item, in order, by `threads` threads that are at most one result ahead of their number.

    Each thread's own arithmetic is single-threaded, so that a result hangs neither on their number nor on their timing. What
    `make` raises is raised here, in its place; closing the iterator waits for what is at work and drops the rest.
    """
    numbers, pictures = torch.get_num_threads(), cv2.getNumThreads()
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "ahead", lambda: torch.set_num_threads(1))
    cv2.setNumThreads(1)
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(numbers)  # a worker's choice for itself is new threads' choice, too
        cv2.setNumThreads(pictures)
