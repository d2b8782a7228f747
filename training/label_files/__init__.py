"""Label files of many programs, read into one shape: bouts in frames from 0, by stream."""

from .label_file import LABEL_KINDS, FrameConvention, LabelFile, LabelKind, ReadOptions, Span, StreamSource
from .reading import read_labels, recognise

__all__ = [
    "LABEL_KINDS",
    "FrameConvention",
    "LabelFile",
    "LabelKind",
    "ReadOptions",
    "Span",
    "StreamSource",
    "read_labels",
    "recognise",
]
