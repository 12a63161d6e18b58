#!/usr/bin/env python3
"""Times Quiver and its peers on one model, interleaved run by run, beside what the machine allows.

    peers.py FOLDER --llama-folder DIR --json result.json

FOLDER is what make_shape.py or make_twins.py wrote. Every run is a process of its own: it loads the model, answers
a prompt of 16 tokens, reads a prompt and decodes, each with tokens that no run before it had. In each round every
program runs once with each number of threads, and the machine's limits are measured.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from entries import Entry, find_entries
from report import Measured, Roofline, print_report

ROOT = Path(__file__).resolve().parents[2]
INTERESTING_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("folder", type=Path)
    option("--peers", default="quiver,llama.cpp,ik,ik-repack", help="of these, mlx, and llama.cpp:haswell and the like")
    option("--models", default="", help="names in FOLDER, without .gguf; all where not given")
    option("--variant", action="append", default=[], metavar="NAME=WORDS",
           help="Quiver once more with these options, e.g. 'exact=--compute exact' or 'avx2=QUIVER_ISA=avx2'")
    option("--threads", default="1,2")
    option("--rounds", type=int, default=5)
    option("--prompt", type=int, default=512)
    option("--gen", type=int, default=64)
    option("--depth", type=int, default=16, help="tokens of context before decoding")
    option("--sequences", type=int, default=1, help="sequences that decode together")
    option("--kv", default="f16", help="of Quiver; --variant sets others beside it")
    option("--peer-kv", default="f16", help="f32, f16, q8_0 or q4_0")
    option("--bin", type=Path, default=ROOT / "build/release/bin", help="folder of bench_end_to_end and bench_roofline")
    option("--llama-folder", default=os.environ.get("PEERS_LLAMA_FOLDER", ""),
           help="libraries of llama.cpp; those of the wheel where not given")
    option("--json", type=Path, help="writes all runs there")
    return parser.parse_args()


def machine() -> dict[str, Any]:
    text = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    flags = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", "unknown"),
        "cpus": os.cpu_count(),
        "features": [flag for flag in INTERESTING_FLAGS if flag in flags],
    }


def measure_roofline(program: Path, threads: list[int]) -> dict[str, Any]:
    done = subprocess.run([program, *map(str, threads)], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_options(options: argparse.Namespace, entry: Entry) -> dict[str, Any]:
    shape = {name: getattr(options, name) for name in ("prompt", "gen", "depth", "sequences")}
    if "--kv" in entry.command:
        return shape
    return {**shape, "kv": options.kv if entry.is_quiver else options.peer_kv}


def warm_up(entries: list[Entry], options: argparse.Namespace) -> list[Entry]:
    """Runs each entry shortly, so that files are in memory and plugins known; those that fail are left out."""
    good = []
    for entry in entries:
        try:
            entry.run(1, 0, {**run_options(options, entry), "prompt": 0, "gen": 1, "depth": 1})
            good.append(entry)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"{entry.label} is left out: {error}", file=sys.stderr)
    return good


def measure(entries: list[Entry], options: argparse.Namespace, threads: list[int]) -> tuple[list[Measured], Roofline]:
    measured = [Measured(entry, count) for count in threads for entry in entries]
    roofline = Roofline()
    for index in range(options.rounds):
        print(f"round {index + 1} of {options.rounds}", file=sys.stderr)
        roofline.rounds.append(measure_roofline(options.bin / "bench_roofline", threads))
        seed = secrets.randbits(48)  # the same prompts for all in this round
        start = index % len(measured)  # who runs first has no advantage in the end
        for item in measured[start:] + measured[:start]:
            item.runs.append(item.entry.run(item.threads, seed, run_options(options, item.entry)))
    return measured, roofline


def main() -> None:
    options = parse()
    threads = [int(count) for count in options.threads.split(",")]
    peers, models = options.peers.split(","), [name for name in options.models.split(",") if name]
    bench = options.bin / "bench_end_to_end"
    entries = find_entries(options.folder, peers, models, options.variant, bench, options.llama_folder)
    entries = warm_up(entries, options)
    if not entries:
        raise SystemExit(f"{options.folder}: no program runs a model of this folder")
    load_before = os.getloadavg()[0]
    measured, roofline = measure(entries, options, threads)
    context = {
        "machine": machine(),
        "load": [load_before, os.getloadavg()[0]],
        "options": {name: str(value) for name, value in vars(options).items()},
    }
    print_report(measured, roofline, options, context)
    if options.json:
        runs = [item.as_json() for item in measured]
        document = {**context, "roofline": roofline.rounds, "measured": runs}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
