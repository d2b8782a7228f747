"""Which process a number means: numbers are given again, and the computer's time may be set while a process runs."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19
"""Of /proc/PID/stat, behind the last parenthesis, which ends the name: clock ticks since boot (proc(5), starttime)."""


def process_started(pid: int) -> str:
    """When process ``pid`` was started: text that no other process with that number has; "" where none runs.

    It counts from the boot of the machine. A time of day would change under the process when the clock is set.
    """
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return f"{boot}:{stat.rpartition(')')[2].split()[_START_FIELD]}"
