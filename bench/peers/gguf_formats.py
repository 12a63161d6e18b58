"""The 4-bit formats of llama.cpp: GGUF files requantized by the library itself."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from llama_library import open_llama


@dataclass(frozen=True)
class GgufFormat:
    file_type: str  # of llama.h
    tensor_type: str  # of ggml.h
    block: int  # the width of a matrix is a multiple of this


FORMATS: dict[str, GgufFormat] = {
    "Q4_0": GgufFormat("LLAMA_FTYPE_MOSTLY_Q4_0", "GGML_TYPE_Q4_0", 32),
    "Q4_1": GgufFormat("LLAMA_FTYPE_MOSTLY_Q4_1", "GGML_TYPE_Q4_1", 32),
    "Q4_K": GgufFormat("LLAMA_FTYPE_MOSTLY_Q4_K_S", "GGML_TYPE_Q4_K", 256),
    "IQ4_NL": GgufFormat("LLAMA_FTYPE_MOSTLY_IQ4_NL", "GGML_TYPE_IQ4_NL", 32),
}


def requantize(source: Path, target: Path, name: str, head: str, threads: int = 0) -> None:
    """Writes `target` with all matrices in the format `name`, embedding and head in the ggml type `head`."""
    llama = open_llama()
    lib = llama.library
    form = FORMATS[name]
    params = lib.llama_model_quantize_default_params()
    params.nthread = threads
    params.ftype = getattr(lib, form.file_type)
    params.output_tensor_type = params.token_embedding_type = getattr(lib, f"GGML_TYPE_{head}")
    params.allow_requantize = True
    params.pure = True  # else some matrices get more bits than the format says
    if lib.llama_model_quantize(str(source).encode(), str(target).encode(), llama.ffi.addressof(params)) != 0:
        raise RuntimeError(f"llama.cpp could not write {target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="Q4_0")
    parser.add_argument("--head", default="Q8_0", help="ggml type of embedding and head")
    options = parser.parse_args()
    requantize(options.source, options.target, options.format, options.head)


if __name__ == "__main__":
    main()
