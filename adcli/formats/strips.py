"""How many bytes the strip of a TIFF holds, without decoding it: OpenCV hands out 8-bit strips that end early as black.

A strip with an impossible code, or of the wrong length, is damaged. LZW and PackBits have no checksum: a changed byte
that keeps the length goes unseen. Deflate has one.
"""

from __future__ import annotations

import zlib

import numpy as np

from adcli.formats.whole import need

_PIECE = 2**20  # bytes inflated at a time


def inflated_bytes(strip: memoryview, compression: int, most: int) -> int:
    """The bytes that a strip holds; may stop counting above `most`. Raises NotWhole for an impossible code."""
    return COMPRESSIONS[compression](strip, most)


def _stored(strip: memoryview, most: int) -> int:
    return len(strip)


def _deflate(strip: memoryview, most: int) -> int:
    """Ends in a checksum, at whose failure OpenCV goes on with what it has."""
    inflator, held = zlib.decompressobj(), 0
    try:
        for at in range(0, len(strip), _PIECE):
            piece = strip[at : at + _PIECE]
            while piece and held <= most:
                held += len(inflator.decompress(piece, _PIECE))
                piece = inflator.unconsumed_tail
        if held <= most:
            held += len(inflator.flush())
    except zlib.error:
        need(False, "a strip's checksum does not match")
    need(inflator.eof or held > most, "a strip's data does not end")
    return held


def _packbits(strip: memoryview, most: int) -> int:
    """TIFF 6.0 section 9: a count and that many bytes, or a count and one byte to repeat."""
    data, held, at = bytes(strip), 0, 0
    while at < len(data) and held < most:
        count = data[at]
        if count < 128:
            at += count + 2
            held += count + 1
        elif count > 128:
            at += 2
            held += 257 - count
        else:
            at += 1
    need(at <= len(data), "a strip ends inside a run")
    return held


# LZW, TIFF 6.0 section 13: codes of 9 bits, of 10 once the table holds 511 entries, of 11 at 1023, of 12 at 2047. The
# first code after a Clear adds no entry and every other one adds one, so the widths are known before any code is.
_CLEAR, _END, _FREE = 256, 257, 258
_WIDTHS = np.repeat(np.array([9, 10, 11, 12]), [254, 512, 1024, 2050])
_ENDS = np.cumsum(_WIDTHS)  # bits from the Clear to each code's end


def _lzw(strip: memoryview, most: int) -> int:
    """Between two Clears all codes are cut out at once, and their lengths found by halving the chains between them."""
    data = np.frombuffer(bytes(strip) + bytes(3), np.uint8).astype(np.int32)
    end, at, held = 8 * len(strip), 0, 0  # bits, bits, bytes
    while held < most:
        codes = _codes(data, end, at)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        stop = int(stops[0]) if len(stops) else len(codes)
        held += _lengths(codes[:stop])
        if stop == len(codes) or codes[stop] == _END:
            break
        at += int(_ENDS[stop])
    return held


def _codes(data: np.ndarray, end: int, at: int) -> np.ndarray:
    """The codes from bit `at` on, as many as fit before the bit `end` and into a table."""
    fitting = int(np.searchsorted(_ENDS, end - at, side="right"))
    last = at + _ENDS[:fitting]
    byte, bit = np.divmod(last - _WIDTHS[:fitting], 8)
    window = data[byte] << 16 | data[byte + 1] << 8 | data[byte + 2]
    return (window >> (24 - bit - _WIDTHS[:fitting])) & ((1 << _WIDTHS[:fitting]) - 1)


def _lengths(codes: np.ndarray) -> int:
    """The bytes that codes stand for: each is a byte, or what an earlier code stands for and one byte more."""
    earlier = np.where(codes < _CLEAR, -1, codes - _FREE)
    need(bool((earlier < np.arange(len(codes))).all()), "a strip has an impossible code")
    lengths = np.ones(len(codes), np.int64)
    while (earlier >= 0).any():
        chained = np.flatnonzero(earlier >= 0)
        lengths[chained] += lengths[earlier[chained]]
        earlier[chained] = earlier[earlier[chained]]
    return int(lengths.sum())


COMPRESSIONS = {1: _stored, 5: _lzw, 8: _deflate, 32773: _packbits, 32946: _deflate}
