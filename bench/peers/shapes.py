"""Shapes of models: what tensors they have, in folders and in GGUF files."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from affine import Floats


@dataclass(frozen=True)
class Matrix:
    name: str  # in the folder, without ".weight"
    gguf_name: str  # in the GGUF file, likewise
    rows: int
    columns: int
    scale: float  # standard deviation of its weights


@dataclass(frozen=True)
class Vector:
    """Values that stay floats."""

    name: str  # in the folder
    gguf_name: str
    shape: tuple[int, ...]  # in the folder
    gguf_shape: tuple[int, ...]
    mean: float = 1.0
    deviation: float = 0.05
    to_gguf: Callable[[Floats], Floats] = lambda values: values


@dataclass(frozen=True)
class Shape(ABC):
    config: dict[str, Any]

    # Of the folder and of the GGUF file.
    root = "model"
    layer_norms = (("input_layernorm", "attn_norm"), ("post_attention_layernorm", "ffn_norm"))
    gguf_architecture = "llama"

    @property
    def text(self) -> dict[str, Any]:
        return self.config

    def __getattr__(self, key: str) -> Any:
        try:
            return self.text[key]
        except KeyError:
            raise AttributeError(key) from None

    @property
    def head_dim(self) -> int:
        return int(self.text.get("head_dim", self.hidden_size // self.num_attention_heads))

    def matrices(self) -> list[Matrix]:
        width, vocabulary = self.hidden_size, self.vocab_size
        found = [Matrix(f"{self.root}.embed_tokens", "token_embd", vocabulary, width, 0.05)]
        for block in range(self.num_hidden_layers):
            for name, short, rows, columns, is_last in [*self.mixer(block), *self.mlp()]:
                # What blocks add to the stream is kept small, so that it does not grow with their number.
                gain = (2 * self.num_hidden_layers) ** -0.5 if is_last else 1.0
                found.append(Matrix(f"{self.root}.layers.{block}.{name}", f"blk.{block}.{short}", rows, columns,
                                    gain * columns**-0.5))
        if not self.tie_word_embeddings:
            found.append(Matrix("lm_head", "output", vocabulary, width, 0.05))
        return found

    def vectors(self) -> list[Vector]:
        width = (self.hidden_size,)
        found = [Vector(f"{self.root}.norm.weight", "output_norm.weight", width, width)]
        for block in range(self.num_hidden_layers):
            for name, short in self.layer_norms:
                found.append(Vector(f"{self.root}.layers.{block}.{name}.weight", f"blk.{block}.{short}.weight", width,
                                    width))
            found += self.mixer_vectors(block)
        return found

    def mlp(self) -> list[tuple[str, str, int, int, bool]]:
        width, inner = self.hidden_size, self.intermediate_size
        return [
            ("mlp.gate_proj", "ffn_gate", inner, width, False),
            ("mlp.up_proj", "ffn_up", inner, width, False),
            ("mlp.down_proj", "ffn_down", width, inner, True),
        ]

    def attention(self, gates: int = 1) -> list[tuple[str, str, int, int, bool]]:
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        return [
            ("self_attn.q_proj", "attn_q", gates * queries, self.hidden_size, False),
            ("self_attn.k_proj", "attn_k", keys, self.hidden_size, False),
            ("self_attn.v_proj", "attn_v", keys, self.hidden_size, False),
            ("self_attn.o_proj", "attn_output", self.hidden_size, queries, True),
        ]

    @abstractmethod
    def mixer(self, block: int) -> list[tuple[str, str, int, int, bool]]:
        """What mixes tokens in a block: names, rows, columns, and whether its rows are added to the stream."""

    def mixer_vectors(self, block: int) -> list[Vector]:
        return []

    def attention_layers(self) -> int:
        return int(self.num_hidden_layers)

    def write_header(self, writer: gguf.GGUFWriter) -> None:
        """Everything but tensors; the vocabulary is only a number."""
        writer.add_block_count(self.num_hidden_layers)
        writer.add_context_length(self.max_position_embeddings)
        writer.add_embedding_length(self.hidden_size)
        writer.add_feed_forward_length(self.intermediate_size)
        writer.add_head_count(self.num_attention_heads)
        writer.add_head_count_kv(self.num_key_value_heads)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_layer_norm_rms_eps(self.rms_norm_eps)
        writer.add_vocab_size(self.vocab_size)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
        writer.add_tokenizer_model("no_vocab")


class LlamaShape(Shape):
    def mixer(self, block: int) -> list[tuple[str, str, int, int, bool]]:
        return self.attention()

    def write_header(self, writer: gguf.GGUFWriter) -> None:
        super().write_header(writer)
        writer.add_rope_dimension_count(self.head_dim)
        writer.add_rope_freq_base(self.rope_theta)


class HybridShape(Shape):
    """Gated delta rules, and attention with an output gate in every n-th block; without draft heads."""

    root = "language_model.model"
    layer_norms = (("input_layernorm", "attn_norm"), ("post_attention_layernorm", "post_attention_norm"))
    gguf_architecture = "qwen35"

    @property
    def text(self) -> dict[str, Any]:
        return dict(self.config.get("text_config", self.config))

    def is_attention(self, block: int) -> bool:
        return (block + 1) % int(self.full_attention_interval) == 0

    def attention_layers(self) -> int:
        return int(self.num_hidden_layers) // int(self.full_attention_interval)

    @property
    def keys(self) -> int:
        return int(self.linear_num_key_heads * self.linear_key_head_dim)

    @property
    def values(self) -> int:
        return int(self.linear_num_value_heads * self.linear_value_head_dim)

    def mixer(self, block: int) -> list[tuple[str, str, int, int, bool]]:
        if self.is_attention(block):
            return self.attention(gates=2)
        width, heads = self.hidden_size, self.linear_num_value_heads
        return [
            ("linear_attn.in_proj_qkv", "attn_qkv", 2 * self.keys + self.values, width, False),
            ("linear_attn.in_proj_z", "attn_gate", self.values, width, False),
            ("linear_attn.in_proj_b", "ssm_beta", heads, width, False),
            ("linear_attn.in_proj_a", "ssm_alpha", heads, width, False),
            ("linear_attn.out_proj", "ssm_out", width, self.values, True),
        ]

    def mixer_vectors(self, block: int) -> list[Vector]:
        layer, short = f"{self.root}.layers.{block}", f"blk.{block}"
        if self.is_attention(block):
            head = (self.head_dim,)
            return [Vector(f"{layer}.self_attn.{name}_norm.weight", f"{short}.attn_{name}_norm.weight", head, head)
                    for name in ("q", "k")]
        kernel, channels = int(self.linear_conv_kernel_dim), 2 * self.keys + self.values
        heads, head = (self.linear_num_value_heads,), (self.linear_value_head_dim,)
        rule = f"{layer}.linear_attn"
        return [
            Vector(f"{rule}.conv1d.weight", f"{short}.ssm_conv1d.weight", (channels, kernel, 1), (channels, kernel),
                   0.0, kernel**-0.5),
            Vector(f"{rule}.A_log", f"{short}.ssm_a", heads, heads, 0.0, 1.0, lambda values: -np.exp(values)),
            Vector(f"{rule}.dt_bias", f"{short}.ssm_dt.bias", heads, heads, 0.0, 1.0),
            Vector(f"{rule}.norm.weight", f"{short}.ssm_norm.weight", head, head),
        ]

    def write_header(self, writer: gguf.GGUFWriter) -> None:
        super().write_header(writer)
        rope = self.rope_parameters
        writer.add_rope_dimension_count(int(self.head_dim * rope["partial_rotary_factor"]))
        writer.add_rope_dimension_sections([*rope["mrope_section"], 0])
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_ssm_conv_kernel(self.linear_conv_kernel_dim)
        writer.add_ssm_inner_size(self.values)
        writer.add_ssm_state_size(self.linear_key_head_dim)
        writer.add_ssm_time_step_rank(self.linear_num_value_heads)
        writer.add_ssm_group_count(self.linear_num_key_heads)
        writer.add_uint32(f"{self.gguf_architecture}.full_attention_interval", self.full_attention_interval)


SHAPES: dict[str, type[Shape]] = {"llama": LlamaShape, "qwen3_5": HybridShape}


def shape_of(config: dict[str, Any]) -> Shape:
    kind = config.get("model_type")
    if kind not in SHAPES:
        raise SystemExit(f"model_type is {kind!r}, and only {', '.join(SHAPES)} have a GGUF twin here")
    return SHAPES[kind](config)


def read_shape(path: Path) -> Shape:
    config = json.loads(path.read_text())
    config.get("text_config", config).pop("mtp_num_hidden_layers", None)
    return shape_of(config)
