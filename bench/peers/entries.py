"""What is measured: programs on models, each a command that prints one line of JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf

from affine import read_safetensors
from llama_library import CPU_VARIABLE, FOLDER_VARIABLE

WORKER = Path(__file__).with_name("worker.py")
LONGEST_RUN_S = 3600


@dataclass(frozen=True)
class Entry:
    """`command` ends where the options of a run begin."""

    program: str
    model: Path
    weight_bytes: int  # read for each decoded token
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.program} {self.model.stem}"

    @property
    def is_quiver(self) -> bool:
        return self.program.startswith("quiver")

    def run(self, threads: int, seed: int, options: dict[str, Any]) -> dict[str, Any]:
        """One process. Raises RuntimeError with the end of what it wrote where it fails."""
        done = subprocess.run(self.words(threads, seed, options), capture_output=True, text=True,
                              env=self.surroundings(threads), timeout=LONGEST_RUN_S)
        if done.returncode != 0:
            raise RuntimeError((done.stderr or done.stdout).strip()[-300:] or f"exit status {done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result


    def words(self, threads: int, seed: int, options: dict[str, Any]) -> list[str]:
        words = [*self.command, "--threads", str(threads), "--seed", str(seed)]
        for name, value in options.items():
            words += [f"--{name}", str(value)]
        return words

    def surroundings(self, threads: int) -> dict[str, str]:
        limits = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        return {**os.environ, **limits, **self.environment}


def find_entries(folder: Path, peers: list[str], models: list[str], variants: list[str], bench: Path,
                 llama_folder: str) -> list[Entry]:
    """All programs on all models of a folder that they read; `models` are the names wanted, none = all."""
    found: list[Entry] = []
    for peer in peers:
        for path in sorted(folder.iterdir()):
            is_folder = (path / "config.json").exists()
            if (models and path.stem not in models) or not (is_folder or path.suffix == ".gguf"):
                continue
            if is_folder and peer == "quiver":
                found += [quiver_entry(path, variant, bench) for variant in ["", *variants]]
            elif is_folder == (peer == "mlx") and peer != "quiver":
                found.append(peer_entry(peer, path, llama_folder))
    return found


def quiver_entry(model: Path, variant: str, bench: Path) -> Entry:
    """`variant` is NAME=WORDS: options of bench_end_to_end, and settings of the environment before them."""
    name, _, text = variant.partition("=")
    words = shlex.split(text)
    settings = [word for word in words if re.match(r"[A-Z_]+=", word)]
    options = [word for word in words if word not in settings]
    program = f"quiver:{name}" if name else "quiver"
    environment = dict(word.split("=", 1) for word in settings)
    return Entry(program, model, folder_bytes(model), (str(bench), str(model), *options), environment)


def peer_entry(peer: str, model: Path, llama_folder: str) -> Entry:
    """`peer` may be llama.cpp:CPU, which names the code for a kind of processor."""
    name, _, cpu = peer.partition(":")
    size = folder_bytes(model) if model.is_dir() else gguf_bytes(model)
    environment = {FOLDER_VARIABLE: llama_folder, CPU_VARIABLE: cpu}
    return Entry(peer, model, size, (sys.executable, str(WORKER), name, str(model)), environment)


def folder_bytes(folder: Path) -> int:
    """Of all tensors, less an embedding that is not the head too."""
    sizes = {spec.name: spec.size for path in folder.glob("*.safetensors") for spec, _ in read_safetensors(path)}
    has_head = any(name.startswith("lm_head.") for name in sizes)
    return sum(size for name, size in sizes.items() if not (has_head and ".embed_tokens." in name))


def gguf_bytes(path: Path) -> int:
    sizes = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors}
    return sum(sizes.values()) - (sizes["token_embd.weight"] if "output.weight" in sizes else 0)
