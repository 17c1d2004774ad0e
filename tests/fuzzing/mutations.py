"""Blind ways to damage bytes. Everything follows from the generator: one seed, one damage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MOST_BYTES = 1 << 20
_EXTREMES = (0, 1, 2, 127, 128, 255, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def damaged(data: bytes, rng: np.random.Generator, others: Sequence[bytes] = (), words: Sequence[bytes] = ()) -> bytes:
    """One to six changes. `others` are whole files to take pieces from, `words` what the format is made of."""
    for _ in range(int(rng.choice([1, 1, 1, 2, 3, 6]))):
        way = _WAYS[rng.integers(len(_WAYS))]
        data = way(data, rng, others, words) if data else rng.bytes(int(rng.integers(1, 9)))
    return data[:MOST_BYTES]


def _place(data: bytes, rng: np.random.Generator) -> int:
    """Somewhere, mostly near an end, where formats keep what they know of the rest."""
    near = min(len(data), 300)
    draw = rng.random()
    if draw < 0.5:
        return int(rng.integers(near))
    return int(len(data) - 1 - rng.integers(near)) if draw < 0.7 else int(rng.integers(len(data)))


def _span(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    """A piece, of one byte as often as of all."""
    begin = _place(data, rng)
    return begin, min(len(data), begin + int(2 ** rng.uniform(0, np.log2(len(data) + 1))))


def _flip(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    changed = bytearray(data)
    for _bit in range(int(rng.choice([1, 1, 2, 8]))):
        changed[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _set(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]


def _extreme(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    at, size = _place(data, rng), int(rng.choice([1, 2, 4, 8]))
    value = _EXTREMES[rng.integers(len(_EXTREMES))] % 256**size
    return data[:at] + value.to_bytes(size, ("little", "big")[rng.integers(2)]) + data[at + size :]


def _near(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    """A number that is a little more or less, or many times what it was."""
    at, size, order = _place(data, rng), int(rng.choice([1, 2, 4])), ("little", "big")[rng.integers(2)]
    value = int.from_bytes(data[at : at + size], order)
    value = value + int(rng.integers(-4, 5)) if rng.random() < 0.7 else value * int(rng.choice([2, 3, 16, 255]))
    return data[:at] + (value % 256**size).to_bytes(size, order) + data[at + size :]


def _delete(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    begin, end = _span(data, rng)
    return data[:begin] + data[end:]


def _repeat(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    begin, end = _span(data, rng)
    return data[:end] + data[begin:end] * int(rng.choice([1, 1, 3, 50])) + data[end:]


def _blank(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    begin, end = _span(data, rng)
    return data[:begin] + bytes([int(rng.choice([0, 255]))]) * (end - begin) + data[end:]


def _insert(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.bytes(int(2 ** rng.uniform(0, 10))) + data[at:]


def _swap(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    (a, b), (c, d) = sorted([_span(data, rng), _span(data, rng)])
    return data if c < b else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _cut(data: bytes, rng: np.random.Generator, *_: object) -> bytes:
    return data[: rng.integers(len(data))]


def _splice(data: bytes, rng: np.random.Generator, others: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    if not others:
        return data
    other = others[rng.integers(len(others))]
    begin, end = _span(other, rng)
    return _placed(data, rng, other[begin:end])


def _word(data: bytes, rng: np.random.Generator, _: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    return _placed(data, rng, words[rng.integers(len(words))]) if words else data


def _placed(data: bytes, rng: np.random.Generator, piece: bytes) -> bytes:
    """With the piece in it, between what was there or over it."""
    at, over = _place(data, rng), rng.random() < 0.5
    return data[:at] + piece + data[at + over * len(piece) :]


_WAYS = (_flip, _flip, _set, _extreme, _extreme, _near, _near, _delete, _repeat, _blank, _insert, _swap, _cut, _splice)
_WAYS += (_word, _word)
