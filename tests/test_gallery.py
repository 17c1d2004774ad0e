"""Rows in a file, read a block at a time."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from adcli import gallery
from adcli.gallery import Gallery, Spool

ROWS = np.random.default_rng(0).standard_normal((23, 5, 2)).astype(np.float32)


def test_what_was_spooled_in_pieces_is_read_as_one() -> None:
    spool = Spool(ROWS.shape[1:], ROWS.dtype)
    for start in range(0, len(ROWS), 7):
        spool.append(ROWS[start : start + 7])
    rows = spool.gallery()
    assert rows.shape == ROWS.shape and rows.nbytes == ROWS.nbytes
    assert np.array_equal(rows.read(), ROWS)
    assert np.array_equal(rows.read(3, 9), ROWS[3:9])
    assert np.array_equal(rows.take(np.array([22, 0, 0, 4])), ROWS[[22, 0, 0, 4]])


@pytest.mark.parametrize("rows", [0, 1, 4, 23, 50])
def test_blocks_cover_every_row_once(rows: int) -> None:
    blocks = list(Gallery.of(ROWS).blocks(rows))
    assert [start for start, _ in blocks] == list(range(0, 23, rows or 23))
    assert np.array_equal(np.concatenate([block for _, block in blocks]), ROWS)


@pytest.mark.parametrize("size", [1, 7, 40, 920, 5000])
def test_pieces_are_all_bytes_in_turn(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(gallery, "_PIECE_BYTES", size)
    pieces = [bytes(piece) for piece in Gallery.of(ROWS).pieces()]
    assert b"".join(pieces) == ROWS.tobytes()
    assert {len(piece) for piece in pieces[:-1]} <= {size}


def test_a_resident_gallery_reads_the_same() -> None:
    assert np.array_equal(Gallery.of(ROWS).resident().read(2, 30), ROWS[2:])


def test_threads_do_not_disturb_each_others_reading() -> None:
    rows, wrong = Gallery.of(np.arange(50_000, dtype=np.int64)), []

    def work(seed: int) -> None:
        for start in np.random.default_rng(seed).integers(0, 49_000, 300).tolist():
            if not np.array_equal(rows.read(start, start + 900), np.arange(start, start + 900)):
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_empty_gallery_has_no_blocks() -> None:
    rows = Spool((3,), np.float32).gallery()
    assert len(rows) == 0 and rows.read().shape == (0, 3)
    assert list(rows.blocks()) == list(rows.pieces()) == []
