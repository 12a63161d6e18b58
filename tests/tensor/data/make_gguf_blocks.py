"""Makes gguf_blocks.json: random blocks of every GGUF type and their values by the reference package.

Needs the PyPI packages gguf (0.19.0 made the kept file) and numpy. Usage: make_gguf_blocks.py OUT
"""
import json
import sys

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",
         "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]

random = np.random.default_rng(20240607)
cases = []
for name in TYPES:
    kind = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[kind]
    count = 3 if elements == 256 else 4 if elements == 32 else 24
    blocks = random.integers(0, 256, size=(1, count * size), dtype=np.uint8)
    # The bits of the values are kept, so nothing is rounded on the way.
    with np.errstate(all="ignore"):
        values = dequantize(blocks, kind).astype(np.float32).reshape(-1)
    cases.append({"type": name, "bytes": blocks.tobytes().hex(),
                  "float32_bits": values.astype("<f4").tobytes().hex()})
with open(sys.argv[1], "w") as out:
    json.dump({"made_by": "make_gguf_blocks.py with gguf 0.19.0 (PyPI) and numpy " + np.__version__,
               "cases": cases}, out, indent=0)
    out.write("\n")
