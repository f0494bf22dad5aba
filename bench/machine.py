"""Whether the machine is idle: a benchmark beside other work measures the other work."""

import os
import pathlib
import platform
import resource
import time

ALLOWED_CORES = 0.15  # of other work


def busy_seconds() -> float:
    """CPU time that all processes of the machine have used since boot."""
    fields = [int(f) for f in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle, waiting, stolen = fields[3], fields[4], fields[7]
    return (sum(fields[:8]) - idle - waiting - stolen) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """CPU time of this process and its ended children."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class OtherWork:
    """Cores that others keep busy, on average, since its making."""

    def __init__(self):
        self.start = time.perf_counter(), busy_seconds(), own_seconds()

    def cores(self) -> float:
        wall, busy, own = self.start
        elapsed = time.perf_counter() - wall
        return max(0.0, (busy_seconds() - busy) - (own_seconds() - own)) / elapsed


def other_cores(seconds: float = 2.0) -> float:
    meter = OtherWork()
    time.sleep(seconds)
    return meter.cores()


def describe() -> dict:
    model = next(
        (
            line.split(":")[1].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "",
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "loadavg": os.getloadavg(),
    }
