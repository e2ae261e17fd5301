#!/usr/bin/env python3
"""The work of `syfar bench` in PyTorch on the CPU, to be run beside it.

    pytorch.py ops|step [--model NAME] [--threads 2] [--batch N] [--side N] [--classes K] [--json]

It is written as an expert would write it in eager mode: channels_last, no gradient of the weights
inside the attack, no Python loop over pictures or classes. Names, shapes and constants are those of
`src/cli/bench.rs`. Needs PyTorch and nothing else; `ab` runs both programs in turn:

    pytorch.py ab --syfar target/release/syfar [--rounds 3]
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F


def face_cnn(side, classes):
    blocks, channels = [], 3
    for width in (32, 64, 128, 256):
        conv = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        blocks += [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(channels * (side // 16) ** 2, classes))


def vgg16(side, classes):
    layers, channels = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    channels *= (side // 32) ** 2
    for _ in range(2):
        layers += [nn.Linear(channels, 1024), nn.ReLU()]
        channels = 1024
    return nn.Sequential(*layers, nn.Linear(channels, classes))


class Residual(nn.Module):
    """BatchNorm and ReLU before each of two convolutions."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)])
        self.convs = nn.ModuleList([
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        ])
        same = (stride, inputs) == (1, outputs)
        self.short = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        first = F.relu(self.norms[0](x))
        inside = self.convs[1](F.relu(self.norms[1](self.convs[0](first))))
        return inside + (x if self.short is None else self.short(first))


def resnet18(_side, classes):
    layers, channels = [nn.Conv2d(3, 64, 3, padding=1, bias=False)], 64
    for width in (64, 128, 256, 512):
        layers += [Residual(channels, width, 1 if width == 64 else 2), Residual(width, width, 1)]
        channels = width
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(channels, classes))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.into, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        query, key, value = self.into(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class VisionTransformer(nn.Module):
    def __init__(self, side, classes, width=192, depth=12, heads=3, patch=16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, (side // patch) ** 2 + 1, width))
        wide = lambda: nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), part) for _ in range(depth) for part in (Attention(width, heads), wide())
        )
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(images), -1, -1), tokens], 1) + self.position
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x[:, 0])


CASES = {  # name: constructor, batch, side, classes; a new architecture is one more line
    "face_cnn": (face_cnn, 64, 64, 40),
    "vgg16": (vgg16, 8, 112, 10),
    "resnet18": (resnet18, 64, 32, 10),
    "vit_tiny": (VisionTransformer, 8, 224, 10),
}


def median_ms(f, runs, warm_up):
    times = []
    for run in range(warm_up + runs):
        start = time.perf_counter()
        f()
        if run >= warm_up:
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


