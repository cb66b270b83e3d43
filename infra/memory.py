"""Memory that a process has freed and the C library keeps: one heap for all threads, handed back where large pieces have been dropped.

Networks, decoders and encoders each run threads of their own, and pieces of many sizes wander between them. With a heap a thread (glibc's
own way) each heap keeps what its thread freed, and an hour of video takes a hundred MiB more than a minute of it; with one heap it does not.
"""

import ctypes
import functools
import gc
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

M_ARENA_MAX = -8  # of malloc.h
OFTEN = 100  # pictures after which what they took is handed back

Item = TypeVar("Item")


@functools.cache
def one_heap() -> None:
    """Let all threads share a heap; called before they start. Does nothing where the C library is not glibc."""
    if (library := _library()) is not None and hasattr(library, "mallopt"):
        library.mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return freed memory to the system; does nothing where the C library is not glibc. Takes about a millisecond."""
    if (library := _library()) is not None and hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def let_go() -> None:
    """`give_back` after what only points at itself is gone: a closed video's decoder, its buffers and index are such. Tenths of a second."""
    gc.collect()
    give_back()


def tidied(items: Iterable[Item], often: int = OFTEN) -> Iterator[Item]:
    """The items, one for one, with a `give_back` after every `often` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % often == 0:
            give_back()


@functools.cache
def _library() -> Any:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None
