"""Finds and opens llama.cpp: a folder of its shared libraries, or those of the wheel llama-cpp-py-sync."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER_VARIABLE = "PEERS_LLAMA_FOLDER"  # empty or not set = the wheel's own libraries
CPU_VARIABLE = "PEERS_LLAMA_CPU"  # e.g. haswell; empty or not set = the best for this processor
_GGML_TYPE_F16 = 1


@dataclass(frozen=True)
class Llama:
    ffi: Any
    library: Any
    on_message: Any  # held, because the library calls it as long as it lives


@functools.cache
def open_llama() -> Llama:
    """The library, silenced. The wheel's declarations serve for other builds of about the same age."""
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    folder = os.environ.get(FOLDER_VARIABLE)
    ffi: Any = get_ffi()  # type: ignore[no-untyped-call]
    if folder:
        library = ffi.dlopen(str(_only(Path(folder), "libllama.*so*")))
    else:
        library = get_lib()  # type: ignore[no-untyped-call]
    on_message = ffi.callback("void(enum ggml_log_level, const char *, void *)", lambda level, text, data: None)
    library.llama_log_set(on_message, ffi.NULL)
    if folder:
        _load_processor_code(Path(folder))
    defaults = library.llama_context_default_params()
    if defaults.n_ubatch != 512 or defaults.type_v != _GGML_TYPE_F16:
        raise SystemExit(f"llama.cpp in {folder or 'the wheel'} does not have the structures of the declarations")
    return Llama(ffi, library, on_message)


def _load_processor_code(folder: Path) -> None:
    """Builds with one library per processor choose among them, or load the one that is named."""
    registry = ctypes.CDLL(str(_only(folder, "libggml.*so*")))
    name = os.environ.get(CPU_VARIABLE)
    if not name:
        registry.ggml_backend_load_all_from_path(str(folder).encode())
        return
    registry.ggml_backend_load.restype = ctypes.c_void_p
    if not registry.ggml_backend_load(str(folder / f"libggml-cpu-{name}.so").encode()):
        raise SystemExit(f"{folder} has no code for processors of the kind {name!r} that runs here")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise SystemExit(f"{folder} has no {pattern}")
    return found[0]
