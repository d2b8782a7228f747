import http.client
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import cv2
import numpy as np
import pytest
from ethostream.deploy import live_state, process_table
from ethostream.deploy.monitor.app import MAX_CLIENTS, TOKEN_HEADER
from ethostream.deploy.monitor.config import MonitorConfig
from ethostream.deploy.monitor.hub import Hub
from ethostream.deploy.monitor.server import MonitorServer
from ethostream.deploy.monitor.tile import TILE_HEADER, TileEncoder, TileHeader
from ethostream.streaming.messages import Box, FrameHeader
from ethostream.sync.errors import AddressError, ConfigError
from ethostream.sync.strict import validate
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def header(width: int, height: int, pixel_format: str = "mono8") -> FrameHeader:
    kind = "bgr8" if pixel_format == "bgr8" else "mono8"
    return FrameHeader("c", 0, 5, 1_790_000_000_123_456_789, 10, 0, "simulated", width, height, kind, "", 0, 0)


# -- options


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.org", "::"])
def test_only_loopback_is_served(host: str):
    with pytest.raises(ConfigError, match=r"loopback only|is not an address"):
        validate(MonitorConfig, {"host": host}, "rig")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_loopback_is_accepted(host: str):
    assert validate(MonitorConfig, {"host": host}, "rig").host == host


def test_node_names_are_those_of_the_process_table():
    assert live_state.MONITOR_NODE == process_table.MONITOR
    assert live_state.REPLAY_NODE == process_table.REPLAY


# -- tiles


@given(st.integers(8, 900), st.integers(8, 700), st.booleans(), st.integers(32, 400))
def test_a_tile_keeps_shape_and_brightness(width: int, height: int, color: bool, tile: int):
    image = np.full((height, width, 3) if color else (height, width), 180, np.uint8)
    encoder = TileEncoder(tile, 70)
    small = encoder.shrink(image)
    assert small.shape[1] == min(width, tile)
    assert small.ndim == image.ndim
    assert small.shape[0] == max(1, round(small.shape[1] * height / width))
    assert (small == 180).all()
    assert not np.shares_memory(small, image)


def test_a_tile_carries_its_box_as_a_share_of_the_picture():
    image = np.zeros((1080, 1920), np.uint8)
    image[400:600, 900:1200] = 255
    encoder = TileEncoder(320, 80)
    box = Box("c", 960, 540, 192, 108, True)
    tile = encoder.encode(encoder.shrink(image), header(1920, 1080), 3, 7, box)
    head = TileHeader(*TILE_HEADER.unpack(tile[: TILE_HEADER.size]))
    assert (head.camera, head.number, head.box_valid) == (3, 7, 1)
    assert [round(v / 65535, 3) for v in (head.x, head.y, head.width, head.height)] == [0.5, 0.5, 0.1, 0.1]
    assert head.t_ms == pytest.approx(1_790_000_000_123.457, abs=0.001)
    picture = cv2.imdecode(np.frombuffer(tile[TILE_HEADER.size :], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    assert picture.shape == (180, 320)
    assert picture[83, 175] > 240
    assert picture[10, 10] < 15


def test_a_box_outside_of_the_picture_is_cut_and_an_invalid_one_left_out():
    encoder = TileEncoder(32, 70)
    small = np.zeros((24, 32), np.uint8)
    for box, valid in ((Box("c", -50, 0, 9999, 10, True), 1), (Box("c", 1, 1, 1, 1, False), 0), (None, 0)):
        head = TileHeader(*TILE_HEADER.unpack(encoder.encode(small, header(32, 24), 0, 1, box)[: TILE_HEADER.size]))
        assert head.box_valid == valid
        assert (head.x, head.width) == ((0, 65535) if valid else (0, 0))


# -- hub


def test_each_client_gets_the_newest_and_counts_what_it_skipped():
    hub = Hub()
    quick, slow = hub.join(), hub.join()
    got: list[bytes] = []
    for i in range(10):
        hub.put("tile/a", f"a{i}".encode())
        got += [payload for _, payload in quick.take()]
    assert got == [f"a{i}".encode() for i in range(10)]
    assert list(slow.take()) == [("tile/a", b"a9")]  # what was there before its first look was not skipped
    for payload in (b"a10", b"a11"):
        hub.put("tile/a", payload)
        assert list(quick.take()) == [("tile/a", payload)]
    assert hub.n_skipped == 1  # known before the slow one looks again
    hub.put("status", b"s")
    assert list(slow.take()) == [("tile/a", b"a11"), ("status", b"s")]
    assert list(slow.take()) == []
    assert (quick.n_skipped, slow.n_skipped, hub.n_skipped) == (0, 1, 1)
    hub.leave(slow)
    assert (hub.n_skipped, hub.n_clients) == (1, 1)


def test_a_slot_is_read_when_it_is_sent_not_when_the_round_began():
    hub = Hub()
    client = hub.join()
    hub.put("a", b"1")
    hub.put("b", b"1")
    sending = client.take()
    assert next(sending) == ("a", b"1")
    hub.put("b", b"2")
    assert next(sending) == ("b", b"2")


# -- server


@pytest.fixture
def served() -> Iterator[tuple[Hub, MonitorServer]]:
    hub = Hub()
    with MonitorServer(hub, "127.0.0.1", 0) as server:
        yield hub, server


def get(server: MonitorServer, path: str, host: str | None = None) -> tuple[int, str, dict[str, str]]:
    return ask(server, "GET", path, {} if host is None else {"Host": host})


def ask(server: MonitorServer, method: str, path: str, headers: dict[str, str]) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), dict(response.getheaders())
    finally:
        connection.close()


def test_a_port_in_use_is_an_address_error_with_the_cure():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=rf"port {port} .* is in use.*monitor\.port"):
            MonitorServer(Hub(), "127.0.0.1", port)


