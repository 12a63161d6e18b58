"""Folders that Quiver and stock mlx-lm write for each other, and the logits both make of them; and
folders of a family that mlx-optiq brings to mlx-lm.

    python tests/interchange/test_mlx.py QUIVER_PROGRAM SHARED_FOLDER

Logits are compared in float32: mlx on a CPU sums quantized products in the type of the tensors.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import mlx.core as mx
import numpy as np
import optiq  # noqa: F401  (makes its model types known to mlx-lm)
from mlx.utils import tree_map
from mlx_lm import convert, load
from mlx_lm.utils import load_model
from optiq.core.optimizer import optimize_mixed_precision
from optiq.core.sensitivity import analyze_sensitivity_static
from optiq.runtime.mtp.artifacts import expected_mtp_file
from optiq.runtime.mtp.runtime import attach
from safetensors import safe_open

PROGRAM = None
SHARED = None
IDS = [3, 17, 42, 5, 99, 120, 7, 64, 31, 8, 200, 13]
TOLERANCE = 1e-3


def quiver(*words):
    """Runs the program and gives its JSON."""
    run = subprocess.run([PROGRAM, *map(str, words), "--json"], capture_output=True, text=True)
    if run.returncode != 0:
        raise AssertionError(f"quiver {' '.join(map(str, words))}: {run.stderr}")
    return json.loads(run.stdout)


def quiver_logits(folder, work, ids=IDS, *more):
    out = work / "logits.safetensors"
    quiver("logits", folder, "--ids", ",".join(map(str, ids)), "--compute", "exact", "-o", out, *more)
    with safe_open(out, "numpy") as file:
        return file.get_tensor("logits")


def mlx_model(folder):
    """The model alone: mlx_lm.load wants a tokenizer, which not every fixture has."""
    if (pathlib.Path(folder) / "tokenizer.json").exists():
        return load(str(folder))[0]
    return load_model(pathlib.Path(folder))[0]


def mlx_logits(folder, ids=IDS, **more):
    model = mlx_model(folder)
    model.update(tree_map(lambda a: a.astype(mx.float32) if mx.issubdtype(a.dtype, mx.floating)
                          else a, model.parameters()))
    return np.array(model(mx.array([ids]), **more)[0].astype(mx.float32))


def block_mask(length, block):
    """What is added to the scores so that a row sees its block and those before it. mlx-optiq builds
    it in the type of the embedding's tensor, which is no float where that is quantized."""
    blocks = np.arange(length) // block
    mask = np.where(blocks[None, :] <= blocks[:, None], 0, -np.inf).astype(np.float32)
    return mx.array(mask)[None, None]


