#!/usr/bin/env python3
"""The face recogniser of @vladmandic/face-api in PyTorch, layer by layer as its sources have it.

    python3 scripts/parity/face_net.py --golden
        the numbers in src/models/face_api/tests.rs: a narrow network with weights by formula
    python3 scripts/parity/face_net.py MANIFEST.json WEIGHTS.bin PIXELS.npy EMBEDDINGS.npy
        embeddings of pixels [N, 3, 150, 150] in [0, 1], float64
    python3 scripts/parity/face_net.py --slope MANIFEST.json WEIGHTS.bin PIXELS.npy
        how much of the slope along the gradient of the first number central differences of several lengths find
"""

import json
import math
import sys

import numpy as np
import torch
import torch.nn.functional as F

BLOCKS = ["conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3", "conv128_down",
          "conv128_1", "conv128_2", "conv256_down", "conv256_1", "conv256_2", "conv256_down_out"]


def embed(weights, x):
    def conv(name, x, stride, padding):
        filters = weights[name + "/conv/filters"].permute(3, 2, 0, 1)
        x = F.conv2d(x, filters, weights[name + "/conv/bias"], stride, padding)
        return x * weights[name + "/scale/weights"][:, None, None] + weights[name + "/scale/biases"][:, None, None]

    mean = torch.tensor([122.782, 117.001, 104.298], dtype=x.dtype)[:, None, None]
    x = F.max_pool2d(F.relu(conv("conv32_down", (x * 255 - mean) / 256, 2, 0)), 3, 2)
    for name in BLOCKS:
        down = "down" in name
        inside = F.relu(conv(name + "/conv1", x, 2 if down else 1, 0 if down else 1))
        inside = conv(name + "/conv2", inside, 1, 1)
        if down:
            x = F.avg_pool2d(x, 2)
            inside = F.pad(inside, (0, x.shape[3] - inside.shape[3], 0, x.shape[2] - inside.shape[2]))
            x = F.pad(x, (0, 0, 0, 0, 0, inside.shape[1] - x.shape[1]))
        x = F.relu(inside + x)
    return x.mean((2, 3)) @ weights["fc"]


def read(manifest, path):
    data, at, weights = open(path, "rb").read(), 0, {}
    for entry in json.load(open(manifest))[0]["weights"]:
        count = math.prod(entry["shape"])
        if quantized := entry.get("quantization"):
            values = np.frombuffer(data, np.uint8, count, at) * quantized["scale"] + quantized["min"]
            at += count
        else:
            values = np.frombuffer(data, "<f4", count, at)
            at += 4 * count
        weights[entry["name"]] = torch.tensor(values.astype(np.float32).astype(np.float64).reshape(entry["shape"]))
    assert at == len(data)
    return weights


def by_formula(width):
    """Each tensor by its position and its name alone."""
    shapes = {}

    def conv(name, kernel, inputs, outputs):
        shapes[name + "/conv/filters"] = [kernel, kernel, inputs, outputs]
        for part in ["conv/bias", "scale/weights", "scale/biases"]:
            shapes[name + "/" + part] = [outputs]

    conv("conv32_down", 7, 3, width)
    inputs = width
    for name in BLOCKS:
        outputs = int(name.split("_")[0][4:]) // 32 * width
        conv(name + "/conv1", 3, inputs, outputs)
        conv(name + "/conv2", 3, outputs, outputs)
        inputs = outputs
    shapes["fc"] = [inputs, 4 * width]
    weights = {}
    for number, (name, shape) in enumerate(shapes.items()):
        i = np.arange(math.prod(shape), dtype=np.uint64)
        byte = ((i * 2654435761 + (number + 1) * 40503 * 65537) % 2**32 >> 24).astype(np.float64)
        if "scale/weights" in name:
            least, scale = 0.8, 0.4 / 255
        elif len(shape) == 1:
            least, scale = -0.1, 0.2 / 255
        else:
            least = -1 / math.sqrt(math.prod(shape[:-1]))
            scale = -2 * least / 255
        weights[name] = torch.tensor((least + scale * byte).astype(np.float32).astype(np.float64).reshape(shape))
    return weights


def golden():
    weights = by_formula(3)
    for side in [103, 104]:
        i = np.arange(2 * 3 * side * side, dtype=np.uint64)
        pixels = ((i * 2246822519) % 2**32 >> 24).astype(np.float64) / 255
        x = torch.tensor(pixels.reshape(2, 3, side, side), requires_grad=True)
        out = embed(weights, x)
        out[:, 0].sum().backward()
        print(side, [round(float(v), 6) for v in out.flatten()[:14]])
        print("gradient: joint norm", round(float(x.grad.norm()), 7), "at [1, 2, 50, 51]", float(x.grad[1, 2, 50, 51]))


def slope(manifest, binary, pixels):
    weights = read(manifest, binary)
    x = torch.tensor(np.load(pixels).astype(np.float64), requires_grad=True)
    first = lambda x: embed(weights, x)[:, 0].sum()
    first(x).backward()
    size = x.grad.norm()
    with torch.no_grad():
        for step in [0.4, 0.05, 0.01, 0.001]:
            ahead, behind = [first(x + sign * step * x.grad / size) for sign in [1, -1]]
            print(step, round(float((ahead - behind) / (2 * step) / size), 4))


if __name__ == "__main__":
    if sys.argv[1:] == ["--golden"]:
        golden()
    elif sys.argv[1:2] == ["--slope"]:
        slope(*sys.argv[2:])
    else:
        manifest, binary, pixels, out = sys.argv[1:]
        with torch.no_grad():
            found = embed(read(manifest, binary), torch.tensor(np.load(pixels).astype(np.float64)))
        np.save(out, found.numpy())
