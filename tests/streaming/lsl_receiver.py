"""A program of the lab that receives the rig's LSL streams, and prints what came as JSON lines. Ends with its input."""

import json
import sys
import threading

import pylsl

rig, *streams = sys.argv[1:]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
resolvers = {one: pylsl.ContinuousResolver(pred=f"name='{rig}.{one}'") for one in streams}
inlets: dict[str, pylsl.StreamInlet] = {}
while not ended.is_set():
    for one, resolver in resolvers.items():
        if one in inlets or not (found := resolver.results()):
            continue
        inlet = pylsl.StreamInlet(found[0], recover=False)
        try:
            inlet.open_stream(5)
            channel = inlet.info(5).desc().child("channels").child("channel")
        except pylsl.util.TimeoutError:
            continue  # a busy machine; it is tried again
        inlets[one] = inlet
        labels = []
        while not channel.empty():
            labels.append(channel.child_value("label"))
            channel = channel.next_sibling("channel")
        print(json.dumps({"stream": one, "labels": labels}), flush=True)
    for one, inlet in inlets.items():
        try:
            rows, stamps = inlet.pull_chunk(timeout=0.0)
        except pylsl.util.LostError:
            sys.exit(0)
        for row, stamp in zip(rows, stamps, strict=True):
            print(json.dumps({"stream": one, "row": row, "lsl_s": stamp}), flush=True)
    ended.wait(0.02)
