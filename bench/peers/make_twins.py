#!/usr/bin/env python3
"""Makes one model in several 4-bit formats of about the same size from a GGUF file, for Quiver and for its peers.

    make_twins.py SmolLM2-135M-Instruct.Q4_1.gguf OUT --quiver build/release/bin/quiver

OUT/imported is what `quiver import --keep-quantized` makes; OUT/affine-g64 has the same bits in groups of 64, which
are half a bit a weight smaller; OUT/*.gguf are the file itself and formats of llama.cpp made from it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from affine import (
    AffineFormat,
    SafetensorsWriter,
    TensorSpec,
    dequantize,
    from_bf16,
    part_specs,
    quantize,
    read_safetensors,
)
from gguf_formats import FORMATS, requantize

GROUP = 64
Tensors = dict[str, tuple[TensorSpec, npt.NDArray[Any]]]


def as_floats(spec: TensorSpec, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return from_bf16(values) if spec.dtype == "BF16" else values.astype(np.float32)


def regroup(source: Path, target: Path) -> None:
    """Copies an affine folder with the same bits in groups of GROUP weights."""
    target.mkdir(parents=True, exist_ok=True)
    config = json.loads((source / "config.json").read_text())
    tensors: Tensors = {spec.name: (spec, values) for spec, values in read_safetensors(source / "model.safetensors")}
    modules = {name.removesuffix(".scales") for name in tensors if name.endswith(".scales")}
    forms = {module: format_of(config, module) for module in modules}
    kept = [spec for name, (spec, _) in tensors.items() if name.rpartition(".")[0] not in modules]
    specs = list(kept)
    for module, form in forms.items():
        rows, words = tensors[f"{module}.weight"][0].shape
        specs += part_specs(module, rows, words * 32 // form.bits, AffineFormat(form.bits, GROUP))
    writer = SafetensorsWriter(target / "model.safetensors", specs)
    for spec in kept:
        writer.append(spec.name, tensors[spec.name][1])
    for module, form in forms.items():
        parts: dict[str, npt.NDArray[Any]] = {"weight": tensors[f"{module}.weight"][1]}
        for part in ("scales", "biases"):
            parts[part] = as_floats(*tensors[f"{module}.{part}"])
        for part, values in quantize(dequantize(parts, form), AffineFormat(form.bits, GROUP)).items():
            writer.append(f"{module}.{part}", values)
    writer.close()
    (target / "config.json").write_text(json.dumps(with_group(config), indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        if (source / name).exists():
            shutil.copy(source / name, target)


def format_of(config: dict[str, Any], module: str) -> AffineFormat:
    table = config["quantization"]
    entry = table.get(module, table)
    return AffineFormat(entry["bits"], entry["group_size"])


def with_group(config: dict[str, Any]) -> dict[str, Any]:
    """The config with GROUP in every entry about quantization."""

    def changed(table: dict[str, Any]) -> dict[str, Any]:
        result = {key: changed(value) if isinstance(value, dict) else value for key, value in table.items()}
        return {**result, "group_size": GROUP} if "group_size" in table else result

    return {key: changed(value) if key.startswith("quantization") else value for key, value in config.items()}


def file_format(path: Path) -> str:
    """The commonest type of the matrices."""
    types = [tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) == 2]
    return max(set(types), key=types.count)


def widths(path: Path) -> set[int]:
    """Of the matrices in the blocks: embedding and head have a type of their own."""
    tensors = gguf.GGUFReader(path).tensors
    return {int(tensor.shape[0]) for tensor in tensors if tensor.name.startswith("blk.") and len(tensor.shape) == 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a GGUF file")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--quiver", type=Path, required=True, help="the program")
    parser.add_argument("--formats", default="Q4_0,Q4_K", help="GGUF formats, where the width allows them")
    parser.add_argument("--head", default="Q8_0", help="ggml type of embedding and head in them")
    options = parser.parse_args()
    source, out = options.source.resolve(), options.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = [options.quiver, "import", source, "-o", out / "imported", "--keep-quantized"]
    subprocess.run(command, check=True)
    regroup(out / "imported", out / "affine-g64")
    (out / f"{file_format(source)}.gguf").symlink_to(source)
    for name in options.formats.split(","):
        if any(width % FORMATS[name].block for width in widths(source)):
            print(f"{name}: left out, a width is not a multiple of {FORMATS[name].block}")
            continue
        requantize(source, out / f"{name}.gguf", name, options.head)


if __name__ == "__main__":
    main()
