#!/usr/bin/env python3
"""Makes data/coco_scores.json: pictures with objects and predictions, and the average precision that
pycocotools gives them; and what it gives the recorded detections of shared/data/shapes.

Run once with the path of shared/, with pycocotools 2.0.11 and numpy 2.4.6; the tests need neither.

A set has, by picture, objects [x1, y1, x2, y2, class, crowd] and predictions [x1, y1, x2, y2, score,
class], corners in quarters of a pixel and scores in thousandths, so that all of them are exact in
float32. Scores and overlaps tie often on purpose."""

import contextlib
import io
import json
import pathlib
import random
import sys

from pycocotools import __file__ as package_file
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE = 4 * 128
random.seed(826)


def evaluate(pictures, classes):
    """mAP50, mAP75 and mAP50-95 of (objects, predictions) in pixels, and AP50 by class."""
    truth, found = [], []
    for number, (objects, predictions) in enumerate(pictures, 1):
        for x1, y1, x2, y2, kind, crowd in objects:
            truth.append({"id": len(truth) + 1, "image_id": number, "category_id": kind + 1, "iscrowd": crowd,
                          "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)})
        for x1, y1, x2, y2, score, kind in predictions:
            found.append({"image_id": number, "category_id": kind + 1, "score": score,
                          "bbox": [x1, y1, x2 - x1, y2 - y1]})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": [{"id": i + 1} for i in range(len(pictures))], "annotations": truth,
                        "categories": [{"id": c + 1, "name": str(c)} for c in range(classes)]}
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, -1]  # overlap, recall, class
    by_class = [float(p.mean()) if p.min() > -1 else -1 for p in precision[0].T]
    return {"map50_95": float(judge.stats[0]), "map50": float(judge.stats[1]), "map75": float(judge.stats[2]),
            "ap50": by_class}


def box():
    width, height = random.randint(8, SIDE // 3), random.randint(8, SIDE // 3)
    x, y = random.randint(0, SIDE - width), random.randint(0, SIDE - height)
    return [x, y, x + width, y + height]


def near(corners, reach):
    x1, y1, x2, y2 = (min(max(c + random.randint(-reach, reach), 0), SIDE) for c in corners)
    return [min(x1, x2 - 1), min(y1, y2 - 1), x2, y2]


def picture(classes, most, coarse, flood):
    def score():
        return random.randint(1, 12) * 80 if coarse else random.randint(1, 999)

    objects = [box() + [random.randrange(classes), int(random.random() < 0.12)] for _ in range(random.randint(0, most))]
    predictions = []
    for *corners, kind, crowd in objects:
        for _ in range(random.randint(0, 4 if crowd else 3)):
            other = kind if random.random() < 0.85 else random.randrange(classes)
            predictions.append(near(corners, random.choice([0, 2, 6, 16])) + [score(), other])
    predictions += [box() + [score(), random.randrange(classes)] for _ in range(random.randint(0, most))]
    if flood:  # more predictions of a class than count in a picture
        predictions += [box() + [score(), 0] for _ in range(130)]
    random.shuffle(predictions)
    return [objects, predictions]


def scaled(pictures):
    for objects, predictions in pictures:
        yield ([[c / 4 for c in o[:4]] + o[4:] for o in objects],
               [[c / 4 for c in p[:4]] + [p[4] / 1000, p[5]] for p in predictions])


def random_sets():
    for number in range(36):
        classes = random.randint(1, 4)
        pictures = [picture(classes, random.randint(1, 6), number % 3 == 0, number % 12 == 5 and i == 0)
                    for i in range(random.randint(1, 5))]
        if all(crowd for objects, _ in pictures for *_, crowd in objects) or not any(p for _, p in pictures):
            continue  # nothing to find, or nothing found
        yield {"classes": classes, "pictures": pictures, **evaluate(list(scaled(pictures)), classes)}


def recorded(shapes):
    truth = json.loads((shapes / "truth.json").read_text())["images"]
    found = json.loads((shapes / "detections.json").read_text())["images"]
    pictures = []
    for image, detections in zip(truth, found, strict=True):
        assert image["file"] == detections["file"]
        objects = [o["xyxy"] + [o["class"], 0] for o in image["objects"]]
        pictures.append((objects, detections["detections"]))
    return evaluate(pictures, 3)


version = next(pathlib.Path(package_file).parent.parent.glob("pycocotools-*.dist-info")).name.split("-")[1]
result = {"made_by": {"script": "tests/detect/make_coco_scores.py", "pycocotools": version.removesuffix(".dist")},
          "recorded": recorded(pathlib.Path(sys.argv[1]) / "data/shapes"), "sets": list(random_sets())}
text = json.dumps(result, separators=(",", ":")).replace('{"classes"', '\n{"classes"')
(pathlib.Path(__file__).parent / "data/coco_scores.json").write_text(text + "\n")
