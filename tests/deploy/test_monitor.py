"""The monitor as a whole: a process of the rig, real sockets, a real browser."""

import importlib.util
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ethostream.deploy.monitor.tile import TILE_HEADER, TileHeader
from ethostream.sync.clock import NS_PER_S
from websockets.sync.client import ClientConnection, connect

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 60_000


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("monitor_rig", Path(__file__).with_name("monitor_rig.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mr = _load()
CAMERAS = ("north", "east", "south")


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a real browser; what it complains about fails the test."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright comes with the extra 'dev'")
    errors: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            one = browser.new_page(viewport={"width": 1440, "height": 900})
            one.set_default_timeout(PATIENCE_MS)
            one.on("pageerror", lambda error: errors.append(str(error)))
            yield one
        finally:
            browser.close()
    assert errors == []


def numbers(page: Any) -> list[int]:
    return page.evaluate("[...document.querySelectorAll('.tile')].map(t => Number(t.dataset.number || 0))")


def pixels(page: Any) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('.tile canvas')].map(c => c.toDataURL())")


def wait_for(page: Any, condition: str) -> None:
    # Asked from outside: the page's own security policy forbids to evaluate strings inside, as wait_for_function would.
    for _ in range(PATIENCE_MS // 50):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {condition}\npage says: {page.inner_text('body')}")


def test_the_page_shows_every_view_and_the_behaviour(tmp_path: Path, page: Any):
    with mr.fake_rig(tmp_path, CAMERAS) as rig, mr.monitor_process(rig) as (_, port):
        page.goto(f"http://127.0.0.1:{port}/")
        wait_for(page, "document.querySelectorAll('.tile.running').length === 3")
        wait_for(page, "[...document.querySelectorAll('.tile')].every(t => Number(t.dataset.number) > 0)")
        first = pixels(page)
        seen = numbers(page)
        wait_for(page, f"[...document.querySelectorAll('.tile')].every((t, i) => Number(t.dataset.number) > {seen}[i])")
        assert all(a != b for a, b in zip(first, pixels(page), strict=True))
        assert page.eval_on_selector_all(".tile .name", "all => all.map(e => e.textContent)") == list(CAMERAS)
        assert page.eval_on_selector_all(".tile .box", "all => all.map(e => e.hidden)") == [False] * 3
        for label in mr.CLASSES:  # the fake rig goes through all of them
            wait_for(page, f"document.getElementById('label').textContent === '{label}'")
        assert page.eval_on_selector_all("#bars .name", "all => all.map(e => e.textContent)") == list(mr.CLASSES)
        wait_for(page, "document.querySelectorAll('.rule.flash').length === 1")
        assert "recording" in page.inner_text("#recording")
        assert "GiB left" in page.inner_text("#disk")
        assert float(page.inner_text("#p50")) > 0
        assert page.inner_text("#link") == "connected"
        assert page.inner_text("#mode") == "live"
        assert page.inner_text("#armed") == "armed"
        page.click("#disarm")  # this monitor was started without a supervisor, and says so
        wait_for(page, "document.getElementById('disarm-answer').textContent.includes('no rig to disarm')")
        painted = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 200)"
        assert page.eval_on_selector("#strip", painted)
        if target := os.environ.get("ETHOSTREAM_SCREENSHOT"):
            page.screenshot(path=target)


def test_a_silent_camera_and_its_alarm_are_shown(tmp_path: Path, page: Any):
    with mr.fake_rig(tmp_path, CAMERAS[:1]) as rig, mr.monitor_process(rig) as (_, port):
        page.goto(f"http://127.0.0.1:{port}/")
        wait_for(page, "document.querySelectorAll('.tile.running').length === 1")
        rig.silent.set()
        wait_for(page, "document.querySelectorAll('.tile.silent').length === 1")
        wait_for(page, "document.getElementById('problems').textContent.includes('check its cable')")
        rig.silent.clear()
        wait_for(page, "document.querySelectorAll('.tile.running').length === 1")
        wait_for(page, "!document.getElementById('problems').textContent.includes('check its cable')")


def test_the_page_says_when_the_rig_has_gone_and_comes_back(tmp_path: Path, page: Any):
    with mr.fake_rig(tmp_path, CAMERAS[:2]) as rig:
        with mr.monitor_process(rig) as (_, port):
            page.goto(f"http://127.0.0.1:{port}/")
            wait_for(page, "document.getElementById('link').textContent === 'connected'")
        wait_for(page, "!document.getElementById('banner').hidden")
        assert "Connection to the rig lost" in page.inner_text("#banner")
        with mr.monitor_process(rig, port=port):
            wait_for(page, "document.getElementById('banner').hidden")
            number = max(numbers(page))
            wait_for(page, f"[...document.querySelectorAll('.tile')].some(t => Number(t.dataset.number) !== {number})")


