#!/usr/bin/env python3
"""Compares mixed precision with uniform widths and with the reference package's allocator.

    python3 bench/quantization.py MODEL TABLE TEXT [--quiver build/release/bin/quiver]

MODEL is a folder with full weights, TABLE the sensitivity.json that `quiver convert` has written for
it, TEXT a file that the calibration does not contain. Every allocation is written as a folder and
measured with `quiver kl` and `quiver perplexity` on TEXT. Prints Markdown: at each target the
optimum, the reference's allocation, and a uniform one of the same bytes (log KL interpolated).
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile


class Bench:
    def __init__(self, options, work):
        self.options = options
        self.work = work
        self.table = json.loads(pathlib.Path(options.table).read_text())
        self.count = 0

    def quiver(self, *words):
        run = subprocess.run([self.options.quiver, *map(str, words), "--json", "--quiet"],
                             capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"quiver {words[0]}: {run.stderr}")
        return json.loads(run.stdout)

    def measure(self, label, bits):
        """Writes the model with these bits by layer and measures it."""
        self.count += 1
        out = self.work / f"model-{self.count}"
        pins = [word for name, width in bits.items() for word in ("--pin", f"{name}={width}")]
        made = self.quiver("convert", self.options.model, "-o", out, "--method", "static",
                           "--group-size", self.table["group_size"], "--target-bpw", 32,
                           "--candidate-bits", "2,3,4,5,6,8,16", *pins)
        kl = self.quiver("kl", out, self.options.model, self.options.text, "--context", 512,
                         "--compute", "exact")
        ppl = self.quiver("perplexity", out, self.options.text, "--context", 512)
        subprocess.run(["rm", "-rf", out], check=True)
        return {"label": label, "bytes": made["bytes"], "bpw": made["bpw_true"],
                "kl": kl["kl_mean"], "top1": kl["top1_agreement"], "perplexity": ppl["perplexity"]}

    def names(self):
        return [layer["name"] for layer in self.table["layers"]]

    def uniform(self, width):
        return self.measure(f"all {width} bits", dict.fromkeys(self.names(), width))

    def allocate(self, target, *more):
        made = self.quiver("allocate", self.options.table, "--target-bpw", target,
                           "--candidate-bits", self.options.widths, *more)
        return {layer["name"]: layer["bits"] for layer in made["layers"]}

    def reference(self, target):
        """The reference's allocation whose true size is nearest below the target's. Its targets
        count codes of the layers alone, and embeddings get the widest width that is used."""
        best = None
        for step in range(60):
            bits = self.allocate(target - 0.5 - step * 0.05, "--compat", "optiq")
            measured = self.sizes(bits)
            if measured <= target:
                best = bits
                break
        return best

    def sizes(self, bits):
        """True bits per weight of an allocation, scales and biases of 16 bits."""
        total = 8 * self.table["fixed"]["bytes"]
        weights = self.table["fixed"]["parameters"]
        for layer in self.table["layers"]:
            weights += layer["parameters"]
            total += layer["parameters"] * (bits[layer["name"]] + 32 / layer["group_size"])
        return total / weights


def interpolate(uniform, size):
    """KL of a uniform model of that many bytes."""
    for low, high in zip(uniform, uniform[1:]):
        if low["bytes"] <= size <= high["bytes"]:
            part = (size - low["bytes"]) / (high["bytes"] - low["bytes"])
            return math.exp((1 - part) * math.log(low["kl"]) + part * math.log(high["kl"]))
    return uniform[0]["kl"] if size < uniform[0]["bytes"] else uniform[-1]["kl"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("table")
    parser.add_argument("text")
    parser.add_argument("--quiver", default="build/release/bin/quiver")
    parser.add_argument("--targets", default="4.5,5.0")
    parser.add_argument("--widths", default="3,4,5,6,8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(options, pathlib.Path(work))
        uniform = [bench.uniform(int(width)) for width in options.widths.split(",")]
        rows = list(uniform)
        for target in map(float, options.targets.split(",")):
            rows.append(bench.measure(f"optimum, {target}", bench.allocate(target)))
            reference = bench.reference(target)
            if reference is None:
                continue
            rows.append(bench.measure(f"`--compat optiq` below {target}", reference))
            equal = bench.allocate(bench.sizes(reference) + 1e-9)
            rows.append(bench.measure("optimum of those bytes", equal))
        print("| allocation | MB | bits a weight | KL | of uniform | same top token | perplexity |")
        print("|---|---|---|---|---|---|---|")
        for row in rows:
            share = row["kl"] / interpolate(uniform, row["bytes"])
            print(f"| {row['label']} | {row['bytes'] / 1e6:.1f} | {row['bpw']:.3f} | "
                  f"{row['kl']:.4f} | {share:.2f} | {100 * row['top1']:.1f} % | "
                  f"{row['perplexity']:.3f} |")


if __name__ == "__main__":
    main()
