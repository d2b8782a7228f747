"""What a process of a rig does not need it does not import: every start would pay for it."""

import subprocess
import sys

import pytest

HEAVY = {"scipy", "torch", "pandas", "h5py", "fastapi", "onnxruntime"}


@pytest.mark.parametrize("module", ["ethostream.inference.inference_node", "ethostream.deploy.rig_run"])
def test_a_rig_starts_without_heavy_libraries(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
