"""Cameras on real sockets of this machine: MJPEG over HTTP, H.264 over RTSP. They stall, hang up, change format."""

import socket
import struct
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import av
import cv2
import numpy as np

PERIOD_S = 0.02


class MjpegCamera:
    """Frames with a number in their grey level: frame i is evenly ``i * 4 % 256``."""

    def __init__(self, port: int = 0) -> None:
        self.size = (64, 48)
        self.flowing = threading.Event()
        self.flowing.set()
        self.broken = False  # what it sends are no pictures
        self.silent = False  # connections are taken and not answered
        self.n_connections = 0
        self.n_sent = 0
        self._n_frames = 0
        self._end = threading.Event()
        self._cut = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                camera._serve(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = False
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://user:secret@127.0.0.1:{self.port}/video"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.n_connections += 1
        cut = self._cut
        if self.silent:
            self._end.wait()
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        try:
            while not (self._end.is_set() or cut.is_set()):
                if self.flowing.is_set():
                    handler.wfile.write(self._part())
                    handler.wfile.flush()
                    self.n_sent += 1
                cut.wait(PERIOD_S)
        except OSError:
            pass  # the reader has gone

    def _part(self) -> bytes:
        image = np.full((self.size[1], self.size[0]), self._n_frames * 4 % 256, np.uint8)
        self._n_frames += 1
        jpeg = b"no picture" * 20 if self.broken else cv2.imencode(".jpg", image)[1].tobytes()
        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
        return head + jpeg + b"\r\n"

    def hang_up(self) -> None:
        """Cut every connection; new ones are answered."""
        self._cut.set()
        self._cut = threading.Event()

    def close(self) -> None:
        """Gone: connections are refused."""
        self._end.set()
        self._cut.set()
        self.flowing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class RtspCamera:
    """RTSP 1.0 (RFC 2326) with H.264 inside RTP (RFC 6184) on the RTSP connection itself; one client at a time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/video"
        self._end = threading.Event()
        self._client: socket.socket | None = None
        self.n_connections = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._client, _ = self._listener.accept()
            except OSError:
                return
            if self._end.is_set():
                self._client.close()
                return
            self.n_connections += 1
            with self._client:
                with suppress(OSError):  # the reader has gone, or `hang_up`
                    self._talk(self._client)

    def _talk(self, client: socket.socket) -> None:
        requests = client.makefile("rb")
        while request := self._request(requests):
            method, sequence = request
            if method == "DESCRIBE":
                sdp = (
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=video\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                    "a=control:track1\r\n"
                )
                self._answer(client, sequence, f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n", sdp)
            elif method == "SETUP":
                self._answer(client, sequence, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n")
            elif method == "PLAY":
                self._answer(client, sequence, "Session: 1\r\n")
                self._play(client)
                return
            else:
                self._answer(client, sequence, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n")

    @staticmethod
    def _request(stream: BytesIO) -> tuple[str, str] | None:
        first = stream.readline().decode()
        sequence = ""
        while (line := stream.readline().decode().strip()) != "":
            if line.lower().startswith("cseq:"):
                sequence = line[5:].strip()
        return (first.split()[0], sequence) if first else None

    @staticmethod
    def _answer(client: socket.socket, sequence: str, headers: str, body: str = "") -> None:
        client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{headers}\r\n{body}".encode())

    def _play(self, client: socket.socket) -> None:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = 64, 48, "yuv420p"
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
        number = 0
        for i in range(100_000):
            image = np.full((72, 64), 128, np.uint8)
            image[:48] = i * 4 % 256
            frame = av.VideoFrame.from_ndarray(image, "yuv420p")
            frame.pts = i
            for packet in encoder.encode(frame):
                units = [unit.rstrip(b"\0") for unit in bytes(packet).replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")]
                units = [unit for unit in units if unit]
                for k, unit in enumerate(units):
                    marker = 0x80 if k == len(units) - 1 else 0
                    rtp = struct.pack(">BBHII", 0x80, 96 | marker, number & 0xFFFF, i * 1800, 7) + unit
                    client.sendall(b"$\0" + struct.pack(">H", len(rtp)) + rtp)
                    number += 1
            if self._end.wait(PERIOD_S):
                return

    def hang_up(self) -> None:
        """Cut the connection; the next is answered."""
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._end.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
