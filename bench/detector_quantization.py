#!/usr/bin/env python3
"""What mixed widths are worth on a detector: average precision and divergence on pictures that
nothing was chosen by, beside uniform widths, with and without the ends of the network at 8 bits (as
measured allocations have them).

    bench/detector_quantization.py build/release/bin/quiver MODEL DATA

DATA holds images/ and truth.json ({"names", "images": [{"file", "objects": [{"class", "xyxy"}]}]}).
Its pictures are dealt into two halves; each is calibrated on once while the other is evaluated, and
the two results are averaged. Divergences over the evaluated half come from a second conversion with
every width pinned, which writes the same weights."""

import argparse
import filecmp
import json
import pathlib
import subprocess
import tempfile

WIDTHS = "2,3,4,5,6,8"


def run(program, *words):
    result = subprocess.run([program, *map(str, words), "--json", "--quiet", "--threads", "1"],
                            check=True, capture_output=True, text=True)
    return json.loads(result.stdout)


def write_half(data, truth, number, place):
    """A folder with every second picture, and their objects as COCO has them."""
    (place / "images").mkdir(parents=True)
    coco = {"images": [], "annotations": [], "categories": [{"id": i, "name": n} for i, n in enumerate(truth["names"])]}
    for i, image in enumerate(truth["images"][number::2]):
        name = pathlib.Path(image["file"]).name
        (place / "images" / name).symlink_to((data / image["file"]).resolve())
        coco["images"].append({"id": i, "file_name": name})
        for thing in image["objects"]:
            x1, y1, x2, y2 = thing["xyxy"]
            coco["annotations"].append({"id": len(coco["annotations"]), "image_id": i, "category_id": thing["class"],
                                        "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0})
    (place / "instances.json").write_text(json.dumps(coco))


class Half:
    """One half to calibrate on, the other to evaluate on."""

    def __init__(self, program, model, calibration, evaluation, work):
        self.program, self.model, self.work = program, model, work
        self.calibration, self.evaluation = calibration, evaluation
        self.count = 0

    def convert(self, pictures, *words):
        self.count += 1
        out = self.work / str(self.count)
        return out, run(self.program, "convert", self.model, "-o", out, "--calibration", pictures, *words)

    def pins_of_the_middle(self, bits):
        """Pins of all kernels but those that are protected: the first one, and those of the head's end."""
        layers = self.convert(self.calibration, "--sensitivity", "weight-error", "--target-bpw", 32)[1]["layers"]
        return [word for layer in layers if layer["kl"] and layer["role"] not in ("embedding", "head")
                for word in ("--pin", f"{layer['name']}={bits}")]

    def score(self, folder):
        found = run(self.program, "eval", folder, "--task", "detect", "--data", self.evaluation / "instances.json")
        return {"map50": found["map50"], "map50_95": found["map50_95"]}

    def measure(self, *words):
        """Converts, and gives the scores and the divergence over the other half."""
        out, chosen = self.convert(self.calibration, *words)
        pins = [word for layer in chosen["layers"] if layer["bits"] != 16
                for word in ("--pin", f"{layer['name']}={layer['bits']}")]
        bits = ",".join(sorted({str(layer["bits"]) for layer in chosen["layers"] if layer["bits"] != 16}, key=int))
        again, other = self.convert(self.evaluation, "--candidate-bits", bits, "--target-bpw", 32,
                                    "--sensitivity", "weight-error", *pins)
        assert filecmp.cmp(out / "weights.safetensors", again / "weights.safetensors", shallow=False)
        return {"bytes": chosen["bytes"], "bpw": chosen["bpw_true"], "kl": other["kl_measured"], **self.score(out)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--target", type=float, action="append", default=[])
    arguments = parser.parse_args()
    truth = json.loads((arguments.data / "truth.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for number in (0, 1):
            write_half(arguments.data, truth, number, work / f"half{number}")
        halves = []
        for number in (0, 1):
            place = work / f"runs{number}"
            place.mkdir()
            halves.append(Half(arguments.program, arguments.model, work / f"half{number}", work / f"half{1 - number}",
                               place))
        rows = [("float", [half.score(arguments.model) for half in halves])]
        uniform = {}
        for bits in WIDTHS.split(","):
            words = ("--candidate-bits", bits, "--target-bpw", 32, "--sensitivity", "weight-error")
            uniform[bits] = [half.measure(*words) for half in halves]
            rows.append((f"all {bits} bits", uniform[bits]))
        for bits in ("3", "4"):
            words = ("--candidate-bits", f"{bits},8", "--target-bpw", 32, "--sensitivity", "weight-error",
                     *halves[0].pins_of_the_middle(bits))
            uniform[bits + " with ends at 8"] = [half.measure(*words) for half in halves]
            rows.append((f"all {bits} bits, ends 8", uniform[bits + " with ends at 8"]))
        targets = [(f"measured, {t}", t) for t in arguments.target or (4.5, 5.0)]
        targets += [(f"measured, bytes of all {b}", uniform[b][0]["bpw"]) for b in uniform if b[0] in "34"]
        for label, target in targets:
            words = ("--candidate-bits", WIDTHS, "--target-bpw", f"{target:.4f}")
            rows.append((label, [half.measure(*words) for half in halves]))
    print("| allocation | kB | bits a weight | KL | mAP50 | mAP50-95 |\n|---|---|---|---|---|---|")
    for label, results in rows:
        mean = {key: sum(r[key] for r in results) / len(results) for key in results[0]}
        size = f"{mean['bytes'] / 1000:.1f} | {mean['bpw']:.3f} | {mean['kl']:.4f}" if "kl" in mean else " | | "
        both = ", ".join(f"{r['map50']:.3f}" for r in results)
        print(f"| {label} | {size} | {mean['map50']:.4f} ({both}) | {mean['map50_95']:.4f} |")


if __name__ == "__main__":
    main()
