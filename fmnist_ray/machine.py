"""What this machine offers: its processor, and the CPUs and memory that a container leaves of it."""

import ctypes
import os
import platform
import sys
from pathlib import Path

# Options of glibc's mallopt: from which size on memory is taken from the system by itself, and how
# much may lie unused before some is given back.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_KEPT_BYTES = 2**30


def processor_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cpu_has_bf16() -> bool:
    """Whether the processor computes in bf16 (AVX-512 BF16 or AMX)."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return False
    for line in cpuinfo.read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    return False


def usable_cpus(cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs that this process may use: those of its affinity mask, or a container's lower limit.

    Args:
        cgroups: Where Linux shows a container's limits, in the form of control groups version 2
            (https://docs.kernel.org/admin-guide/cgroup-v2.html) or 1.
    """
    try:
        cpus = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # only Linux has it
        cpus = float(os.cpu_count() or 1)
    quota, _, period = _read(cgroups / "cpu.max").partition(" ")
    if not quota:
        quota = _read(cgroups / "cpu" / "cpu.cfs_quota_us")
        period = _read(cgroups / "cpu" / "cpu.cfs_period_us")
    # Without a limit, version 2 says `max` and version 1 says -1.
    if quota.isdigit() and period.isdigit():
        cpus = min(cpus, int(quota) / int(period))
    return cpus


def usable_memory(cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes of memory, as `usable_cpus`; None if nothing tells."""
    limits = [
        int(text)
        for name in ("memory.max", "memory/memory.limit_in_bytes")
        if (text := _read(cgroups / name)).isdigit()
    ]
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def keep_freed_memory() -> None:
    """Has this process keep freed memory for its next use, where the C library is glibc.

    Each training step frees and takes the same tens of megabytes. By default glibc gives them back
    to the system at first, which clears every page anew: that made the first epoch of a process
    two fifths longer, and all others some 5 %. The process never holds more than at its peak.
    """
    if sys.platform != "linux":
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            set_option(option, _KEPT_BYTES)
