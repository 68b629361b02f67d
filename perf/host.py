"""The machine: what it is, and how much of it somebody else took while we measured."""

import os
import pathlib
import platform
from dataclasses import dataclass

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def describe():
    """What a reader needs to compare these figures with another machine's."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": system_name(),
        "hypervisor": "hypervisor" in cpu_field("flags").split(),
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not shown",
    }


def cpu_model():
    return cpu_field("model name") or platform.machine()


def cpu_field(name):
    for line in read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def system_name():
    for line in read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "unknown"


def load_average():
    return os.getloadavg()[0]


@dataclass(frozen=True)
class Ticks:
    """CPU time of some cores since boot, in seconds. `busy` includes what we use ourselves."""

    busy_s: float
    stolen_s: float

    def since(self, earlier):
        return Ticks(self.busy_s - earlier.busy_s, self.stolen_s - earlier.stolen_s)


def ticks(cores):
    """Of /proc/stat: user, nice, system, interrupts are busy; idle and iowait are not; steal is the host's."""
    busy = stolen = 0
    names = {f"cpu{core}" for core in cores}
    for line in read("/proc/stat").splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return Ticks(busy / TICKS_PER_S, stolen / TICKS_PER_S)


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def first_line(path):
    return read(path).partition("\n")[0]
