"""One file for each way of moving frames that `benchmarks/bus.py` measures."""