def test_the_page_and_its_parts_are_served(served: tuple[Hub, MonitorServer]):
    hub, server = served
    status, page, headers = get(server, "/")
    assert status == 200
    assert "default-src 'self'" in {name.lower(): value for name, value in headers.items()}["content-security-policy"]
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")  # nothing comes from elsewhere
    assert "https://" not in page
    for name in ("app.js", "style.css", "socket.js", "tiles.js", "ethogram.js", "status.js", "palette.js", "spark.js"):
        assert get(server, f"/static/{name}")[0] == 200
    assert get(server, "/static/../app.py")[0] == 404
    assert get(server, "/api/status")[0] == 503
    hub.put("status", b'{"type": "status"}')
    assert get(server, "/api/status")[:2] == (200, '{"type": "status"}')


def test_another_site_may_not_read_the_rig(served: tuple[Hub, MonitorServer]):
    _, server = served
    assert get(server, "/", host="evil.example")[0] == 400
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{server.port}/ws", origin="http://evil.example"):  # pyright: ignore[reportArgumentType]
        pass


def test_the_page_disarms_with_its_own_token_alone_and_arms_never() -> None:
    asked: list[str] = []

    def disarm() -> dict[str, Any]:
        asked.append("disarm")
        return {"ok": True, "armed": False, "words": "disarmed"}

    with MonitorServer(Hub(), "127.0.0.1", 0, disarm) as server:
        found = re.search(r'<meta name="token" content="([^"]+)"', get(server, "/")[1])
        assert found and len(found.group(1)) > 16
        token = {TOKEN_HEADER: found.group(1)}
        for headers in ({}, {TOKEN_HEADER: "TOKEN-OF-THIS-PAGE"}, {TOKEN_HEADER: found.group(1)[:-1]}):
            assert ask(server, "POST", "/api/disarm", headers)[0] == 403
        assert ask(server, "GET", "/api/disarm", token)[0] == 405
        assert ask(server, "POST", "/api/disarm", {**token, "Host": "evil.example"})[0] == 400
        assert not asked
        assert ask(server, "POST", "/api/disarm", token)[:2] == (200, "disarmed")
        assert asked == ["disarm"]
        assert ask(server, "POST", "/api/arm", token)[0] == 404


def test_the_socket_is_not_compressed_and_gives_text_and_tiles(served: tuple[Hub, MonitorServer]):
    hub, server = served
    hub.put("status", b'{"type": "status"}')
    with connect(f"ws://127.0.0.1:{server.port}/ws") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        assert client.recv(timeout=30) == '{"type": "status"}'
        hub.put("tile/a", b"\x01jpeg")
        hub.publish()
        assert client.recv(timeout=30) == b"\x01jpeg"


def test_a_page_that_answers_has_one_batch_on_its_way(served: tuple[Hub, MonitorServer]):
    hub, server = served
    hub.put("tile/a", b"0")
    with connect(f"ws://127.0.0.1:{server.port}/ws?sync=1", compression=None) as client:
        assert client.recv(timeout=30) == b"0"
        assert client.recv(timeout=30) == '{"type":"sync","n":1}'
        for i in range(1, 6):
            hub.put("tile/a", str(i).encode())
            hub.publish()
        client.send("nonsense")
        client.send("1")
        assert client.recv(timeout=30) == b"5"
        assert hub.n_skipped == 4


def test_too_many_pages_are_turned_away(served: tuple[Hub, MonitorServer]):
    hub, server = served
    hub.put("status", b"{}")
    address = f"ws://127.0.0.1:{server.port}/ws"
    with ExitStack() as stack:
        for _ in range(MAX_CLIENTS):
            assert stack.enter_context(connect(address)).recv(timeout=30) == "{}"
        with connect(address) as late, pytest.raises(ConnectionClosed, match="close one"):
            late.recv(timeout=30)
