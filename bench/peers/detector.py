"""Quiver beside onnxruntime on one detector, in turn, so that both meet the same other work.
Usage: detector.py BENCH_DETECTOR FOLDER [THREADS] [ROUNDS], FOLDER made by make_detector.py."""
import re, statistics, subprocess, sys, time
import numpy as np
import onnxruntime

program, folder = sys.argv[1:3]
threads = int(sys.argv[3]) if len(sys.argv) > 3 else 1
rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(folder + "/model.onnx", options, providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape
picture = np.random.default_rng(1).random(shape, dtype=np.float32)


def peer(passes=10):
    times, cpu = [], []
    for i in range(passes + 3):
        start, cpu_start = time.perf_counter(), time.process_time()
        session.run(None, {"picture": picture})
        times.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - cpu_start))
    return min(times[3:]), statistics.median(times[3:]), statistics.median(cpu[3:])


def ours(passes=10):
    text = subprocess.run([program, folder, str(shape[2]), str(threads), str(passes), "plain"], capture_output=True,
                          text=True, check=True).stdout
    return tuple(float(v) for v in re.search(r"best ([\d.]+) ms, median ([\d.]+) ms, of CPU ([\d.]+) ms", text).groups())


a, b = [], []
for _ in range(rounds):
    a.append(ours())
    b.append(peer())
for name, rows in (("quiver", a), ("onnxruntime " + onnxruntime.__version__, b)):
    print(f"{name}: best {min(r[0] for r in rows):.1f} ms, median of medians {statistics.median(r[1] for r in rows):.1f} ms, "
          f"of CPU {statistics.median(r[2] for r in rows):.1f} ms")
for i, what in ((1, "wall"), (2, "CPU")):
    ratios = [y[i] / x[i] for x, y in zip(a, b)]
    print(f"onnxruntime / quiver, {what} time by round: {min(ratios):.2f} to {max(ratios):.2f}, "
          f"median {statistics.median(ratios):.2f}")
