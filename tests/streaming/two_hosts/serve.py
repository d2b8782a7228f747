"""One host: a time server. Prints where it is and its anchor, then serves until its input ends."""

import json
import sys
import threading
from pathlib import Path

import zmq
from ethostream.streaming.keys import Gatekeeper, load_keys
from ethostream.streaming.time_server import TimeServer
from ethostream.sync.clock import ClockAnchor, RigClock

address, folder = sys.argv[1:]
keys = load_keys(Path(folder))
anchor = ClockAnchor.take()
context: "zmq.Context[zmq.Socket[bytes]]" = zmq.Context()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
with Gatekeeper(context, keys), TimeServer(context, address, RigClock(anchor), "two-hosts", keys) as server:
    print(json.dumps({"utc_ns": anchor.utc_ns, "monotonic_ns": anchor.monotonic_ns}), flush=True)
    while not ended.is_set():
        server.serve(20)
    print(json.dumps({"answered": server.n_answered, "refused": server.n_refused}), flush=True)
context.term()