class Interchange(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.work)
        self.source = SHARED / "reference/convert/llama_a/checkpoint"

    def assert_same_logits(self, folder):
        self.assert_same(quiver_logits(folder, self.work), mlx_logits(folder))

    def assert_same(self, ours, theirs):
        self.assertEqual(ours.shape, theirs.shape)
        self.assertGreater(np.abs(theirs).max(), 0.1)
        self.assertLess(np.abs(ours - theirs).max(), TOLERANCE)

    def bits_of_modules(self, folder):
        """Bits by module as mlx-lm has loaded them."""
        model = mlx_model(folder)
        return {name: module.bits for name, module in model.named_modules()
                if hasattr(module, "bits")}

    def test_mixed_folders_of_quiver_load_in_mlx_lm(self):
        for encoder, widths, target in (("exact", "4,8", 6), ("exact", "2,3,4,5,6,8", 5.5),
                                        ("refit", "3,4,6,8", 5.5), ("search", "2,3,8", 5)):
            with self.subTest(encoder=encoder, widths=widths):
                out = self.work / f"out-{encoder}-{widths}"
                report = quiver("convert", self.source, "-o", out, "--candidate-bits", widths,
                                "--target-bpw", target, "--encoder", encoder, "--samples", 3,
                                "--sequence-length", 48)
                want = {layer["name"]: layer["bits"] for layer in report["layers"]}
                self.assertGreater(len(set(want.values())), 1)
                self.assertEqual(self.bits_of_modules(out), want)
                self.assert_same_logits(out)

    def test_layers_kept_as_they_are_load_in_mlx_lm(self):
        out = self.work / "out"
        report = quiver("convert", self.source, "-o", out, "--candidate-bits", "4,16",
                        "--target-bpw", 14, "--samples", 3, "--sequence-length", 48)
        kept = {layer["name"] for layer in report["layers"] if layer["bits"] == 16}
        self.assertTrue(kept)
        self.assertFalse(kept & set(self.bits_of_modules(out)))
        self.assert_same_logits(out)

    def test_uniform_folders_of_mlx_lm_load_in_quiver(self):
        for bits in (4, 8):
            for group_size in (32, 64, 128):
                with self.subTest(bits=bits, group_size=group_size):
                    out = self.work / f"mlx-{bits}-{group_size}"
                    convert(str(self.source), mlx_path=str(out), quantize=True, q_bits=bits,
                            q_group_size=group_size)
                    self.assert_same_logits(out)

    def test_mixed_folders_of_mlx_lm_load_in_quiver(self):
        out = self.work / "mlx-mixed"

        def predicate(path, module, *_):
            if not hasattr(module, "to_quantized"):
                return False
            wide = "down_proj" in path or "lm_head" in path or "v_proj" in path
            return {"bits": 8 if wide else 4, "group_size": 32 if "mlp" in path else 64,
                    "mode": "affine"}

        convert(str(self.source), mlx_path=str(out), quantize=True, quant_predicate=predicate)
        self.assertEqual(set(self.bits_of_modules(out).values()), {4, 8})
        self.assert_same_logits(out)

    def test_tied_bfloat16_models_load_in_mlx_lm(self):
        source = SHARED / "reference/llama/qwen2/checkpoint"  # without a tokenizer: no calibration
        out = self.work / "out"
        quiver("convert", source, "-o", out, "--target-bpw", 7, "--group-size", 32,
               "--method", "static")
        self.assertIn("model.embed_tokens", self.bits_of_modules(out))
        self.assert_same_logits(out)

    def convert_dhara(self, source, group_size, *more):
        out = self.work / f"dhara-{source.replace('/', '-')}-{group_size}"
        report = quiver("convert", SHARED / source, "-o", out, "--group-size", group_size, *more)
        return out, {layer["name"]: layer["bits"] for layer in report["layers"]}

    def test_dhara_folders_load_in_mlx_optiq(self):
        static = ("--method", "static", "--target-bpw", 7.5)
        measured = ("--target-bpw", 5.2, "--samples", 4, "--sequence-length", 48)
        for source, group_size, more in (
                ("reference/dhara/base/checkpoint", 32, ("--method", "static", "--target-bpw", 9)),
                ("reference/dhara/quant/checkpoint", 32, ("--method", "static", "--target-bpw", 9)),
                ("reference/dhara/quant/checkpoint", 64, static),
                ("reference/dhara/quant_bf16/checkpoint", 64, static),
                ("models/dhara-tiny-real", 32, measured),
                ("models/dhara-tiny-real", 64, measured)):
            with self.subTest(source=source, group_size=group_size):
                out, want = self.convert_dhara(source, group_size, *more)
                self.assertEqual(set(want.values()), {4, 8})
                self.assertEqual(self.bits_of_modules(out), want)
                self.assert_same_logits_in_blocks(out)

    def convert_qwen3_5(self, source, *more):
        """Converts, and checks that stock mlx-lm has the same bits and logits."""
        out = self.work / f"qwen3_5-{len(list(self.work.iterdir()))}"
        report = quiver("convert", source, "-o", out, *more)
        want = {layer["name"]: layer["bits"] for layer in report["layers"] if layer["bits"] < 16}
        self.assertEqual(self.bits_of_modules(out), want)
        self.assert_same_logits(out)
        return out

    def test_qwen3_5_folders_load_in_mlx_lm(self):
        static = ("--method", "static", "--target-bpw", 7)
        shared = SHARED / "reference"
        measured = ("--target-bpw", 5.5, "--samples", 4, "--sequence-length", 48)
        for source, more in ((shared / "qwen3_5/text/checkpoint", static),
                             (shared / "qwen3_5/text/quant", static),
                             (shared / "qwen3_5/moe/checkpoint", static),
                             (shared / "convert/qwen35_a/checkpoint", measured),
                             (SHARED / "models/qwen3_5-tiny-real", measured)):
            with self.subTest(source=source):
                out = self.convert_qwen3_5(source, *more)
                self.assertGreater(len(set(self.bits_of_modules(out).values())), 1)

    def test_qwen3_5_experts_that_are_stored_one_by_one_load_in_mlx_lm_as_stacks(self):
        source = SHARED / "reference/qwen3_5/moe/checkpoint"
        tensors = {}
        for name, tensor in mx.load(str(source / "model.safetensors")).items():
            base, fused, part = name.partition(".experts.")
            if not fused:
                tensors[name] = tensor
                continue
            parts = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}[part]
            for expert in range(tensor.shape[0]):
                for piece, weight in zip(parts, mx.split(tensor[expert], len(parts))):
                    tensors[f"{base}.experts.{expert}.{piece}.weight"] = weight
        unfused = self.work / "unfused"
        unfused.mkdir()
        mx.save_safetensors(str(unfused / "model.safetensors"), tensors)
        shutil.copy(source / "config.json", unfused)
        static = ("--method", "static", "--target-bpw", 7)
        fused, stacked = (self.convert_qwen3_5(folder, *static) for folder in (source, unfused))
        self.assertEqual((fused / "model.safetensors").read_bytes(),
                         (stacked / "model.safetensors").read_bytes())

    def test_compat_treats_routers_and_experts_as_mlx_optiq_does(self):
        source = SHARED / "reference/qwen3_5/moe/checkpoint"
        whole = self.work / "whole"  # stock mlx-lm knows no type of the text part alone
        quiver("convert", source, "-o", whole, "--method", "static", "--candidate-bits", 16,
               "--target-bpw", 32)
        scores = analyze_sensitivity_static(mlx_model(whole))
        for target in (4.5, 5, 6, 7):
            with self.subTest(target=target):
                want = {config.layer_name: config.bits
                        for config in optimize_mixed_precision(scores, target, [4, 8]).configs}
                out = self.work / f"compat-{target}"
                report = quiver("convert", source, "-o", out, "--compat", "optiq", "--method",
                                "static", "--target-bpw", target, "--candidate-bits", "4,8")
                ours = {layer["name"]: layer["bits"] for layer in report["layers"]}
                self.assertIn("language_model.model.layers.1.mlp.switch_mlp.up_proj", want)
                self.assertEqual({name: ours[name] for name in want}, want)
                self.assert_same_logits(out)

    def test_draft_heads_load_in_mlx_optiq(self):
        for source, layers in (("models/qwen3_5-tiny-real", 7),
                               ("reference/qwen3_5/mtp/checkpoint", 7)):
            for bits in (4, 8, 16):
                with self.subTest(source=source, bits=bits):
                    out = self.work / f"head-{layers}-{bits}-{source.replace('/', '-')}"
                    quiver("convert", SHARED / source, "-o", out, "--method", "static",
                           "--candidate-bits", "4,8,16", "--target-bpw", 32, "--group-size", 32,
                           "--pin", f"*={bits}")
                    self.check_draft_head(SHARED / source, out, bits, layers)

    def check_draft_head(self, source, out, bits, layers):
        config = json.loads((out / "config.json").read_text())
        self.assertEqual(expected_mtp_file(out, config), out / "optiq/mtp.safetensors")
        model = attach(mlx_model(out), None, out).model
        head = model.language_model.mtp
        packed = {name for name, module in head.named_modules() if hasattr(module, "bits")}
        self.assertEqual(len(packed), 0 if bits == 16 else layers)
        self.assertNotIn("fc", packed)
        raw = mx.load(str(source / "model.safetensors"))
        for name, norm in (("norm", head.norm), ("pre_fc_norm_hidden", head.pre_fc_norm_hidden),
                           ("layers.0.self_attn.q_norm", head.layers[0].self_attn.q_norm)):
            want = raw[f"mtp.{name}.weight"] + 1.0
            self.assertTrue(mx.array_equal(norm.weight, want), name)
        self.assertTrue(mx.array_equal(head.fc.weight, raw["mtp.fc.weight"]))

    def assert_same_logits_in_blocks(self, folder):
        self.assert_same_logits(folder)
        mask_token = json.loads((folder / "config.json").read_text())["mask_token_id"]
        ids = IDS + [mask_token, 77, mask_token, 12, 90, 5, mask_token]
        for block in (4, 8, 32):  # 19 tokens: many blocks, some, one
            ours = quiver_logits(folder, self.work, ids, "--block-length", block)
            theirs = mlx_logits(folder, ids, mask=block_mask(len(ids), block))
            self.assert_same(ours, theirs)
            causal = mlx_logits(folder, ids)
            self.assertGreater(np.abs(theirs - causal).max(), 0.1)


if __name__ == "__main__":
    PROGRAM, SHARED = sys.argv[1], pathlib.Path(sys.argv[2])
    unittest.main(argv=sys.argv[:1], verbosity=2)
