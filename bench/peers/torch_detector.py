"""The network of make_detector.py's ONNX file in torch: what its nodes are, in memory that torch likes best."""
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


def is_silu(graph, node):
    """Whether a Mul is x * sigmoid(x); then the Sigmoid's output is its second input."""
    made = {n.output[0]: n for n in graph.node}
    gate = made.get(node.input[1])
    return gate is not None and gate.op_type == "Sigmoid" and gate.input[0] == node.input[0]


class TorchDetector:
    def __init__(self, path):
        graph = onnx.load(path).graph
        self.constants = {c.name: torch.from_numpy(numpy_helper.to_array(c).copy()) for c in graph.initializer}
        self.outputs = [o.name for o in graph.output]
        used = {n.input[1] for n in graph.node if n.op_type == "Mul" and is_silu(graph, n)}
        self.steps = [self.step(graph, n) for n in graph.node if n.output[0] not in used]
        # A value's last reader ends it, as it does where the code is a module's.
        last = {name: i for i, (_, names, _) in enumerate(self.steps) for name in names}
        self.ends = [[n for n in names if last[n] == i and n not in self.outputs and n not in self.constants]
                     for i, (_, names, _) in enumerate(self.steps)]

    def step(self, graph, node):
        a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
        x, k, kind = list(node.input), self.constants, node.op_type
        if kind == "Conv":
            w = k[x[1]] if a["group"] > 1 else k[x[1]].to(memory_format=torch.channels_last)
            bias, stride, pad, groups = k[x[2]], a["strides"][0], a["pads"][0], a["group"]
            return node.output[0], x[:1], lambda v: F.conv2d(v, w, bias, stride, pad, 1, groups)
        if kind == "Mul" and is_silu(graph, node):
            return node.output[0], x[:1], F.silu
        if kind == "Slice":
            begin, end, axis = (int(k[n][0]) for n in x[1:4])
            return node.output[0], x[:1], lambda v: v.narrow(axis, begin, end - begin)
        simple = {
            "Mul": lambda: (x, torch.mul), "Add": lambda: (x, torch.add), "MatMul": lambda: (x, torch.matmul),
            "Concat": lambda: (x, lambda *v: torch.cat(v, a["axis"])),
            "Softmax": lambda: (x, lambda v: F.softmax(v, a["axis"])),
            "Transpose": lambda: (x, lambda v: v.permute(*a["perm"])),
            "Reshape": lambda: (x[:1], lambda v: v.reshape(*k[x[1]].tolist())),
            "Resize": lambda: (x[:1], lambda v: F.interpolate(v, scale_factor=2, mode="nearest")),
            "MaxPool": lambda: (x, lambda v: F.max_pool2d(v, a["kernel_shape"][0], 1, a["pads"][0])),
        }
        names, function = simple[kind]()
        return node.output[0], names, function

    @torch.inference_mode()
    def __call__(self, picture):
        values = dict(self.constants, picture=torch.from_numpy(picture).contiguous(memory_format=torch.channels_last))
        for (name, inputs, function), ends in zip(self.steps, self.ends):
            values[name] = function(*(values[i] for i in inputs))
            for end in ends:
                values.pop(end, None)
        return [values[o].numpy() for o in self.outputs]
