"""A detector of scale n with random weights, batch norm folded: as a model folder for Quiver, and as
an ONNX file of the same network for peers. Usage: make_detector.py FOLDER [SIDE]"""
import json, pathlib, struct, sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CLASSES = 80
out = pathlib.Path(sys.argv[1])
side = int(sys.argv[2]) if len(sys.argv) > 2 else 640
out.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(1)
weights, nodes, constants, sizes = {}, [], [], {}


def node(kind, inputs, channels, **attributes):
    name = f"t{len(nodes)}"
    nodes.append(helper.make_node(kind, inputs, [name], **attributes))
    sizes[name] = channels
    return name


def constant(name, values):
    constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def conv(x, name, outputs, k=1, s=1, act=True, depthwise=False):
    inputs = 1 if depthwise else sizes[x]
    w = random.standard_normal((outputs, k, k, inputs)).astype(np.float32) * np.float32(1.6 / np.sqrt(k * k * inputs))
    b = random.standard_normal(outputs).astype(np.float32) * np.float32(0.1)
    weights[name + ".weight"], weights[name + ".bias"] = w, b
    y = node("Conv", [x, constant(name + ".w", w.transpose(0, 3, 1, 2)), constant(name + ".b", b)], outputs,
             kernel_shape=[k, k], strides=[s, s], pads=[k // 2] * 4, group=outputs if depthwise else 1)
    return node("Mul", [y, node("Sigmoid", [y], outputs)], outputs) if act else y


def unit(x, name, outputs, k=1, s=1, act=True, depthwise=False):
    return conv(x, name + ".conv", outputs, k, s, act, depthwise)


def join(*parts):
    return node("Concat", list(parts), sum(sizes[p] for p in parts), axis=1)


def add(a, b):
    return node("Add", [a, b], sizes[a])


def part(x, begin, end, axis=1):
    tag = f"{x}.{begin}.{end}.{axis}"
    values = [constant(f"{tag}.{i}", np.array([v], np.int64)) for i, v in enumerate((begin, end, axis))]
    return node("Slice", [x] + values, end - begin)


def shaped(x, shape, channels):
    return node("Reshape", [x, constant(f"{x}.{len(nodes)}.shape", np.array(shape, np.int64))], channels)


def bottleneck(x, name, hidden):
    return add(x, unit(unit(x, name + ".cv1", hidden, 3), name + ".cv2", sizes[x], 3))


def psa(x, name, stride):
    c, n = sizes[x], side // stride
    heads = max(c // 64, 1)
    hd, kd = c // heads, c // heads // 2
    qkv = shaped(unit(x, name + ".attn.qkv", c + 2 * kd * heads, act=False), [1, heads, 2 * kd + hd, n * n], c)
    q, k, v = part(qkv, 0, kd, 2), part(qkv, kd, 2 * kd, 2), part(qkv, 2 * kd, 2 * kd + hd, 2)
    score = node("MatMul", [node("Transpose", [q], 0, perm=[0, 1, 3, 2]), k], 0)
    score = node("Mul", [score, constant(name + ".scale", np.float32(kd**-0.5))], 0)
    score = node("Transpose", [node("Softmax", [score], 0, axis=-1)], 0, perm=[0, 1, 3, 2])
    seen = shaped(node("MatMul", [v, score], 0), [1, c, n, n], c)
    seen = add(seen, unit(shaped(v, [1, c, n, n], c), name + ".attn.pe", c, 3, act=False, depthwise=True))
    x = add(x, unit(seen, name + ".attn.proj", c, act=False))
    return add(x, unit(unit(x, name + ".ffn.0", 2 * c), name + ".ffn.1", c, act=False))


def c3k2(x, name, outputs, inner, kind, stride=32):
    halves = unit(x, name + ".cv1", 2 * inner)
    a, b = part(halves, 0, inner), part(halves, inner, 2 * inner)
    at, h = name + ".m.0", inner // 2
    if kind == "B":
        deep = bottleneck(b, at, h)
    elif kind == "A":
        deep = psa(bottleneck(b, at + ".0", h), at + ".1", stride)
    else:
        p = unit(b, at + ".cv1", h)
        for i in range(2):
            p = bottleneck(p, f"{at}.m.{i}", h)
        deep = unit(join(p, unit(b, at + ".cv2", h)), at + ".cv3", inner)
    return unit(join(a, b, deep), name + ".cv2", outputs)


def double(x):
    return node("Resize", [x, "", constant(f"{x}.twice", np.array([1, 1, 2, 2], np.float32))], sizes[x],
                mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def network(x):
    m = "model."
    x = unit(unit(x, m + "0", 16, 3, 2), m + "1", 32, 3, 2)
    x = unit(c3k2(x, m + "2", 64, 16, "B"), m + "3", 64, 3, 2)
    p3 = c3k2(x, m + "4", 128, 32, "B")
    p4 = c3k2(unit(p3, m + "5", 128, 3, 2), m + "6", 128, 64, "K")
    x = c3k2(unit(p4, m + "7", 256, 3, 2), m + "8", 256, 128, "K")
    a = unit(x, m + "9.cv1", 128, act=False)
    pools = [a]
    for _ in range(3):
        pools.append(node("MaxPool", [pools[-1]], 128, kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    x = add(unit(join(*pools), m + "9.cv2", 256), x)
    halves = unit(x, m + "10.cv1", 256)
    p5 = unit(join(part(halves, 0, 128), psa(part(halves, 128, 256), m + "10.m.0", 32)), m + "10.cv2", 256)
    n4 = c3k2(join(double(p5), p4), m + "13", 128, 64, "K")
    o3 = c3k2(join(double(n4), p3), m + "16", 64, 32, "K")
    o4 = c3k2(join(unit(o3, m + "17", 64, 3, 2), n4), m + "19", 128, 64, "K")
    o5 = c3k2(join(unit(o4, m + "20", 128, 3, 2), p5), m + "22", 256, 128, "A")
    results = []
    for i, level in enumerate((o3, o4, o5)):
        box, score = f"model.23.one2one_cv2.{i}", f"model.23.one2one_cv3.{i}"
        b = unit(unit(level, box + ".0", 16, 3), box + ".1", 16, 3)
        s = unit(unit(level, score + ".0.0", sizes[level], 3, depthwise=True), score + ".0.1", CLASSES)
        s = unit(unit(s, score + ".1.0", CLASSES, 3, depthwise=True), score + ".1.1", CLASSES)
        results += [conv(b, box + ".2", 4, act=False), conv(s, score + ".2", CLASSES, act=False)]
    return results


sizes["picture"] = 3
outputs = network("picture")
graph = helper.make_graph(
    nodes, "detector", [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, side, side])],
    [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.save(model, out / "model.onnx")
header, offset = {}, 0
for name, values in weights.items():
    header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [offset, offset + values.nbytes]}
    offset += values.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(out / "model.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    for values in weights.values():
        file.write(values.tobytes())
json.dump({"model_type": "yolo26", "scale": "n", "nc": CLASSES}, open(out / "config.json", "w"))
