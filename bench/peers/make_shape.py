#!/usr/bin/env python3
"""Makes a model of random weights from a shape, the same for Quiver and for readers of GGUF files.

    make_shape.py shapes/llama-0.8b.json OUT

OUT/affine4-g64 is a folder of 4-bit affine groups with the head in 4 bits too; OUT/Q4_0.gguf and so on hold the
same weights in the formats of llama.cpp, 4.5 to 5 bits a weight. There is no tokenizer: models are fed ids.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import gguf
import numpy as np

from affine import AffineFormat, Floats, SafetensorsWriter, TensorSpec, from_bf16, part_specs, quantize, to_bf16
from gguf_formats import FORMATS, requantize
from shapes import Matrix, Shape, read_shape

AFFINE = AffineFormat(bits=4, group=64)
MASTER = gguf.GGMLQuantizationType.Q8_0
CHUNK_VALUES = 4 << 20  # floats that exist at a time


def add_tensor_infos(writer: gguf.GGUFWriter, shape: Shape) -> None:
    for vector in shape.vectors():
        size = 4 * math.prod(vector.shape)
        writer.add_tensor_info(vector.gguf_name, vector.gguf_shape, np.dtype(np.float32), size)
    for matrix in shape.matrices():
        byte_shape = gguf.quant_shape_to_byte_shape((matrix.rows, matrix.columns), MASTER)
        size = byte_shape[0] * byte_shape[1]
        writer.add_tensor_info(f"{matrix.gguf_name}.weight", byte_shape, np.dtype(np.uint8), size, MASTER)


def write_vectors(shape: Shape, rng: np.random.Generator, folder: SafetensorsWriter, master: gguf.GGUFWriter) -> None:
    for vector in shape.vectors():
        drawn: Floats = rng.normal(vector.mean, vector.deviation, vector.shape).astype(np.float32)
        stored = to_bf16(drawn)
        folder.append(vector.name, stored)
        master.write_tensor_data(vector.to_gguf(from_bf16(stored)).reshape(vector.gguf_shape))


def write_matrix(
    matrix: Matrix, rng: np.random.Generator, folder: SafetensorsWriter, master: gguf.GGUFWriter
) -> None:
    blocks = []
    step = max(1, CHUNK_VALUES // matrix.columns)
    for first in range(0, matrix.rows, step):
        size = (min(step, matrix.rows - first), matrix.columns)
        rows = rng.standard_normal(size, np.float32) * np.float32(matrix.scale)
        for part, values in quantize(rows, AFFINE).items():
            folder.append(f"{matrix.name}.{part}", values)
        blocks.append(gguf.quants.quantize(rows, MASTER))
    master.write_tensor_data(np.concatenate(blocks))


def folder_specs(shape: Shape) -> list[TensorSpec]:
    specs = [TensorSpec(vector.name, "BF16", vector.shape) for vector in shape.vectors()]
    for matrix in shape.matrices():
        specs += part_specs(matrix.name, matrix.rows, matrix.columns, AFFINE)
    return specs


def make_weights(shape: Shape, folder_path: Path, master_path: Path, seed: int) -> None:
    """Draws every weight once and writes it to both files."""
    folder_path.mkdir(parents=True, exist_ok=True)
    quantization = AFFINE.config()
    config = {**shape.config, "quantization": quantization, "quantization_config": quantization}
    (folder_path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rng = np.random.default_rng(seed)
    folder = SafetensorsWriter(folder_path / "model.safetensors", folder_specs(shape))
    master = gguf.GGUFWriter(master_path, shape.gguf_architecture)
    shape.write_header(master)
    add_tensor_infos(master, shape)
    master.write_header_to_file()
    master.write_kv_data_to_file()
    master.write_ti_data_to_file()
    write_vectors(shape, rng, folder, master)
    for matrix in shape.matrices():
        write_matrix(matrix, rng, folder, master)
    folder.close()
    master.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", type=Path, help="a config.json")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--formats", default="Q4_0,Q4_1,Q4_K", help="GGUF formats, where the width allows them")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    shape = read_shape(options.shape)
    master = options.out / "master.gguf.part"
    make_weights(shape, options.out / "affine4-g64", master, options.seed)
    for name in options.formats.split(","):
        if any(matrix.columns % FORMATS[name].block for matrix in shape.matrices()):
            print(f"{name}: left out, a width is not a multiple of {FORMATS[name].block}")
            continue
        requantize(master, options.out / f"{name}.gguf", name, head=name)
    master.unlink()


if __name__ == "__main__":
    main()
