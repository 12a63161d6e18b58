#!/usr/bin/env python3
"""Makes a model of random weights from a shape, the same for Quiver and for readers of GGUF files.

    make_shape.py shapes/llama-0.8b.json OUT

OUT/affine4-g64 is a folder of 4-bit affine groups with the head in 4 bits too; OUT/Q4_0.gguf and so on hold the
same weights in the formats of llama.cpp, 4.5 to 5 bits a weight. There is no tokenizer: models are fed ids.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from affine import AffineFormat, Floats, SafetensorsWriter, TensorSpec, part_specs, quantize, to_bf16
from gguf_formats import FORMATS, requantize

AFFINE = AffineFormat(bits=4, group=64)
MASTER = gguf.GGMLQuantizationType.Q8_0
CHUNK_VALUES = 4 << 20  # floats that exist at a time


@dataclass(frozen=True)
class Matrix:
    name: str  # in the folder, without ".weight"
    gguf_name: str  # in the GGUF file, likewise
    rows: int
    columns: int
    scale: float  # standard deviation of its weights


@dataclass(frozen=True)
class Shape:
    config: dict[str, Any]

    def __getattr__(self, key: str) -> Any:
        return self.config[key]

    @property
    def head_dim(self) -> int:
        return int(self.config.get("head_dim", self.hidden_size // self.num_attention_heads))

    def matrices(self) -> list[Matrix]:
        width, vocabulary = self.hidden_size, self.vocab_size
        found = [Matrix("model.embed_tokens", "token_embd", vocabulary, width, 0.05)]
        for block in range(self.num_hidden_layers):
            found += self._block(block)
        if not self.tie_word_embeddings:
            found.append(Matrix("lm_head", "output", vocabulary, width, 0.05))
        return found

    def norms(self) -> list[tuple[str, str]]:
        """Names in the folder and in the GGUF file."""
        found = [("model.norm.weight", "output_norm.weight")]
        for block in range(self.num_hidden_layers):
            layer = f"model.layers.{block}"
            found.append((f"{layer}.input_layernorm.weight", f"blk.{block}.attn_norm.weight"))
            found.append((f"{layer}.post_attention_layernorm.weight", f"blk.{block}.ffn_norm.weight"))
        return found

    def _block(self, block: int) -> list[Matrix]:
        width, inner = self.hidden_size, self.intermediate_size
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        # What blocks add to the stream is kept small, so that it does not grow with their number.
        damping = (2 * self.num_hidden_layers) ** -0.5
        parts = [
            ("self_attn.q_proj", "attn_q", queries, width, 1.0),
            ("self_attn.k_proj", "attn_k", keys, width, 1.0),
            ("self_attn.v_proj", "attn_v", keys, width, 1.0),
            ("self_attn.o_proj", "attn_output", width, queries, damping),
            ("mlp.gate_proj", "ffn_gate", inner, width, 1.0),
            ("mlp.up_proj", "ffn_up", inner, width, 1.0),
            ("mlp.down_proj", "ffn_down", width, inner, damping),
        ]
        return [
            Matrix(f"model.layers.{block}.{name}", f"blk.{block}.{short}", rows, columns, gain * columns**-0.5)
            for name, short, rows, columns, gain in parts
        ]


def read_shape(path: Path) -> Shape:
    config = json.loads(path.read_text())
    if config.get("model_type") != "llama":
        raise SystemExit(f"{path}: model_type is {config.get('model_type')!r}, but only 'llama' has a GGUF twin here")
    return Shape(config)


def gguf_header(path: Path, shape: Shape) -> gguf.GGUFWriter:
    """A file with everything but its tensors; the vocabulary is only a number."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("no_vocab")
    return writer


def add_tensor_infos(writer: gguf.GGUFWriter, shape: Shape) -> None:
    for _, name in shape.norms():
        width = (shape.hidden_size,)
        writer.add_tensor_info(name, width, np.dtype(np.float32), 4 * shape.hidden_size)
    for matrix in shape.matrices():
        byte_shape = gguf.quant_shape_to_byte_shape((matrix.rows, matrix.columns), MASTER)
        size = byte_shape[0] * byte_shape[1]
        writer.add_tensor_info(f"{matrix.gguf_name}.weight", byte_shape, np.dtype(np.uint8), size, MASTER)


def write_norms(shape: Shape, rng: np.random.Generator, folder: SafetensorsWriter, master: gguf.GGUFWriter) -> None:
    for name, _ in shape.norms():
        weight: Floats = rng.normal(1.0, 0.05, shape.hidden_size).astype(np.float32)
        folder.append(name, to_bf16(weight))
        master.write_tensor_data(weight)


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
    specs = [TensorSpec(name, "BF16", (shape.hidden_size,)) for name, _ in shape.norms()]
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
    master = gguf_header(master_path, shape)
    add_tensor_infos(master, shape)
    master.write_header_to_file()
    master.write_kv_data_to_file()
    master.write_ti_data_to_file()
    write_norms(shape, rng, folder, master)
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
