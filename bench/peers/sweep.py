"""Times the sensitivity sweep beside mlx-optiq's own, on the same model and texts of one length.

    python bench/peers/sweep.py MODEL --bin build/release/bin [--threads 2] [--layers 3]

Needs mlx, mlx-cpu, mlx-lm and mlx-optiq (requirements-mlx.txt). Both measure every linear at 4 and 8
bits; of mlx-optiq's layers only a few are measured, its time per layer and width being the same
for all. Prints one line of JSON with seconds per probe and the ratio.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--bin", default="build/release/bin")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3, help="layers that mlx-optiq measures")
    parser.add_argument("--every", type=int, default=1,
                        help="of ours, every so many layers are measured: a probe takes as long")
    parser.add_argument("--dtype", default="float32", help="in which mlx-optiq computes")
    return parser.parse_args()


def quiver(options, *more):
    command = [os.path.join(options.bin, "bench_sweep"), options.model,
               "--samples", str(options.samples), "--length", str(options.length),
               "--threads", str(options.threads), "--every", str(options.every), *more]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def optiq_seconds_per_probe(options):
    import mlx.core as mx
    import mlx.nn as nn
    import numpy as np
    from mlx.utils import tree_map
    from mlx_lm import load
    from optiq.core.sensitivity import analyze_sensitivity_exact

    model, _ = load(options.model)
    model.update(tree_map(lambda a: a.astype(getattr(mx, options.dtype)), model.parameters()))
    mx.eval(model.parameters())
    random = np.random.default_rng(1)
    texts = [mx.array(random.integers(0, 1000, (1, options.length)), mx.int32)
             for _ in range(options.samples)]
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]

    def run(layers):
        # Layers of the checkpoint count as measured already.
        done = [{"layer_name": name, "sensitivities": {"4": 0.0, "8": 0.0}, "param_count": 1,
                 "metadata": {}} for name in names if name not in layers]
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "checkpoint.json")
            with open(path, "w") as file:
                json.dump(done, file)
            start = time.perf_counter()
            with open(os.devnull, "w") as null:
                stdout, sys.stdout = sys.stdout, null
                try:
                    analyze_sensitivity_exact(model, lambda: [((t,), {}) for t in texts],
                                              candidate_bits=[4, 8], n_calibration=len(texts),
                                              checkpoint_path=path)
                finally:
                    sys.stdout = stdout
            return time.perf_counter() - start

    idle = run([])
    step = len(names) // options.layers
    busy = run(names[step // 2::step][:options.layers])
    return (busy - idle) / (2 * options.layers)


def main():
    options = arguments()
    exact = quiver(options)
    sampled = quiver(options, "--positions", str(options.length // 8), "--whole", "0")
    optiq = optiq_seconds_per_probe(options)
    from importlib.metadata import version
    print(json.dumps({
        "sweep": exact,
        "sweep_one_position_in_eight": sampled,
        "speedup_one_position_in_eight":
            exact["whole_seconds_per_probe"] / sampled["seconds_per_probe"],
        "mlx-optiq": {"version": version("mlx-optiq"), "mlx": version("mlx"),
                      "dtype": options.dtype, "seconds_per_probe": optiq},
        "ratio_to_mlx-optiq": optiq / exact["seconds_per_probe"]}))


if __name__ == "__main__":
    main()
