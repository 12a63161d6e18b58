#!/usr/bin/env python3
"""Makes plain.npz and packed.npz: the same arrays, written by NumPy as they are and deflated. Run
once with numpy 2.4.6; the tests need none."""

import pathlib

import numpy as np

ARRAYS = {
    "model.0.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4) / 8,
    "half": np.array([0.5, -2.0, 65504.0], dtype=np.float16),
    "bytes": np.arange(300, dtype=np.uint8).reshape(3, 100),
    "number": np.float64(2.5),
    "none": np.zeros((0, 5), dtype=np.int64),
}

for name, save in (("plain", np.savez), ("packed", np.savez_compressed)):
    save(pathlib.Path(__file__).parent / f"{name}.npz", **ARRAYS)
