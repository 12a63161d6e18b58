"""Quiver beside onnxruntime, and torch where it is installed, on one detector, in turn, so that all meet the
same other work. Usage: detector.py BENCH_DETECTOR FOLDER [THREADS] [ROUNDS], FOLDER made by make_detector.py."""
import re, statistics, subprocess, sys, time
import numpy as np
import onnxruntime

try:
    import torch
    from torch_detector import TorchDetector
except ImportError:
    torch = None

PASSES = 10
program, folder = sys.argv[1:3]
threads = int(sys.argv[3]) if len(sys.argv) > 3 else 1
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(folder + "/model.onnx", options, providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape
picture = np.random.default_rng(1).random(shape, dtype=np.float32)


def timed(run):
    times, cpu = [], []
    for i in range(PASSES + 3):
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        times.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - cpu_start))
    return min(times[3:]), statistics.median(times[3:]), statistics.median(cpu[3:])


def ours():
    text = subprocess.run([program, folder, str(shape[2]), str(threads), str(PASSES), "plain"], capture_output=True,
                          text=True, check=True).stdout
    return tuple(float(v) for v in re.search(r"best ([\d.]+) ms, median ([\d.]+) ms, of CPU ([\d.]+) ms", text).groups())


runs = {"quiver": ours, "onnxruntime " + onnxruntime.__version__: lambda: timed(lambda: session.run(None, {"picture": picture}))}
if torch is not None:
    torch.set_num_threads(threads)
    network = TorchDetector(folder + "/model.onnx")
    worst = max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(network(picture), session.run(None, {"picture": picture})))
    if worst > 1e-3:
        sys.exit(f"torch computes something else: {worst:.1e} of the largest value")
    runs["torch " + torch.__version__] = lambda: timed(lambda: network(picture))
rows = {name: [] for name in runs}
for _ in range(rounds):
    for name, run in runs.items():
        rows[name].append(run())
for name, values in rows.items():
    print(f"{name}: best {min(r[0] for r in values):.1f} ms, median of medians {statistics.median(r[1] for r in values):.1f} ms, "
          f"of CPU {statistics.median(r[2] for r in values):.1f} ms")
for name, values in list(rows.items())[1:]:
    for i, what in ((0, "best wall"), (1, "wall"), (2, "CPU")):
        ratios = [y[i] / x[i] for x, y in zip(rows["quiver"], values)]
        print(f"{name} / quiver, {what} time by round: {min(ratios):.2f} to {max(ratios):.2f}, "
              f"median {statistics.median(ratios):.2f}")