def test_a_replay_without_cameras_says_so(tmp_path: Path, page: Any):
    with mr.fake_rig(tmp_path, (), source="replay") as rig, mr.monitor_process(rig) as (_, port):
        page.goto(f"http://127.0.0.1:{port}/")
        wait_for(page, "document.getElementById('mode').textContent === 'replay'")
        assert page.is_visible("#no-cameras")
        assert page.inner_text("#latency-note") == "not measured in a replay"
        assert not page.is_visible("#disarm")  # no actuator acts


def test_a_page_that_never_heard_of_the_arming_can_disarm_all_the_same(tmp_path: Path, page: Any):
    with mr.fake_rig(tmp_path, CAMERAS[:1]) as rig:
        rig.silent.set()
        with mr.monitor_process(rig) as (_, port):
            page.goto(f"http://127.0.0.1:{port}/")
            wait_for(page, "document.getElementById('mode').textContent === 'live'")
            assert not page.is_visible("#armed")  # not known
            page.click("#disarm", timeout=2000)
            wait_for(page, "document.getElementById('disarm-answer').textContent.includes('no rig to disarm')")
            assert page.is_visible("#disarm-answer")


def receive_tiles(client: ClientConnection, n: int) -> tuple[list[TileHeader], dict[str, Any]]:
    """The next ``n`` tiles and the last status before the end."""
    tiles: list[TileHeader] = []
    status: dict[str, Any] = {}
    while len(tiles) < n or not status:
        message = client.recv(timeout=PATIENCE_MS / 1000)
        if isinstance(message, str):
            status = json.loads(message)
        else:
            tiles.append(TileHeader(*TILE_HEADER.unpack(message[: TILE_HEADER.size])))
    return tiles, status


def test_a_client_that_does_not_read_is_skipped_and_slows_nobody(tmp_path: Path):
    with (
        mr.fake_rig(tmp_path, CAMERAS, paint=_noise) as rig,
        mr.monitor_process(rig, tile_rate_hz=30, tile_width=640, jpeg_quality=95) as (_, port),
        _stalled(port) as stalled,
        connect(f"ws://127.0.0.1:{port}/ws", max_queue=1024) as quick,
    ):
        status: dict[str, Any] = {"skipped": 0}
        tiles: list[TileHeader] = []
        give_up = rig.clock.now_ns() + PATIENCE_MS // 1000 * NS_PER_S
        while status["skipped"] < 60 and rig.clock.now_ns() < give_up:
            more, status = receive_tiles(quick, 30)
            tiles += more
        assert status["clients"] == 2
        assert status["skipped"] >= 60, "the stalled client was never full"
        assert stalled.fileno() >= 0
        # The quick one got a steady stream: in order, and most of what was made.
        for camera in range(len(CAMERAS)):
            mine = [tile.number for tile in tiles if tile.camera == camera]
            assert mine == sorted(set(mine))
            assert len(mine) >= 0.5 * (mine[-1] - mine[0]) / len(CAMERAS)


def _noise(view: int, i: int) -> Any:
    import numpy as np

    return np.random.default_rng((view, i % 4)).integers(0, 255, (480, 640), np.uint8)


class _stalled:  # noqa: N801 - used as a context manager
    """A WebSocket client that shakes hands and never reads again."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        self._socket.settimeout(PATIENCE_MS / 1000)
        self._socket.connect(("127.0.0.1", port))
        self._socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101" in self._socket.recv(64)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_error: object) -> None:
        self._socket.close()


def test_a_port_in_use_ends_the_node_with_the_cure(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            mr.fake_rig(tmp_path, ()) as rig,
            pytest.raises(AssertionError, match=rf"exit 4[\s\S]*port {port} .*monitor\.port"),
            mr.monitor_process(rig, port=port),
        ):
            pass


def test_the_monitor_stops_with_browsers_connected(tmp_path: Path):
    with mr.fake_rig(tmp_path, CAMERAS[:1]) as rig, mr.monitor_process(rig) as (process, port):
        with _stalled(port), connect(f"ws://127.0.0.1:{port}/ws") as client:
            receive_tiles(client, 2)
            process.terminate()
            assert process.wait(PATIENCE_MS / 1000) == 0