class Bench:
    def __init__(self, model, batch, side, classes):
        torch.manual_seed(0)
        self.network = model(side, classes).to(memory_format=torch.channels_last)
        self.images = torch.rand(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % classes
        self.side, self.classes = side, classes
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.9)

    def freeze(self, frozen):
        self.network.train(not frozen)
        for parameter in self.network.parameters():
            parameter.requires_grad_(not frozen)

    def gradient(self, images):
        images = images.detach().requires_grad_(True)
        loss = F.cross_entropy(self.network(images), self.labels, reduction="sum")
        return torch.autograd.grad(loss, images)[0]

    def update(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def ops(self):
        def forward():
            with torch.no_grad():
                self.network(self.images)

        self.freeze(True)
        rows = {"forward": median_ms(forward, 7, 2), "gradient": median_ms(lambda: self.gradient(self.images), 7, 2)}
        self.freeze(False)
        rows["train"] = median_ms(lambda: self.update(F.cross_entropy(self.network(self.images), self.labels)), 7, 2)
        return rows

    def occluded(self, rectangle, stride, candidates=10, steps=20, step_size=8 / 255):
        """The pictures with the rectangle that hurts most, found by the gradient, and its best contents."""
        images, side = self.images, self.side
        places = (side - rectangle) // stride + 1
        energy = F.avg_pool2d(self.gradient(images).square().sum(1, keepdim=True), rectangle, stride)
        best = energy.flatten(1).topk(min(candidates, places * places), dim=1).indices
        line = torch.arange(side)

        def inside(place):
            within = lambda start: (line >= start[:, None]) & (line < start[:, None] + rectangle)
            rows, columns = within(place // places * stride), within(place % places * stride)
            return (rows[:, None, :, None] & columns[:, None, None, :]).float()

        with torch.no_grad():
            losses = []
            for place in best.unbind(1):
                mask = inside(place)
                logits = self.network(images * (1 - mask) + 0.5 * mask)
                losses.append(F.cross_entropy(logits, self.labels, reduction="none"))
            mask = inside(best.gather(1, torch.stack(losses, 1).argmax(1, keepdim=True)).squeeze(1))
        adversarial = images * (1 - mask) + 0.5 * mask
        for _ in range(steps):
            adversarial = (adversarial + step_size * self.gradient(adversarial).sign() * mask).clamp(0, 1).detach()
        return adversarial

    def sy_far(self):
        self.freeze(True)
        rectangle = self.side * 70 // 224
        adversarial = self.occluded(rectangle, max(1, rectangle // 7))
        self.freeze(False)
        clean, robust = self.network(self.images), self.network(adversarial)
        members = F.one_hot(self.labels, self.classes).float()
        confusion = members.t() @ robust.softmax(1) / members.sum(0).clamp_min(1)[:, None]
        total, difference = confusion + confusion.t(), (confusion - confusion.t()).abs()
        penalty = (difference * total / (total + 0.1)).sum() / 2
        loss = 0.1 * F.cross_entropy(clean, self.labels) + F.cross_entropy(robust, self.labels) + 10 * penalty
        self.update(loss)

    def step(self):
        return {"step": median_ms(self.sy_far, 3, 1)}


def run(arguments):
    model, *sizes = CASES[arguments.model]
    given = (arguments.batch, arguments.side, arguments.classes)
    bench = Bench(model, *[own or default for own, default in zip(given, sizes)])
    rows = bench.ops() if arguments.work == "ops" else bench.step()
    return {name: round(ms, 1) for name, ms in rows.items()}


def ab(arguments):
    """Runs both programs in turn, in processes of their own, and prints medians, ratios and peak memory."""
    common = ["--model", arguments.model, "--threads", str(arguments.threads), "--json"]
    programs = {"syfar": [arguments.syfar, "bench"], "pytorch": [sys.executable, __file__]}
    for work in ("ops", "step"):
        found = {name: [] for name in programs}
        for _ in range(arguments.rounds):
            for name, command in programs.items():
                timed = ["/usr/bin/env", "time", "-f", "%M", *command, work, *common]
                result = subprocess.run(timed, check=True, capture_output=True, text=True)
                row = json.loads(result.stdout)
                row["peak MB"] = int(result.stderr.split()[-1]) / 1024
                found[name].append(row)
        print(f"| {arguments.model}, {work} | syfar | PyTorch {torch.__version__} | ratio |\n|---|---|---|---|")
        for key in found["syfar"][0]:
            ours, theirs = (statistics.median(row[key] for row in found[name]) for name in programs)
            print(f"| {key} | {ours:.1f} | {theirs:.1f} | {theirs / ours:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["ops", "step", "ab"])
    parser.add_argument("--model", choices=CASES, default="face_cnn")
    parser.add_argument("--threads", type=int, default=2)
    for size in ("batch", "side", "classes"):
        parser.add_argument(f"--{size}", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--syfar", default="target/release/syfar", help="the other program, for `ab`")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program, for `ab`")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.work == "ab":
        ab(arguments)
    else:
        rows = run(arguments)
        print(json.dumps(rows) if arguments.json else f"{arguments.model}, {arguments.threads} threads: {rows} ms")


if __name__ == "__main__":
    main()
