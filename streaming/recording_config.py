"""Options of recording, as they stand in the rig file."""

from typing import Literal

from pydantic import Field

from ..sync.strict import StrictModel

CodecName = Literal["h264", "h264_lossless", "ffv1", "mjpeg", "raw"]

LOSSLESS_CODECS: frozenset[CodecName] = frozenset({"h264_lossless", "ffv1", "raw"})
"""Codecs that give back exactly the bytes that were captured."""

LOSSLESS_16_BIT: frozenset[CodecName] = frozenset({"ffv1"})
"""Codecs that hold ``mono16`` (raw 16-bit grey has no form in Matroska that is read back)."""


class RecordingConfig(StrictModel):
    """What is written, and how.

    Attributes:
        enabled: whether the rig records.
        video: False: events only. The header of every frame and all messages are kept, no pixel is read and no video
            is written. Such a recording can be verified and exported, and not replayed.
        codec: ``h264`` (lossy), ``h264_lossless``, ``ffv1``, ``mjpeg`` (lossy) or ``raw``.
        crf: quality of ``h264``: 0 is best, 51 is worst; 18 to 23 look like the original.
        queue_frames: frames per camera that may wait for the encoder; one more is declared as lost.
        reserve_mb: space that video leaves free on the disk. At twice this much there is an alarm; below it video
            stops, every later frame is declared, and the messages go on being written.
        drain_s: how long the recorder waits, after it was asked to stop, for the last word of every camera.
    """

    enabled: bool = True
    video: bool = True
    codec: CodecName = "h264"
    crf: int = Field(default=20, ge=0, le=51)
    queue_frames: int = Field(default=64, ge=2, le=4096)
    reserve_mb: int = Field(default=1000, ge=1)
    drain_s: float = Field(default=10.0, gt=0, le=120)
