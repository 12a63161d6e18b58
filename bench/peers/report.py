"""Turns runs into medians, shares of what the machine allows, and ratios; prints them as tables of Markdown."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from entries import Entry
from shapes import shape_of

MOST_APART = 0.05  # of the bytes of two formats that are compared


@dataclass
class Roofline:
    """Answers of bench_roofline, one a round."""

    rounds: list[dict[str, Any]] = field(default_factory=list)

    def best(self, threads: int, word: str, clock: str) -> float:
        """The best pattern whose name contains the word: its median over the rounds, in billions a second."""
        names = [name for name in self.rounds[0][str(threads)] if word in name]
        return max(self.median(threads, name, clock) for name in names)

    def median(self, threads: int, name: str, clock: str) -> float:
        return statistics.median(float(one[str(threads)][name][clock]) for one in self.rounds)


@dataclass
class Measured:
    """An entry with a number of threads, and its runs, one a round."""

    entry: Entry
    threads: int
    runs: list[dict[str, Any]] = field(default_factory=list)

    def median(self, key: str) -> float:
        values = [run[key] for run in self.runs]
        return statistics.median(float(value[0] if isinstance(value, list) else value) for value in values)

    def rate(self, what: str, tokens: int, clock: str) -> float:
        """Tokens a second of `prefill` or `decode`, by the median of seconds of that clock; 0 = not measured."""
        return tokens / self.median(f"{what}_{clock}_s") if self.runs[0][f"{what}_{clock}_s"] else 0.0

    def memory(self) -> float:
        """The peak in bytes, less what an interpreter took before it loaded the peer."""
        return statistics.median(float(run["peak_bytes"] - run.get("base_bytes", 0)) for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        return {"label": self.entry.label, "threads": self.threads, "weight_bytes": self.entry.weight_bytes,
                "runs": self.runs}


def prefill_operations(config: dict[str, Any], prompt: int) -> float:
    """Two for each multiply-add of linears, attention over what precedes, and the head for one row."""
    shape = shape_of(config)
    linears = sum(matrix.rows * matrix.columns for matrix in shape.matrices() if "layers" in matrix.name)
    queries = shape.attention_layers() * shape.num_attention_heads * shape.head_dim
    attention = 2 * queries * (prompt + 1) / 2
    return float(2 * (prompt * (linears + attention) + shape.vocab_size * shape.hidden_size))


def share(value: float, limit: float) -> str:
    return f"{100 * value / limit:.0f} %" if value else "-"


def row_of(item: Measured, roofline: Roofline, options: argparse.Namespace, operations: float) -> list[str]:
    """The cells of an entry; a share is by wall time, then by CPU time."""
    decoded = options.gen * options.sequences
    decode = {clock: item.rate("decode", decoded, clock) for clock in ("wall", "cpu")}
    prefill = {clock: item.rate("prefill", options.prompt, clock) for clock in ("wall", "cpu")}
    read, dot = {}, {}
    for clock in ("wall", "cpu"):
        passes = decode[clock] / options.sequences  # one pass reads the weights once for all sequences
        bandwidth = 1e9 * roofline.best(item.threads, "read", clock)
        read[clock] = share(passes * item.entry.weight_bytes, bandwidth)
        peak = 1e9 * roofline.best(item.threads, "int4 dot", clock)
        dot[clock] = share(prefill[clock] * operations / max(1, options.prompt), peak)
    return [
        item.entry.label, str(item.threads), f"{item.entry.weight_bytes / 1e6:.1f}",
        f"{decode['wall']:.1f}", f"{decode['cpu']:.1f}", f"{read['wall']} / {read['cpu']}",
        f"{prefill['wall']:.1f}", f"{prefill['cpu']:.1f}", f"{dot['wall']} / {dot['cpu']}",
        f"{item.median('load_ms'):.0f}", f"{item.median('first_token_ms'):.0f}", f"{item.memory() / 2**20:.0f}",
    ]


HEADINGS = ["program and format", "threads", "MB a token", "decode tok/s", "a CPU-s", "of read limit",
            "prefill tok/s", "a CPU-s", "of int4-dot limit", "load ms", "first token ms", "peak MiB"]


def print_table(headings: list[str], rows: list[list[str]]) -> None:
    sizes = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for cells in (headings, ["-" * size for size in sizes], *rows):
        print("| " + " | ".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True)) + " |")
    print()


def ratio_cell(item: Measured, peers: list[Measured], rate: Callable[[Measured, str], float]) -> str:
    """Against the fastest peer by wall time; in brackets against the fastest by CPU time."""
    cells = []
    for clock in ("wall", "cpu"):
        fastest = max(peers, key=lambda peer: rate(peer, clock))
        own, other = rate(item, clock), rate(fastest, clock)
        cells.append(f"{own / other:.2f} x {fastest.entry.label}" if other else "-")
    return f"{cells[0]} ({cells[1]})"


def print_ratios(measured: list[Measured], options: argparse.Namespace) -> None:
    """Quiver beside the fastest peer of about the same bytes, for each of its entries."""
    rows = []
    for item in measured:
        size = item.entry.weight_bytes
        peers = [other for other in measured if not other.entry.is_quiver and other.threads == item.threads
                 and abs(other.entry.weight_bytes / size - 1) <= MOST_APART]
        if not item.entry.is_quiver or not peers:
            continue
        decode = ratio_cell(item, peers, lambda one, clock: one.rate("decode", options.gen * options.sequences, clock))
        prefill = ratio_cell(item, peers, lambda one, clock: one.rate("prefill", options.prompt, clock))
        rows.append([item.entry.label, str(item.threads), decode, prefill])
    if rows:
        print("Quiver beside the fastest peer whose bytes differ by at most 5 %: by wall time (by CPU time)\n")
        print_table(["program and format", "threads", "decode", "prefill"], rows)


def print_roofline(roofline: Roofline) -> None:
    counts = list(roofline.rounds[0])
    rows = []
    for name in roofline.rounds[0][counts[0]]:
        cells = [roofline.median(int(count), name, clock) for count in counts for clock in ("wall", "cpu")]
        rows.append([name, *(f"{cell:.1f}" for cell in cells)])
    headings = [f"{count} thread{'s' * (count != '1')}, {clock}" for count in counts for clock in ("wall", "CPU")]
    print("What the machine reads (GB/s) and computes (billion operations a second), medians of the rounds\n")
    print_table(["pattern", *headings], rows)


def print_programs(measured: list[Measured]) -> None:
    """What each program is and which instructions it was built for or found."""
    systems = {item.entry.program: item.runs[0] for item in measured}
    rows = []
    for program, run in systems.items():
        parts = [part.strip() for part in run["system"].split("|")]
        used = [part.removesuffix(" = 1") for part in parts if part and not part.endswith("= 0")]
        rows.append([program, run["program"], " ".join(used)])
    print_table(["program", "version", "instructions"], rows)


def find_config(measured: list[Measured]) -> dict[str, Any] | None:
    for path in sorted(measured[0].entry.model.parent.glob("*/config.json")):
        config: dict[str, Any] = json.loads(path.read_text())
        return config
    return None


def print_report(measured: list[Measured], roofline: Roofline, options: argparse.Namespace,
                 context: dict[str, Any]) -> None:
    machine, load = context["machine"], context["load"]
    print(f"{machine['processor']}, {machine['cpus']} CPUs, {' '.join(machine['features'])}; "
          f"load average {load[0]:.1f} before, {load[1]:.1f} after")
    print(f"{options.folder.name}: prompt {options.prompt}, {options.gen} tokens decoded after {options.depth}, "
          f"{options.sequences} at once; KV {options.kv}, of peers {options.peer_kv}; "
          f"medians of {options.rounds} rounds\n")
    config = find_config(measured)
    operations = prefill_operations(config, options.prompt) if config else 0.0
    print_table(HEADINGS, [row_of(item, roofline, options, operations) for item in measured])
    print_ratios(measured, options)
    print_roofline(roofline)
    print_programs(measured)
