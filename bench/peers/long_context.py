#!/usr/bin/env python3
"""Times decoding behind a long context, which takes so long to feed that no run can do it anew.

    long_context.py FOLDER --models affine4-g64,Q4_0 --kv f16 --kv affine:bits=8 --peer-kv f16 --peer-kv q8_0

Every program with every cache format is a process that reads its context first. When all are ready they decode in
turns, round by round, and in each round memory is read for as long as the first of them takes: short turns and many
rounds, so that a machine whose speed changes is as fast for the one as for the others. With --fed N a context is that
of N tokens, copied until it is long enough: the time of a token depends on how much it sees, not on what.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entries import Entry, find_entries
from peers import ROOT, machine


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    option = parser.add_argument
    option("folder", type=Path)
    option("--peers", default="quiver,llama.cpp", help="of these, ik, ik-repack, and llama.cpp:haswell and the like")
    option("--models", default="", help="names in FOLDER, without .gguf; all where not given")
    option("--variant", action="append", default=[], metavar="NAME=WORDS", help="as of peers.py")
    option("--kv", action="append", default=[], help="cache format of Quiver; may be given more than once")
    option("--peer-kv", action="append", default=[], help="f32, f16, q8_0 or q4_0; may be given more than once")
    option("--threads", type=int, default=2)
    option("--rounds", type=int, default=25)
    option("--gen", type=int, default=4, help="tokens a turn")
    option("--depth", type=int, default=32000)
    option("--fed", type=int, default=0, help="tokens that are fed, a multiple of 64, and then repeated; 0 = all")
    option("--bin", type=Path, default=ROOT / "build/release/bin", help="folder of bench_end_to_end and bench_roofline")
    option("--llama-folder", default=os.environ.get("PEERS_LLAMA_FOLDER", ""),
           help="libraries of llama.cpp; those of the wheel where not given")
    option("--json", type=Path, help="writes all figures there")
    return parser.parse_args()


@dataclass
class Process:
    """One that says when it is ready, and then answers each line of its input with a line."""

    label: str
    process: subprocess.Popen[str]

    def line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        if not line:
            raise SystemExit(f"{self.label} ended with exit status {self.process.wait()}")
        return line

    def take_turn(self, words: str = "") -> str:
        assert self.process.stdin
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.line()

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()


@dataclass
class Turn(Process):
    """A program that holds its context."""

    entry: Entry
    seconds: list[float] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)

    def decode(self) -> None:
        self.seconds.append(float(self.take_turn()))

    def end(self) -> None:
        self.close()
        self.report = json.loads(self.line())


def start(entry: Entry, kv: str, options: argparse.Namespace) -> Turn:
    shape = {"prompt": 0, "gen": options.gen, "depth": options.depth, "fed": options.fed, "kv": kv}
    words = [*entry.words(options.threads, 1, shape), "--turns"]
    return Turn(f"{entry.label}, {kv}", open_process(words, entry.surroundings(options.threads)), entry)


def open_process(words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def print_table(turns: list[Turn], limits: list[float], gen: int) -> None:
    limit = statistics.median(limits)
    print(f"read limit {limit:.1f} GB/s ({min(limits):.1f} to {max(limits):.1f})\n")
    print("| program, cache | MB a token | ms a token | tok/s | of bytes over read limit | time, first row = 1 |")
    print("|---|---|---|---|---|---|")
    for turn in turns:
        bytes_read = turn.entry.weight_bytes + turn.report.get("context_bytes", 0)
        knows_bytes = "context_bytes" in turn.report
        seconds = statistics.median(turn.seconds) / gen
        shares = [bytes_read * gen / (1e9 * rate * spent) for rate, spent in zip(limits, turn.seconds)]
        ratios = [spent / first for spent, first in zip(turn.seconds, turns[0].seconds)]
        print(f"| {turn.label} | {bytes_read / 1e6:.0f}" if knows_bytes else f"| {turn.label} | -", end=" | ")
        print(f"{1e3 * seconds:.2f} | {1 / seconds:.1f}", end=" | ")
        print(f"{100 * statistics.median(shares):.0f} %" if knows_bytes else "-", end=" | ")
        print(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |")


def main() -> None:
    options = parse()
    models = [name for name in options.models.split(",") if name]
    entries = find_entries(options.folder, options.peers.split(","), models, options.variant,
                           options.bin / "bench_end_to_end", options.llama_folder)
    turns = [start(entry, kv, options) for entry in entries
             for kv in (options.kv if entry.is_quiver else options.peer_kv) or ["f16"]]
    if not turns:
        raise SystemExit(f"{options.folder}: no program runs a model of this folder")
    for turn in turns:
        turn.line()
        print(f"{turn.label}: ready", file=sys.stderr)
    meter = Process("bench_roofline", open_process(
        [str(options.bin / "bench_roofline"), "--turns", str(options.threads)], dict(os.environ)))
    meter.line()
    limits: list[float] = []
    for index in range(options.rounds):
        print(f"round {index + 1} of {options.rounds}", file=sys.stderr)
        limits.append(float(meter.take_turn(str(turns[0].seconds[-1] if turns[0].seconds else 0.1))))
        for turn in turns[index % len(turns):] + turns[:index % len(turns)]:
            turn.decode()
    meter.close()
    for turn in turns:
        turn.end()
    print_table(turns, limits, options.gen)
    if options.json:
        rows = [{"program": turn.label, "seconds": turn.seconds, "report": turn.report} for turn in turns]
        document = {"machine": machine(), "read_limits": limits, "gen": options.gen, "rows": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
