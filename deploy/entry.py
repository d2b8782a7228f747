"""The installed command: Ctrl-C is answered from the first line on, also while the rest is still being imported."""

import sys

from .ctrl_c import leave_on_ctrl_c


def main() -> None:
    """Entry point of the ``ethostream`` command."""
    with leave_on_ctrl_c():
        from .cli import main as run
    try:
        run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
