"""The offline half: labelled video in, scored and exported bundle out. The only layer that imports torch."""

import os

# Threads of torch that wait for each other spin by default, and hold the core that the one they wait for needs: beside
# other work a step of a fit takes ten times as long. It is read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
