"""Runs a program as a systemd unit would confine it: its system call filter, and its capabilities where we are root.

sandbox.py UNIT COMMAND...: applies what the unit file says to this process, which then becomes COMMAND.
"""
import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

SCMP_ACT_ALLOW = 0x7FFF0000
SCMP_ACT_ERRNO = 0x00050000
PR_SET_NO_NEW_PRIVS = 38


def settings(unit, name):
    """Every value of a setting, in the file's order."""
    return re.findall(rf"^{name}=(.*)$", Path(unit).read_text(), re.MULTILINE)


def members(group):
    """The system calls of a group, those of the groups in it included."""
    listing = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True).stdout
    for word in re.findall(r"^ {4}(\S+)", listing, re.MULTILINE):
        if word.startswith("@"):
            yield from members(word)
        elif not word.startswith("#"):
            yield word


def allowed_calls(unit):
    """The unit's allow list: groups and names are added, after a ~ taken away, line by line (systemd.exec(5))."""
    allowed = set(members("@default"))  # systemd always allows these
    for line in settings(unit, "SystemCallFilter"):
        named = set()
        for word in line.removeprefix("~").split():
            named |= set(members(word)) if word.startswith("@") else {word}
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def filter_calls(names):
    """From here on every other system call fails with EPERM."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(SCMP_ACT_ERRNO | errno.EPERM))
    for name in sorted(names):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # others belong to other machines
            assert seccomp.seccomp_rule_add(context, SCMP_ACT_ALLOW, number, 0) == 0, name
    assert seccomp.seccomp_load(context) == 0


def main(unit, *command):
    """Confines and becomes the command."""
    calls = allowed_calls(unit)
    assert set(settings(unit, "SystemCallErrorNumber")) == {"EPERM"} and settings(unit, "NoNewPrivileges") == ["yes"]
    if "--filtered" not in command:
        names = settings(unit, "AmbientCapabilities")[0].lower().split()
        assert settings(unit, "CapabilityBoundingSet") == settings(unit, "AmbientCapabilities")
        again = [sys.executable, __file__, unit, "--filtered", *command]
        if os.geteuid() == 0:
            only = ",".join(["-all", *(f"+{name.removeprefix('cap_')}" for name in names)])
            again = ["setpriv", "--inh-caps", only, "--ambient-caps", only, "--bounding-set", only, *again]
        os.execvp(again[0], again)
    ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    filter_calls(calls)
    os.execvp(command[1], command[1:])


if __name__ == "__main__":
    main(*sys.argv[1:])
