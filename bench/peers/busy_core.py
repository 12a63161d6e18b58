#!/usr/bin/env python3
"""Times decoding with one thread and with as many as there are processors while one of these is busy with other work.

    busy_core.py FOLDER --models affine4-g64,Q4_0

A program whose threads wait for one that does not run loses most of its speed there. Rounds are interleaved; the
ratio is that of many threads against one, so 1 means that nothing is lost.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
from pathlib import Path

from entries import Entry, find_entries
from peers import ROOT


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("folder", type=Path)
    option("--peers", default="quiver,llama.cpp", help="as of peers.py")
    option("--models", default="", help="names in FOLDER, without .gguf; all where not given")
    option("--rounds", type=int, default=7)
    option("--gen", type=int, default=64)
    option("--bin", type=Path, default=ROOT / "build/release/bin", help="folder of bench_end_to_end")
    option("--llama-folder", default=os.environ.get("PEERS_LLAMA_FOLDER", ""),
           help="libraries of llama.cpp; those of the wheel where not given")
    return parser.parse_args()


def be_busy(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    while True:
        pass


def rate(entry: Entry, threads: int, seed: int, gen: int) -> float:
    run = entry.run(threads, seed, {"prompt": 0, "gen": gen, "depth": 16})
    return gen / statistics.median(run["decode_wall_s"])


def main() -> None:
    options = parse()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("one processor cannot be busy beside another")
    entries = find_entries(options.folder, options.peers.split(","), [n for n in options.models.split(",") if n], [],
                           options.bin / "bench_end_to_end", options.llama_folder)
    busy = multiprocessing.Process(target=be_busy, args=(cpus[-1],), daemon=True)
    busy.start()
    print(f"| program | 1 thread, tok/s | {len(cpus)} threads, tok/s | ratio, median of {options.rounds} |")
    print("|---|---|---|---|")
    try:
        rates: dict[str, list[tuple[float, float]]] = {entry.label: [] for entry in entries}
        for index in range(options.rounds):
            for entry in entries:
                one = rate(entry, 1, index, options.gen)
                rates[entry.label].append((one, rate(entry, len(cpus), index, options.gen)))
    finally:
        busy.terminate()
    for label, pairs in rates.items():
        one, many = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        ratios = sorted(pair[1] / pair[0] for pair in pairs)
        print(f"| {label} | {one:.1f} | {many:.1f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")


if __name__ == "__main__":
    main()
