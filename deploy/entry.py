"""The installed command: Ctrl-C is answered from the first line on, also while the rest is still being imported."""

import sys


def main() -> None:
    """Entry point of the ``ethostream`` command."""
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
