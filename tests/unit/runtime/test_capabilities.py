"""Giving capabilities away, in a process of its own: what is dropped never comes back."""
import subprocess
import sys

KEPT_BY_ROOT = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
NET_ADMIN = 1 << 12


def sets_after(statement):
    """{name: mask} of a process (and of its child) after the statement; and the masks before."""
    program = f"""
import re, subprocess, sys
from appliance.runtime import capabilities
def sets(text): return dict(re.findall(r"Cap(\\w+):\\t(\\w+)", text))
before = sets(open("/proc/self/status").read())
{statement}
print([before, sets(open("/proc/self/status").read()), sets(subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout)])
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return [{name: int(mask, 16) for name, mask in found.items()} for found in eval(output)]


def test_everything_goes_but_roots_access_to_files():
    before, after, child = sets_after("capabilities.keep_only()")
    for name in ("Prm", "Eff", "Inh", "Amb"):
        assert after[name] == before[name] & KEPT_BY_ROOT * (name in ("Prm", "Eff"))
        assert child[name] & ~KEPT_BY_ROOT == 0


def test_a_kept_one_stays_for_the_process_itself():
    before, after, _ = sets_after("capabilities.keep_only(capabilities.NET_ADMIN)")
    assert after["Prm"] == after["Eff"] == before["Eff"] & (KEPT_BY_ROOT | NET_ADMIN)
    assert after["Amb"] == after["Inh"] == 0


def test_nothing_is_gained_by_a_second_call():
    before, after, _ = sets_after("capabilities.keep_only(); capabilities.keep_only(capabilities.NET_ADMIN, 0, 7)")
    assert after["Prm"] == after["Eff"] == before["Eff"] & KEPT_BY_ROOT
