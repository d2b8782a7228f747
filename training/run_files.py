"""Names of what a run folder holds."""

from typing import Final

CONFIG_FILE: Final = "config.yaml"
"""The training file with every key."""
COMMAND_FILE: Final = "command.txt"
"""What repeats the run."""
METRICS_FILE: Final = "metrics.jsonl"
"""A line per epoch."""
EVALUATION_FILE: Final = "evaluation.json"
DATA_FILE: Final = "data.json"
"""What was found while the data were read."""
WEIGHTS_FILE: Final = "weights.pt"
EXPORT_INPUT_FILE: Final = "export_input.npz"
BUNDLE_FILE: Final = "bundle.json"
"""The manifest of the bundle; only bundles hold a manifest.json."""
CURVES_FOLDER: Final = "tensorboard"
