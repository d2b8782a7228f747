"""A torn video made whole: the same packets in a container that has its end, nothing encoded again."""

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias, cast

import av
import av.container
import av.error
import av.video.stream

from ..sync.errors import VideoError
from .durable import sync_file
from .video_tail import VideoTail, length_prefixed, read_tail
from .video_writer import CONTAINER_OPTIONS

_MS = Fraction(1, 1000)
_COVERED_BYTES = 8
_PACKETS_PER_PROGRESS = 64

Packet: TypeAlias = "av.Packet[av.video.stream.VideoStream]"
OnBytes = Callable[[int], None]
"""Told how far in the file it is, bytes."""


@dataclass(slots=True)
class ScannedVideo:
    """The whole packets of a video, in file order.

    Attributes:
        pts_ms: time of each.
        key: 1 where decoding can begin.
        tail: the last of them, where it stands beside the video and not in it.
    """

    pts_ms: "array[int]" = field(default_factory=lambda: array("q"))
    key: bytearray = field(default_factory=bytearray)
    tail: VideoTail | None = None


def scan_video(path: Path, on_bytes: OnBytes | None = None) -> ScannedVideo:
    """The whole packets of a video, up to its tear; nothing where it was torn before its first frame."""
    found = ScannedVideo()
    try:
        container = av.open(str(path), "r")
    except (av.error.FFmpegError, OSError):
        return found
    with container:
        if not container.streams.video:
            return found
        for packet in _packets(container, on_bytes):
            found.pts_ms.append(packet.pts or 0)
            found.key.append(packet.is_keyframe)
    tail = read_tail(path)
    if tail is not None and tail.pts_ms > (found.pts_ms[-1] if found.pts_ms else -1):
        found.tail = tail
        found.pts_ms.append(tail.pts_ms)
        found.key.append(tail.is_key)
    return found


def remux(source: Path, target: Path, scanned: ScannedVideo, n_keep: int, on_bytes: OnBytes | None = None) -> int:
    """Write the first ``n_keep`` packets of ``source`` to ``target``, forced onto the disk.

    The last second is decoded on the way: where a power cut has left holes in it, the video ends before them.

    Returns:
        Packets written.

    Raises:
        VideoError: ``source`` cannot be read any more, or ``target`` not be written.
    """
    end_ms = scanned.pts_ms[n_keep - 1]
    first_checked = max((n for n in range(n_keep) if scanned.key[n] and scanned.pts_ms[n] < end_ms - 1000), default=0)
    held: list[Packet] = []
    bad_ms: int | None = None
    try:
        with (
            av.open(str(source), "r") as reader,
            av.open(str(target), "w", format="matroska", container_options=CONTAINER_OPTIONS) as writer,
        ):
            stream = reader.streams.video[0]
            # A decoder conceals damage unless it is told to stop at it.
            stream.codec_context.options = {"err_detect": "crccheck+bitstream+buffer+explode"}
            out = _same_stream(writer, stream)
            for n, packet in enumerate(_packets(reader, on_bytes)):
                if n >= n_keep:
                    break
                if n < first_checked:
                    packet.stream = out
                    writer.mux(packet)
                    continue
                held.append(packet)
                bad_ms = _first_bad_ms(packet) if bad_ms is None else bad_ms
            kept = [packet for packet in held if bad_ms is None or (packet.pts or 0) < bad_ms]
            if scanned.tail is not None and n_keep == len(scanned.pts_ms) and bad_ms is None:
                kept.append(_tail_packet(scanned.tail, stream))
            for packet in kept:
                packet.stream = out
                writer.mux(packet)
        sync_file(target)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(
            f"{target}: cannot be written from {source} ({getattr(error, 'strerror', None) or error}); check the disk "
            "and its free space"
        ) from error
    return first_checked + len(kept)


def _same_stream(
    writer: av.container.OutputContainer, stream: av.video.stream.VideoStream
) -> av.video.stream.VideoStream:
    if stream.codec_context.name != "rawvideo":
        out = writer.add_stream_from_template(stream)
        out.time_base = _MS
        return out
    # A template of raw video lacks the layout of its pixels; an encoder that is never fed brings it.
    out = writer.add_stream("rawvideo", rate=stream.average_rate)
    assert isinstance(out, av.video.stream.VideoStream)
    out.width, out.height, out.pix_fmt = stream.width, stream.height, stream.pix_fmt or ""
    out.time_base = out.codec_context.time_base = _MS
    out.codec_context.color_range = stream.codec_context.color_range
    writer.start_encoding()
    return out


def _tail_packet(tail: VideoTail, stream: av.video.stream.VideoStream) -> Packet:
    data = length_prefixed(tail.data) if stream.codec_context.name == "h264" else tail.data
    packet = cast("Packet", av.Packet(data))
    packet.pts = packet.dts = tail.pts_ms
    packet.time_base = _MS
    packet.is_keyframe = tail.is_key
    return packet


def _first_bad_ms(packet: Packet) -> int | None:
    # Every coded frame ends with something; a decoder may take zeros for a picture, and their checksum is right.
    if packet.stream.codec_context.name != "rawvideo" and not any(bytes(packet)[-_COVERED_BYTES:]):
        return packet.pts
    try:
        for frame in packet.decode():
            if isinstance(frame, av.VideoFrame) and frame.is_corrupt:
                return frame.pts
    except av.error.FFmpegError:
        return packet.pts
    return None


def _packets(container: av.container.InputContainer, on_bytes: OnBytes | None) -> Iterator[Packet]:
    try:
        for n, packet in enumerate(container.demux(container.streams.video[0])):
            if packet.is_corrupt:
                return
            if packet.size and packet.pts is not None:
                if on_bytes is not None and n % _PACKETS_PER_PROGRESS == 0:
                    on_bytes(packet.pos or 0)
                yield packet
    except av.error.FFmpegError:
        return
