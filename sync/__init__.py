"""Time: clocks, rig time, frame sets and latency. Imports nothing else of ethostream."""
