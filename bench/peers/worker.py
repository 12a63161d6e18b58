#!/usr/bin/env python3
"""Times one peer on one model in a process of its own, as bench_end_to_end does for Quiver; prints the same JSON."""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_state import lengthened

FIRST_PROMPT = 16
MOST_ROWS = 512  # rows of one batch
GGML_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q8_0": 8}
MASK = (1 << 64) - 1
Ids = npt.NDArray[np.int32]


class RandomIds:
    """The prompts of bench_end_to_end: SplitMix64 modulo the vocabulary."""

    def __init__(self, seed: int, vocabulary: int) -> None:
        self._state = seed & MASK
        self._vocabulary = vocabulary

    def take(self, count: int) -> Ids:
        return np.array([self._next() % self._vocabulary for _ in range(count)], np.int32)

    def _next(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        bits = self._state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        return bits ^ (bits >> 31)


@dataclass(frozen=True)
class Settings:
    model: str
    threads: int
    prompt: int
    gen: int
    runs: int
    depth: int
    sequences: int
    kv: str
    seed: int
    fed: int = 0
    turns: bool = False

    @property
    def tokens_per_sequence(self) -> int:
        return max(self.prompt, self.depth + self.gen) + 64


class Peer(ABC):
    """A loaded model with room for the sequences 0, 1, .. of the settings."""

    vocabulary: int
    program: str
    system: str

    @abstractmethod
    def prompt(self, ids: Ids, sequence: int, position: int) -> int:
        """Feeds at most MOST_ROWS tokens and returns the likeliest next one."""

    @abstractmethod
    def step(self, tokens: list[int], position: int) -> list[int]:
        """Feeds one token to each sequence and returns the likeliest next ones."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Forgets what all sequences have from `length` on."""

    def lengthen(self, sequence: int, length: int) -> None:
        """Makes a context of `length` tokens of the shorter one that a sequence holds."""
        raise SystemExit(f"{self.program} cannot lengthen a context; leave --fed out")


class LlamaPeer(Peer):
    """What llama.cpp and its fork have in common: batches and logits, through cffi or ctypes."""

    _batch: Any
    _decode: Callable[[], int]
    _logits: Callable[[int], Any]

    def prompt(self, ids: Ids, sequence: int, position: int) -> int:
        for i, token in enumerate(ids.tolist()):
            self._set_row(i, token, position + i, sequence, i + 1 == len(ids))
        self._run(len(ids))
        return self._likeliest(len(ids) - 1)

    def step(self, tokens: list[int], position: int) -> list[int]:
        for i, token in enumerate(tokens):
            self._set_row(i, token, position, i, True)
        self._run(len(tokens))
        return [self._likeliest(i) for i in range(len(tokens))]

    def _set_row(self, row: int, token: int, position: int, sequence: int, has_logits: bool) -> None:
        batch = self._batch
        batch.token[row] = token
        batch.pos[row] = position
        batch.n_seq_id[row] = 1
        batch.seq_id[row][0] = sequence
        batch.logits[row] = has_logits

    def _run(self, rows: int) -> None:
        self._batch.n_tokens = rows
        status = self._decode()
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")

    def _likeliest(self, row: int) -> int:
        return int(np.frombuffer(self._logits(row), np.float32, self.vocabulary).argmax())


class LlamaCpp(LlamaPeer):
    def __init__(self, settings: Settings) -> None:
        from llama_library import open_llama

        llama = open_llama()
        ffi, lib = llama.ffi, llama.library
        lib.llama_backend_init()
        model_params = lib.llama_model_default_params()
        model_params.n_gpu_layers = 0
        model = lib.llama_model_load_from_file(settings.model.encode(), model_params)
        params = lib.llama_context_default_params()
        params.n_ctx = settings.tokens_per_sequence * settings.sequences
        params.n_batch = params.n_ubatch = MOST_ROWS
        params.n_seq_max = settings.sequences
        params.n_threads = params.n_threads_batch = settings.threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.type_k = params.type_v = GGML_TYPES[settings.kv]
        context = lib.llama_init_from_model(model, params) if model else ffi.NULL
        if not context:
            raise SystemExit(f"llama.cpp could not load {settings.model}")
        self._lib, self._memory, self._sequences = lib, lib.llama_get_memory(context), settings.sequences
        self._ffi, self._context = ffi, context
        self._batch = lib.llama_batch_init(MOST_ROWS, 0, 1)
        self._decode = lambda: int(lib.llama_decode(context, self._batch))
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        self._logits = lambda row: ffi.buffer(lib.llama_get_logits_ith(context, row), 4 * self.vocabulary)
        self.program = f"llama.cpp {ffi.string(lib.llama_version()).decode()}"
        self.system = ffi.string(lib.llama_print_system_info()).decode()

    def truncate(self, length: int) -> None:
        for sequence in range(self._sequences):
            self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def lengthen(self, sequence: int, length: int) -> None:
        size = self._lib.llama_state_seq_get_size(self._context, sequence)
        state = self._ffi.new("uint8_t[]", size)
        self._lib.llama_state_seq_get_data(self._context, state, size, sequence)
        longer = lengthened(bytes(self._ffi.buffer(state)), length)
        self._lib.llama_memory_seq_rm(self._memory, sequence, 0, -1)
        if self._lib.llama_state_seq_set_data(self._context, longer, len(longer), sequence) == 0:
            raise SystemExit(f"{self.program} refuses a context of {length} tokens")


class IkLlamaCpp(LlamaPeer):
    def __init__(self, settings: Settings, repacks: bool) -> None:
        from ik_llama_cpp import _ctypes_api as api

        lib: Any = api._lib
        on_message = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self._on_message = on_message(lambda level, text, data: None)
        lib.llama_log_set(self._on_message, None)
        api.llama_backend_init()
        model_params = api.llama_model_default_params()
        model_params.repack_tensors = repacks
        model_params.use_mmap = not repacks  # repacked in place, which a mapped file forbids
        model = api.llama_model_load_from_file(settings.model.encode(), model_params)
        params = api.llama_context_default_params()
        params.n_ctx = settings.tokens_per_sequence * settings.sequences
        params.n_batch = params.n_ubatch = MOST_ROWS
        params.n_seq_max = settings.sequences
        params.n_threads = params.n_threads_batch = settings.threads
        params.flash_attn = settings.sequences == 1  # an assertion fails in it with several
        params.type_k = params.type_v = GGML_TYPES[settings.kv]
        context = api.llama_init_from_model(model, params) if model else None
        if not context:
            raise SystemExit(f"ik_llama.cpp could not load {settings.model}")
        self._remove = lib.llama_kv_cache_seq_rm
        self._remove.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
        self._remove.restype = ctypes.c_bool
        lib.llama_print_system_info.restype = ctypes.c_char_p
        self._context, self._sequences = context, settings.sequences
        self._batch = api.llama_batch_init(MOST_ROWS, 0, 1)
        self._decode = lambda: int(api.llama_decode(context, self._batch))
        self.vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
        bytes_of_logits = ctypes.c_char * (4 * self.vocabulary)
        self._logits = lambda row: ctypes.cast(
            api.llama_get_logits_ith(context, row), ctypes.POINTER(bytes_of_logits)
        ).contents
        self.program = f"ik_llama.cpp of ik-llama-cpp-python {importlib.metadata.version('ik-llama-cpp-python')}"
        self.system = lib.llama_print_system_info().decode()

    def truncate(self, length: int) -> None:
        for sequence in range(self._sequences):
            self._remove(self._context, sequence, length, -1)


class Mlx(Peer):
    """One sequence; a correctness reference, since its code for x86 has no vectors."""

    def __init__(self, settings: Settings) -> None:
        import mlx.core as mx
        from mlx_lm.models import cache
        from mlx_lm.utils import load_model

        if settings.sequences != 1 or settings.kv != "f16":
            raise SystemExit("mlx is measured with one sequence and 16-bit keys and values only")
        mx.set_default_device(mx.cpu)
        self._mx, self._cache_module = mx, cache
        self._model, config = load_model(Path(settings.model))
        self._cache = cache.make_prompt_cache(self._model)
        self.vocabulary = int(config["vocab_size"])
        self.program = f"mlx {importlib.metadata.version('mlx')}, mlx-lm {importlib.metadata.version('mlx-lm')}"
        self.system = "cpu"

    def prompt(self, ids: Ids, sequence: int, position: int) -> int:
        logits = self._model(self._mx.array(ids[None]), cache=self._cache)
        return int(self._mx.argmax(logits[0, -1]))

    def step(self, tokens: list[int], position: int) -> list[int]:
        return [self.prompt(np.array(tokens, np.int32), 0, position)]

    def truncate(self, length: int) -> None:
        self._cache_module.trim_prompt_cache(self._cache, max(0, self._cache[0].offset - length))


PEERS: dict[str, Callable[[Settings], Peer]] = {
    "llama.cpp": LlamaCpp,
    "ik": lambda settings: IkLlamaCpp(settings, repacks=False),
    "ik-repack": lambda settings: IkLlamaCpp(settings, repacks=True),
    "mlx": Mlx,
}


@dataclass
class Series:
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def time(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def memory(name: str) -> int:
    """VmHWM (the peak) or VmRSS of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def feed(peer: Peer, ids: Ids, sequence: int) -> None:
    for first in range(0, len(ids), MOST_ROWS):
        peer.prompt(ids[first : first + MOST_ROWS], sequence, first)


def decode(peer: Peer, tokens: list[int], settings: Settings) -> None:
    for i in range(settings.gen):
        tokens = peer.step(tokens, settings.depth + i)


def turns() -> Iterator[int]:
    """Lets programs with contexts that take long to fill decode in turns: one for each line of the input."""
    print("ready", flush=True)
    yield from (index for index, _ in enumerate(sys.stdin))


def measure(make: Callable[[Settings], Peer], settings: Settings) -> dict[str, Any]:
    base = memory("VmRSS")
    start = time.perf_counter()
    peer = make(settings)
    load_s = time.perf_counter() - start
    ids = RandomIds(settings.seed, peer.vocabulary)
    first_token = peer.prompt(ids.take(FIRST_PROMPT), 0, 0)
    first_token_s = time.perf_counter() - start
    prefills, decodes = Series(), Series()
    for _ in range(settings.runs if settings.prompt else 0):
        prompt = ids.take(settings.prompt)
        peer.truncate(0)
        with prefills.time():
            feed(peer, prompt, 0)
    if settings.gen:
        peer.truncate(0)
        for sequence in range(settings.sequences):
            feed(peer, ids.take(settings.fed or settings.depth), sequence)
            if settings.fed:
                peer.lengthen(sequence, settings.depth)
    for _ in turns() if settings.turns else range(settings.runs if settings.gen else 0):
        tokens = ids.take(settings.sequences).tolist()
        peer.truncate(settings.depth)
        with decodes.time():
            decode(peer, tokens, settings)
        if settings.turns:
            print(decodes.wall[-1], flush=True)
    return {
        "program": peer.program,
        "system": peer.system,
        "threads": settings.threads,
        "kv": settings.kv,
        "load_ms": 1e3 * load_s,
        "first_token_ms": 1e3 * first_token_s,
        "prefill_wall_s": prefills.wall,
        "prefill_cpu_s": prefills.cpu,
        "decode_wall_s": decodes.wall,
        "decode_cpu_s": decodes.cpu,
        "base_bytes": base,
        "peak_bytes": memory("VmHWM"),
        "resident_bytes": memory("VmRSS"),
        "first_token": first_token,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("model", help="GGUF file, or a folder for mlx")
    for name, default in (("threads", 1), ("prompt", 512), ("gen", 64), ("runs", 1), ("depth", FIRST_PROMPT)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--fed", type=int, default=0, help="tokens of the context that are fed, and then repeated")
    parser.add_argument("--kv", choices=GGML_TYPES, default="f16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--turns", action="store_true")
    options = vars(parser.parse_args())
    make = PEERS[options.pop("peer")]
    os.environ["OMP_NUM_THREADS"] = str(options["threads"])
    print(json.dumps(measure(make, Settings(**options))))


if __name__ == "__main__":
    main()
