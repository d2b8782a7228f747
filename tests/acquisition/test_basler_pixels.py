"""From a Basler camera's bytes to frames: values as the sensor gave them."""

import numpy as np
import pytest
from ethostream.acquisition.basler_pixels import RECIPES, PixelReader
from ethostream.streaming.pixel_format import frame_shape, values16
from numpy.typing import NDArray


def lsb_packed(values: NDArray[np.uint16], bits: int) -> bytes:
    """Pixels one after the other from the least significant bit on (PFNC ``p``)."""
    planes = (values.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(planes.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def gige_packed(values: NDArray[np.uint16], bits: int) -> bytes:
    """Two pixels in three bytes, the low bits of both in the middle one (GigE Vision ``Packed``)."""
    low = bits - 8
    flat = values.reshape(-1).tolist()
    out = bytearray()
    for a, b in zip(flat[0::2], flat[1::2], strict=True):
        out += bytes([a >> low, (a & ((1 << low) - 1)) | (b & ((1 << low) - 1)) << 4, b >> low])
    return bytes(out)


def read(kind, symbol, data, height, width, stride=None):
    recipe = RECIPES[kind]
    reader = PixelReader(recipe, symbol, width, height)
    out = np.full(frame_shape(recipe.delivered, height, width), 77, np.uint8)
    reader.read(memoryview(data), stride or reader.row_bytes, out)
    return out


@pytest.mark.parametrize(
    ("kind", "symbol", "bits", "pack"),
    [
        ("mono10", "Mono10", 10, lambda v, _: v.tobytes()),
        ("mono12", "Mono12", 12, lambda v, _: v.tobytes()),
        ("mono10p", "Mono10p", 10, lsb_packed),
        ("mono12p", "Mono12p", 12, lsb_packed),
        ("mono10p", "Mono10Packed", 10, gige_packed),
        ("mono12p", "Mono12Packed", 12, gige_packed),
    ],
)
def test_values_are_neither_stretched_nor_shifted(kind, symbol, bits, pack):
    values = np.random.default_rng(bits).integers(0, 1 << bits, (6, 20)).astype(np.uint16)
    values[0, :2] = 0, (1 << bits) - 1
    assert np.array_equal(values16(read(kind, symbol, pack(values, bits), 6, 20)), values)


@pytest.mark.parametrize(("symbol", "kind"), [("Mono10p", "mono10p"), ("Mono12p", "mono12p"),
                                              ("Mono10packed", "mono10p"), ("Mono12packed", "mono12p")])  # fmt: skip
def test_unpacking_agrees_with_the_sdk(symbol, kind):
    pylon = pytest.importorskip("pypylon.pylon")
    bits = 10 if "10" in symbol else 12
    data = np.random.default_rng(1).integers(0, 256, 20 * 6 * (bits if symbol.endswith("p") else 12) // 8, np.uint8)
    image = pylon.PylonImage()
    image.AttachMemoryView(memoryview(data), getattr(pylon, f"PixelType_{symbol}"), 20, 6, 0)
    converter = pylon.ImageFormatConverter()
    converter.OutputPixelFormat = pylon.PixelType_Mono16
    converter.OutputBitAlignment.SetValue("LsbAligned")
    theirs = converter.Convert(image).GetArray()
    name = symbol.replace("packed", "Packed")
    assert np.array_equal(values16(read(kind, name, data.tobytes(), 6, 20)), theirs)


def test_rows_may_be_padded():
    image = np.random.default_rng(2).integers(0, 256, (5, 7), np.uint8)
    padded = np.zeros((5, 12), np.uint8)
    padded[:, :7] = image
    assert np.array_equal(read("mono8", "Mono8", padded.tobytes(), 5, 7, stride=12), image)


@pytest.mark.parametrize("symbol", ["RGB8", "RGB8Packed", "BGR8", "BGR8Packed"])
def test_colour_is_delivered_as_bgr(symbol):
    bgr = np.random.default_rng(3).integers(0, 256, (5, 7, 3), np.uint8)
    sent = bgr if symbol.startswith("B") else np.ascontiguousarray(bgr[..., ::-1])
    assert np.array_equal(read("rgb8", symbol, sent.tobytes(), 5, 7), bgr)


@pytest.mark.parametrize(
    ("kind", "at_origin"), [("bayer_rg8", 2), ("bayer_bg8", 0), ("bayer_gr8", 1), ("bayer_gb8", 1)]
)
def test_a_bayer_image_of_one_colour_has_that_colour(kind, at_origin):
    """The sensor sees pure blue, then green, then red light; the first pixel is of the colour that the name says."""
    columns = {"bayer_rg8": "RGGB", "bayer_bg8": "BGGR", "bayer_gr8": "GRBG", "bayer_gb8": "GBRG"}[kind]
    for channel, letter in enumerate("BGR"):
        cell = np.array([200 if c == letter else 0 for c in columns], np.uint8).reshape(2, 2)
        out = read(kind, "Bayer" + kind[6:8].upper() + "8", np.tile(cell, (4, 4)).tobytes(), 8, 8)
        inside = out[2:-2, 2:-2].reshape(-1, 3).mean(axis=0)
        assert int(np.argmax(inside)) == channel
        assert inside[channel] == pytest.approx(200)
        assert (columns[0] == letter) == (channel == at_origin)


def test_a_short_buffer_is_an_error():
    with pytest.raises((ValueError, TypeError)):
        read("mono8", "Mono8", b"\0" * 10, 5, 7)
