"""Lengthens the saved context of llama.cpp: what it holds, again and again, at the positions that follow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


class _Reader:
    def __init__(self, state: bytes) -> None:
        self._bytes: Bytes = np.frombuffer(state, np.uint8)
        self._at = 0

    def take(self, count: int) -> Bytes:
        taken = self._bytes[self._at : self._at + count]
        if len(taken) != count:
            raise SystemExit("llama.cpp saves contexts in another form than llama_state.py reads")
        self._at += count
        return taken

    def number(self, kind: str) -> int:
        return int(self.take(np.dtype(kind).itemsize).view(kind)[0])

    def is_at_end(self) -> bool:
        return self._at == len(self._bytes)


def lengthened(state: bytes, length: int) -> bytes:
    """`state` is of one sequence, with values that are not transposed (flash attention).

    Layout, little-endian: a mark u32, flags u32, streams u32; cells u32; per cell position i32, sequences u32, their
    ids i32 each; transposed u32, layers u32; per layer type i32, bytes a row u64, rows of keys; the same for values.
    """
    reader = _Reader(state)
    parts = [reader.take(12)]
    cells = reader.number("<u4")
    ids: list[int] = []
    for _ in range(cells):
        reader.take(4)
        ids = [reader.number("<i4") for _ in range(reader.number("<u4"))]
    per_cell = [[position, len(ids), *ids] for position in range(length)]
    parts += [np.array([length], "<u4").view(np.uint8), np.array(per_cell, "<i4").view(np.uint8).ravel()]
    is_transposed, layers = reader.number("<u4"), reader.number("<u4")
    parts.append(np.array([is_transposed, layers], "<u4").view(np.uint8))
    for _ in range(2 * layers):
        parts.append(reader.take(4))
        row = reader.number("<u8")
        rows = reader.take(cells * row).reshape(cells, row)
        parts += [np.array([row], "<u8").view(np.uint8), rows[np.arange(length) % cells].ravel()]
    if is_transposed or not reader.is_at_end():
        raise SystemExit("llama.cpp saves contexts in another form than llama_state.py reads")
    return b"".join(part.tobytes() for part in parts)
