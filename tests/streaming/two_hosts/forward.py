"""A bad network: passes messages on late, unevenly, with losses, not equally both ways. Seeded; ends with its input.

Works on messages, since a stream of TCP loses none. The chain of trust ends here: it holds the keys of both ends.
"""

import heapq
import json
import sys
import threading
from pathlib import Path
from time import monotonic, sleep  # noqa: TID251

import numpy as np
import zmq
from ethostream.streaming.keys import Gatekeeper, load_keys

listen, connect, rig_keys, host_keys, options = sys.argv[1:]
spec = json.loads(options)  # there_ms, back_ms: [least, most]; loss; seed
rng = np.random.default_rng(spec["seed"])
rig, host = load_keys(Path(rig_keys)), load_keys(Path(host_keys))
context: "zmq.Context[zmq.Socket[bytes]]" = zmq.Context()
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
counts = {"passed": 0, "lost": 0}
with Gatekeeper(context, rig):
    front = context.socket(zmq.ROUTER)
    rig.serve(front)
    front.bind(listen)
    backs: "dict[bytes, zmq.Socket[bytes]]" = {}
    due: "list[tuple[float, int, bytes, bool, bytes]]" = []
    print(json.dumps({"ready": True}), flush=True)

    def take(who: bytes, there: bool, body: bytes) -> None:
        arrived = monotonic()
        if rng.random() < spec["loss"]:
            counts["lost"] += 1
            return
        counts["passed"] += 1
        least, most = spec["there_ms" if there else "back_ms"]
        heapq.heappush(due, (arrived + rng.uniform(least, most) / 1e3, counts["passed"], who, there, body))

    while not ended.is_set():
        wait_s = due[0][0] - monotonic() if due else 0.02
        if wait_s > 0.002:
            poller = zmq.Poller()
            for socket in (front, *backs.values()):
                poller.register(socket, zmq.POLLIN)
            poller.poll(int((wait_s - 0.001) * 1e3))
        elif wait_s > 0.0001:
            sleep(0.00005)
        while front.poll(0):
            who, body = front.recv_multipart()
            if who not in backs:
                backs[who] = context.socket(zmq.DEALER)
                host.connect(backs[who], rig.name)
                backs[who].connect(connect)
            take(who, True, body)
        for who, back in backs.items():
            while back.poll(0):
                take(who, False, back.recv())
        while due and due[0][0] <= monotonic():
            _, _, who, there, body = heapq.heappop(due)
            if there:
                backs[who].send(body)
            else:
                front.send_multipart([who, body])
    for socket in (front, *backs.values()):
        socket.close(linger=0)
print(json.dumps(counts), flush=True)
context.term()
