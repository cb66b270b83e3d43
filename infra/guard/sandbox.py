"""A process shuts itself in: limits of memory, time and output, and a filter of system calls that leaves it no file, socket or program to open.

The filter is Linux's (seccomp, mode 2, for x86-64 and ARM64); elsewhere the limits alone hold.
"""

import ctypes
import errno
import platform
import resource
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER, SIGKILL = 1, 22, 38, 2, 9
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000  # what a filter answers (linux/seccomp.h); an error's number is added to REFUSE
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # BPF: load a word, jump if equal, jump if a bit is set, return
CLONE_THREAD = 0x00010000
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# system calls that a decoder needs once its files are open: their numbers on x86-64 and ARM64 (-1: there is none)
CALLS: dict[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "lseek": (8, 62), "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66),
    "poll": (7, -1), "ppoll": (271, 73), "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "mremap": (25, 216), "madvise": (28, 233),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, -1), "times": (100, 153),
    "getpid": (39, 172), "gettid": (186, 178), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165), "fcntl": (72, 25), "fadvise64": (221, 223), "getrandom": (318, 278),
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "membarrier": (324, 283), "restart_syscall": (219, 128), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)


def limit(memory: int, seconds: int, output: int) -> None:
    """At most so many bytes of memory more than now, so many seconds of processor time, so many bytes in any file; no dump of memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 0
    for what, most in ((resource.RLIMIT_AS, pages + memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_FSIZE, output), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def shut() -> bool:
    """Take from this process every system call but CALLS and new threads: others fail with EPERM. Whether the kernel does so."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        return False
    code, column = ARCHITECTURES[platform.machine()]
    program = _program(code, column)
    held = ctypes.create_string_buffer(program, len(program))
    told = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    return bool(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(told), 0, 0) == 0)


def _program(architecture: int, column: int) -> bytes:
    """The filter in classic BPF, over struct seccomp_data: number at 0, architecture at 4, the first argument's lower half at 16."""

    def step(code: int, value: int, hit: int = 0, miss: int = 0) -> bytes:
        return struct.pack("HBBI", code, hit, miss, value)

    refuse = REFUSE | errno.EPERM
    made = [step(LOAD, 4), step(EQUAL, architecture, 1), step(RETURN, KILL), step(LOAD, 0)]
    made += [step(EQUAL, CLONE3[column], 0, 1), step(RETURN, REFUSE | errno.ENOSYS)]  # the C library then takes clone, whose flags can be seen
    made += [step(EQUAL, CLONE[column], 0, 4), step(LOAD, 16), step(ANY_BIT, CLONE_THREAD, 0, 1), step(RETURN, ALLOW), step(RETURN, refuse)]
    for numbers in CALLS.values():
        if numbers[column] >= 0:
            made += [step(EQUAL, numbers[column], 0, 1), step(RETURN, ALLOW)]
    return b"".join([*made, step(RETURN, refuse)])
