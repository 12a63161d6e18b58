"""Affine quantization in the layout of MLX folders, and safetensors files written and read a tensor at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
DTYPES: dict[str, Any] = {"U32": np.uint32, "F16": np.float16, "BF16": np.uint16, "F32": np.float32}


@dataclass(frozen=True)
class AffineFormat:
    bits: int
    group: int

    def config(self) -> dict[str, Any]:
        return {"bits": self.bits, "group_size": self.group, "mode": "affine"}


def to_bf16(values: Floats) -> npt.NDArray[np.uint16]:
    """Rounded to nearest, ties to even; the values are finite."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits: npt.NDArray[np.uint16]) -> Floats:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def quantize(rows: Floats, form: AffineFormat) -> dict[str, npt.NDArray[Any]]:
    """The parts `weight`, `scales` and `biases` of rows [n, k]; k is a multiple of the group."""
    groups = rows.reshape(rows.shape[0], -1, form.group)
    low, high = groups.min(axis=2), groups.max(axis=2)
    most = 2**form.bits - 1
    scales = to_bf16(np.maximum((high - low) / most, 1e-7))
    biases = to_bf16(low)
    steps = (groups - from_bf16(biases)[:, :, None]) / from_bf16(scales)[:, :, None]
    codes = np.clip(np.rint(steps), 0, most).astype(np.uint32).reshape(rows.shape[0], -1, 32 // form.bits)
    shifts = np.arange(0, 32, form.bits, dtype=np.uint32)
    weight = np.bitwise_or.reduce(codes << shifts, axis=2)
    return {"weight": weight, "scales": scales, "biases": biases}


def dequantize(parts: dict[str, npt.NDArray[Any]], form: AffineFormat) -> Floats:
    """The rows of parts as they were stored: codes in 32-bit words, parameters as float32."""
    shifts = np.arange(0, 32, form.bits, dtype=np.uint32)
    words = parts["weight"]
    codes = (words[:, :, None] >> shifts) & np.uint32(2**form.bits - 1)
    groups = codes.reshape(words.shape[0], -1, form.group).astype(np.float32)
    rows = groups * parts["scales"][:, :, None] + parts["biases"][:, :, None]
    return np.asarray(rows.reshape(words.shape[0], -1), np.float32)


def part_specs(name: str, rows: int, columns: int, form: AffineFormat) -> list[TensorSpec]:
    """What quantize() gives for a matrix, as tensors of a file."""
    groups = columns // form.group
    return [
        TensorSpec(f"{name}.weight", "U32", (rows, columns * form.bits // 32)),
        TensorSpec(f"{name}.scales", "BF16", (rows, groups)),
        TensorSpec(f"{name}.biases", "BF16", (rows, groups)),
    ]


@dataclass(frozen=True)
class TensorSpec:
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * int(np.dtype(DTYPES[self.dtype]).itemsize)


class SafetensorsWriter:
    """Writes tensors, whole or by rows, in the order of their specs."""

    def __init__(self, path: Path, specs: list[TensorSpec]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
        self._ends: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        at = 0
        for spec in specs:
            header[spec.name] = {"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [at, at + spec.size]}
            self._starts[spec.name], self._ends[spec.name] = at, at + spec.size
            at += spec.size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._data_start = 8 + len(text)
        self._file = path.open("wb")
        self._file.write(len(text).to_bytes(8, "little") + text)

    def append(self, name: str, values: npt.NDArray[Any]) -> None:
        """Adds values behind those that the tensor has already."""
        data = values.tobytes()
        self._file.seek(self._data_start + self._starts[name])
        self._file.write(data)
        self._starts[name] += len(data)

    def close(self) -> None:
        self._file.close()
        unfinished = [name for name, start in self._starts.items() if start != self._ends[name]]
        if unfinished:
            raise ValueError(f"not all values of {unfinished[0]} were written, or too many")


def read_safetensors(path: Path) -> Iterator[tuple[TensorSpec, npt.NDArray[Any]]]:
    """All tensors of a file, mapped; bfloat16 as its bits."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    data = np.memmap(path, np.uint8, "r", offset=8 + size)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        spec = TensorSpec(name, entry["dtype"], tuple(entry["shape"]))
        yield spec, data[start:end].view(DTYPES[spec.dtype]).reshape(spec.shape)
