"""A program of the lab that sends two LSL streams: numbers at 100 Hz and text now and then. Ends with its input."""

import sys
import threading
from time import monotonic  # noqa: TID251

import pylsl

name = sys.argv[1]
info = pylsl.StreamInfo(f"{name}.numbers", "EEG", 2, 100.0, "float32", f"{name}-1")
channels = info.desc().append_child("channels")
for label in ("Fz", "Cz"):
    channels.append_child("channel").append_child_value("label", label)
numbers = pylsl.StreamOutlet(info)
words = pylsl.StreamOutlet(pylsl.StreamInfo(f"{name}.words", "Markers", 1, 0.0, "string", f"{name}-2"))
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
# Both clocks at one instant: of several readings the one that nothing came between.
before, lsl_s, after = min(
    ((monotonic(), pylsl.local_clock(), monotonic()) for _ in range(50)), key=lambda one: one[2] - one[0]
)
begun = (before + after) / 2
print(f"{lsl_s} {begun}", flush=True)
n = 0
while not ended.wait(max(0.0, begun + n / 100 - monotonic())):
    # The value says when it was sent, in a clock that the test knows too.
    sent, lsl_s = min(((monotonic(), pylsl.local_clock()) for _ in range(5)), key=lambda one: one[1] - one[0])
    numbers.push_sample([n, sent - begun], lsl_s)
    if n % 20 == 0:
        words.push_sample([f"grüße {n}"])
    n += 1
