"""Linux capabilities: a stage's process gives away what it does not need. Called by runtime/stage.py.

Ambient capabilities reach every process that the supervisor starts; here they end. Nothing is ever gained.
"""
import ctypes
import os

NET_ADMIN, NET_RAW, SYS_NICE = 12, 13, 23  # Source: include/uapi/linux/capability.h, as all numbers here
# Root may read what belongs to others, such as a tree in somebody's home: a rehearsal as root relies on it. A service is not root and has neither.
_FILE_ACCESS = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_VERSION_3 = 0x20080522
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 23, 24, 47, 4
_WORD_BITS = 32

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Word(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def keep_only(*numbers: int) -> None:
    """Drops every capability of the calling thread, and of what it starts, but these and root's access to files. OSError if the kernel refuses."""
    kept = sum(1 << number for number in (*numbers, *_FILE_ACCESS))
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    number = 0
    while _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if not kept >> number & 1:
            # Takes CAP_SETPCAP, which a service has not: there NoNewPrivileges makes the bounding set void.
            _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
        number += 1
    header, words = _Header(_VERSION_3, 0), (_Word * 2)()
    _checked(_libc.capget(ctypes.byref(header), words))
    for index, word in enumerate(words):
        word.permitted &= kept >> index * _WORD_BITS & 0xFFFF_FFFF
        word.effective &= word.permitted
        word.inheritable = 0
    _checked(_libc.capset(ctypes.byref(header), words))


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
