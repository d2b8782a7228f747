"""Every script of ``benchmarks/`` runs as a user starts it, as small as it goes, and writes what BENCHMARKS.md shows.

Those that train models and score them are in ``test_model_scripts.py``. What is measured is not judged here: no figure
of a busy machine is right or wrong. What is counted is.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from ethostream.sync.errors import ProviderError
from script_results import Run, stated

LIBRARIES = {
    "pyzmq": "imagezmq",
    "imagezmq": "imagezmq",
    "netgear": "vidgear",
    "iceoryx2": "iceoryx2",
    "zenoh": "zenoh",
}
"""What of the extra `bench` a peer of the bus needs; pyzmq alone needs none, and is run beside them."""
TOO_LARGE = ("cage.py", "head_step.py", "int8.py")
"""Eight cameras and a model, networks made by torch: only their options are looked at."""


def scripts(repository: Path) -> list[str]:
    return sorted(
        path.name for path in (repository / "benchmarks").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")
    )


def test_every_script_is_run_here_or_elsewhere(repository: Path) -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py"))
    missing = [name for name in scripts(repository) if f'"{name}"' not in tests]
    assert missing == [], "a benchmark without a test: make it small by options and run it here"


@pytest.mark.long
@pytest.mark.parametrize("script", TOO_LARGE)
def test_what_cannot_be_small_says_at_least_how_it_is_used(repository: Path, script: str) -> None:
    command = [sys.executable, str(repository / "benchmarks" / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{script} [" in done.stdout and "--json" in done.stdout


def test_actuator_safety(run: Run, firmware: Path) -> None:
    found = run("actuator_safety.py", "--sessions", "2", "--kills", "1")
    assert stated(found, "sessions", "real_kills", "simulated_s", "wrong") == [2, 1, 12.0, []]
    assert found["n_events"] == sum(found["events"].values()) > 0
    assert found["actuations"]["sent"] >= found["actuations"]["acknowledged"] > 0
    stated(found, "longest_after_kill_ms")


@pytest.mark.parametrize("peer", ["ethostream", "pyzmq", "imagezmq", "netgear", "iceoryx2", "zenoh"])
def test_bus(run: Run, peer: str) -> None:
    if peer != "ethostream":
        # Seconds of each; the libraries of most are an extra, and so is the time.
        pytest.importorskip(LIBRARIES[peer], reason="what the bus is compared with runs where the extra bench is")
    small = ("--cameras", "1", "--seconds", "0.5", "--rates", "20", "--frames", "8", "--rounds", "1")
    found = run("bus.py", *small, "--peers", peer)
    stated(found, "machine.cores", "command", "memcpy_frames_per_s", "cameras")
    for one in (found["unpaced"][peer], found["paced"]["20"][peer]):
        sent, read, declared, undeclared, wrong = stated(
            one, "sent", "read_by_every", "declared", "undeclared", "wrong"
        )
        assert sent == read + declared and undeclared == wrong == 0
        stated(one, "frames_per_s", "cpu_ms_per_frame", "cores")
        assert [reader["reader"] for reader in one["readers"]] == ["every", "latest", "latest"]
        for reader in one["readers"]:
            stated(reader, "p50_us", "p99_us", "max_us", "core", "frames")


@pytest.mark.long
def test_codecs(run: Run) -> None:
    found = run("codecs.py", "--seconds", "0.01")
    assert {(one["codec"], one["frame"]) for one in found} == {
        (codec, frame)
        for codec in ("h264", "h264_lossless", "ffv1", "mjpeg", "raw")
        for frame in ("640x480", "1920x1080")
    }
    for one in found:
        stated(one, "frames_per_s", "frames_per_processor_s", "kib_per_frame", "ratio_to_raw")
        assert one["exact"] is (None if one["codec"] in ("h264", "mjpeg") else True)


def test_day(run: Run) -> None:
    found = run("day.py", "--hours", "0.02")
    assert stated(found, "undeclared", "mispaired", "wrong") == [0, 0, []]
    stated(found, "headers", "declared_drops", "sets_complete", "sets_partial", "clock_steps", "us_per_header")
    stated(found, "memory_mb.settled", "memory_mb.end", "error_of_device_times_ms.p50", "error_of_device_times_ms.p99")


@pytest.mark.long
def test_emulated_baslers(run: Run) -> None:
    pytest.importorskip("pypylon", reason="needs the extra basler")
    found = run("emulated_baslers.py", "--cameras", "1", "--seconds", "0.5", "--rate", "5")
    captured, delivered, declared, undeclared = stated(
        found, "total.captured", "total.delivered", "total.declared", "total.undeclared"
    )
    assert captured == delivered + declared > 0 and undeclared == 0
    assert found["verified"] is True
    stated(found, "cameras.cam0.rate_hz", "cpu_cores_used", "processes.recorder.cpu_share", "sets.partial")


def test_header_encoding(run: Run) -> None:
    found = run("header_encoding.py", "--n", "100")
    assert set(found["us_per_header"]) == {"msgspec, validated", "msgpack", "json"}


@pytest.mark.long
def test_latency(run: Run) -> None:
    small = ("--views", "1", "--sets", "10", "--width", "64", "--height", "64", "--rate", "30")
    found = run("latency.py", *small)
    (one,) = found["runs"]
    assert stated(one, "views", "undeclared", "failures") == [1, 0, []]
    stated(one, "sets", "partial_sets", "skipped", "per_minute_p50_ms")
    for figure in ("exposure_to_trigger", "embedder", "head", "overhead"):
        p50, p99, p999, most, n = stated(one[figure], "p50", "p99", "p999", "max", "n")
        assert p50 <= p99 <= p999 <= most and n == one["sets"] > 0


@pytest.mark.long
def test_no_loss(run: Run) -> None:
    found = run("no_loss.py", "--cameras", "1", "--seconds", "0.5", "--rate", "30", "--task", "none")
    delivered, distinct, captured = stated(found, "delivered_by_truth", "distinct_frames", "captured")
    assert delivered == distinct == captured > 0
    assert stated(found, "sets.mispaired", "recording.verified") == [0, True]
    stated(found, "seconds", "dropped_by_device", "recording_mb", "sets.complete", "sets.partial")
    stated(found, "latency_ms.exposure_to_behavior", "cameras.cam0.dropped_declared")


def test_simulator(run: Run) -> None:
    found = run("simulator.py", "--seconds", "0.02", "--views", "1", "--sizes", "64x64,128x96")
    assert [one["frame"] for one in found] == [
        "64x64", "64x64, noise everywhere", "128x96", "128x96, noise everywhere",
    ]  # fmt: skip
    for one in found:
        stated(one, "ms_per_frame", "cores_at_8x60_hz", "memcpy_ms", "ratio_to_memcpy")


@pytest.mark.long
def test_simulator_sheets(repository: Path, tmp_path: Path) -> None:
    """It writes pictures and no figures: those that the documentation shows."""
    command = [sys.executable, str(repository / "benchmarks" / "simulator_sheets.py"), str(tmp_path), "--scale", "0.1"]
    subprocess.run(command, check=True, capture_output=True)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"simulated_wall_cage.jpg", "simulated_two_animals.jpg", "simulated_face.jpg"}
    assert all((repository / "docs" / "images" / name).is_file() for name in made)


@pytest.mark.long
def test_soak(run: Run, tmp_path: Path) -> None:
    plot = tmp_path / "soak.svg"
    small = ("--cameras", "1", "--rate", "30", "--minutes", "0.1", "--codec", "raw", "--plot", str(plot))
    found = run("soak.py", *small)
    assert stated(found, "undeclared", "sets.mispaired", "wrong") == [0, 0, []]
    stated(found, "growth_after_warming_up", "latency_ms.exposure_to_behavior.p99", "recording.verified")
    stated(found["samples"][0], "minutes", "shm_mb", "nodes.recorder.own_mb", "nodes.inference.fds")
    assert plot.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.long
def test_stabilisers(run: Run) -> None:
    small = ("--hours", "0.02", "--fit-minutes", "0.2", "--check-minutes", "0.2", "--session-s", "12", "--views", "1")
    found = run("stabilisers.py", *small)
    stated(found, "hours", "n_bouts", "tolerance_ms", "noise.confusion.real", "noise.autocorrelation.model")
    assert found["results"].keys() == found["check"].keys() and len(found["results"]) > 8
    for one in found["results"].values():
        stated(one, "stated_delay_ms", "false_per_hour", "recall", "per_behavior.rear.false_per_hour", "us_per_step")
        assert {"delay_p50_ms", "delay_p99_ms"} <= one.keys()  # null where no bout was found


@pytest.mark.long
def test_tracking(run: Run) -> None:
    small = ("--scene", "cage", "--animals", "2", "--minutes", "0.01", "--width", "160", "--height", "90")
    found = run("tracking.py", *small)
    stated(found, "scene", "seed", "valid_fraction", "identity_swaps", "nearest_animals_mm")
    stated(found, "error_mm.p50", "error_mm.p95", "error_mm.p99", "error_mm.p100", "ms_per_set.p50", "ms_per_set.p99")


def test_two_hosts(run: Run) -> None:
    """The simulated part; `tests/streaming/test_two_hosts.py` has the real one."""
    found = run("two_hosts.py", "--seconds", "0", "--simulated-s", "40", "--runs", "2")
    assert found["real"] == {} and len(found["simulated"]) == 3
    assert found["simulated"].keys() == found["simulated_30_s"].keys()
    for one in found["simulated"].values():
        stated(one, "error_p50_us", "error_p99_us", "error_max_us", "drift_ppm", "error_bound_us", "n_exchanges")


def test_views(run: Run) -> None:
    found = run("views.py", "--seeds", "501", "--minutes", "0.05", "--views", "1,2")
    assert list(found["views"]) == ["1", "2"]
    for one in found["views"].values():
        assert one["stabilised"]["n_frames"] == one["raw"]["n_frames"] == 90
        stated(one, "raw.balanced_accuracy", "stabilised.accuracy")


@pytest.mark.long
def test_views_live(run: Run) -> None:
    found = run("views.py", "--seeds", "501", "--minutes", "0.02", "--views", "1", "--live-s", "3")
    live = found["live"]
    assert live["replay"]["exact"] is True and live["replay"]["different"] == 0
    assert live["n_answers"] > 60
    assert live["same_label_over_frames"] == 1.0 or live["n_skipped"] > 0


def test_worlds(run: Run) -> None:
    found = run("worlds.py", "--worlds", "3")
    sets, fit = stated(found, "frame_sets", "tick_fit")
    assert sets["worlds"] == fit["worlds"] == 3
    assert sets["failed_seeds"] == fit["failed_seeds"] == []
    stated(fit, "frames", "jumps", "missed", "false_steps", "backwards", "leaps", "worlds_that_never_locked")
    for figure in ("error_of_the_line_us", "error_of_a_frame_us", "frames_to_lock", "seconds_to_lock"):
        assert fit[figure].keys() == {"p50", "p99", "p99.9", "max"}


@pytest.mark.long
def test_gpu_on_the_cpu(run: Run) -> None:
    """The script, not what it is for: nothing here has run on a GPU.

    At 2000 sets/s no chain keeps up, and what it decides upon lies further back with every set; it fires all the same.
    """
    small = ["--networks", "small", "--views", "3", "--image", "320x240", "--sets", "150", "--unpaced-sets", "150"]
    found = run("gpu.py", "--provider", "cpu", "--rate", "2000", *small)
    assert stated(found, "setting.provider", "setting.weights") == ["cpu", "random"]
    one = found["networks"]["small"]
    assert 0.0 < one["ms"]["p50"] <= one["ms"]["max"]
    assert one["sets"] == one["fired"] == 150, "every set fires"
    assert one["limit_per_s"] > 0.0 and one["view_frames_per_s"] > 0.0
    assert one["needed_per_s"] == 6000.0 and one["aims_met"] is None


def test_gpu_refuses_figures_of_sets_that_did_not_fire(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    check = runpy.run_path(str(repository / "benchmarks" / "gpu.py"))["require_every_set_fired"]
    check("paced", 40, 40)
    with pytest.raises(SystemExit, match=r"unpaced: 39 firings in 1,040 sets"):
        check("unpaced", 1040, 39)


def test_gpu_without_torch_names_what_brings_it(repository: Path) -> None:
    script = str(repository / "benchmarks" / "gpu.py")
    code = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    environment = os.environ | {"PYTHONPATH": str(repository / "benchmarks")}
    done = subprocess.run(
        [sys.executable, "-c", code, script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "torch is not installed" in done.stderr and "pip install -e '.[gpu,train]'" in done.stderr


def test_gpu_without_one(repository: Path) -> None:
    script = str(repository / "benchmarks" / "gpu.py")
    small = ["--networks", "small", "--views", "1", "--image", "320x240", "--sets", "1", "--unpaced-sets", "1"]
    done = subprocess.run([sys.executable, script, *small], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    if "Frames in memory to trigger" in done.stdout:
        pytest.skip("a GPU is here")
    assert done.returncode == ProviderError.exit_code
    assert "ethostream[gpu]" in done.stderr
