"""A thousand sessions that go wrong: is a stimulus line ever high for longer than allowed, or while it is disarmed?

    python benchmarks/actuator_safety.py [--sessions 1000] [--kills 20] [--seed 1] [--json safety.json]

The firmware's own core, compiled, in simulated time; the host's side is the rig's own code. Each session draws its
options, fires, is armed and disarmed, and suffers: the host is killed or stands still, the port is unplugged, host or
board begin anew, bytes are lost, damaged or held up, and the board's answers are lost, repeated or invented. Then every
microsecond of the line is judged. After them real processes are killed with SIGKILL in the middle of a pulse, with the
board in real time on a pseudo-terminal. Exits 1 where a promise was broken.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from faulty_session import SESSION_US, Session
from killed_host import kill_for_real
from rich.progress import Progress

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "acquisition"))

from board_processes import compile_firmware
from simulated_board import compile_simulated_board, load_simulated_board


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    events: Counter[str] = Counter()
    states: Counter[str] = Counter()
    wrong: list[str] = []
    killed_us: list[int] = []
    with tempfile.TemporaryDirectory() as folder, Progress(transient=True) as progress:
        library = compile_simulated_board(Path(folder))
        firmware = compile_firmware(Path(folder))
        if library is None or firmware is None:
            print("no C++ compiler here: the firmware cannot be run", file=sys.stderr)
            return 1
        loaded = load_simulated_board(library)
        for number in progress.track(range(options.sessions), description="sessions"):
            session = Session(loaded, options.seed + number).run()
            events += session.events
            states += session.states
            wrong += [f"seed {session.seed}: {words}" for words in session.wrong]
        draw = random.Random(options.seed)
        for _ in progress.track(range(options.kills), description="kills"):
            killed_us.append(kill_for_real(firmware, draw))
    wrong += [f"killed, and high for {us} us of 8 s" for us in killed_us if us > 4_000_000]
    result = {
        "sessions": options.sessions,
        "seed": options.seed,
        "simulated_s": options.sessions * SESSION_US / 1e6,
        "events": dict(events),
        "n_events": sum(events.values()),
        "actuations": dict(states),
        "real_kills": options.kills,
        "longest_after_kill_ms": max(killed_us, default=0) / 1000,
        "wrong": wrong,
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
