"""Logits and input gradients of the architectures in PyTorch, for comparison with `syfar`.

    python scripts/parity/models.py goldens assets/parity/models
        small networks whose weights are a formula: what the tests read
    python scripts/parity/models.py full DIR --syfar target/release/syfar
        networks of full size: imports the weights, predicts 2 pictures, prints the table of docs/parity.md
    python scripts/parity/models.py kinks
        PyTorch alone, the same networks and pictures: how far float32 is from float64, and how far when float64
        is told which side of each ReLU and which winner of each maximum to take

Needs torch, torchvision and timm. Weights are made up, so that nothing is downloaded. At full size they are
random, and running statistics are those of a pass over random pictures, so that BatchNorm does something. The
nets for CIFAR are written out here with the names of RobustBench's.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """Two or three convolutions, ReLU after the sum (He et al. 2016a), names as in networks for CIFAR."""

    def __init__(self, inputs, width, stride, expansion):
        super().__init__()
        outputs = width * expansion
        if expansion == 1:
            kernels, channels, strides = (3, 3), (inputs, width, outputs), (stride, 1)
        else:
            kernels, channels, strides = (1, 3, 1), (inputs, width, width, outputs), (1, stride, 1)
        self.depth = len(kernels)
        for i, kernel in enumerate(kernels):
            conv = nn.Conv2d(channels[i], channels[i + 1], kernel, strides[i], kernel // 2, bias=False)
            setattr(self, f"conv{i + 1}", conv)
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(channels[i + 1]))
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.depth else y
        return F.relu(y + self.shortcut(x))


class ActiveBlock(nn.Module):
    """BatchNorm and ReLU before each convolution (He et al. 2016b); the shortcut takes the activated input."""

    def __init__(self, inputs, outputs, stride, name):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.name = name
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            setattr(self, name, nn.Sequential(conv) if name == "shortcut" else conv)

    def forward(self, x):
        active = F.relu(self.bn1(x))
        around = getattr(self, self.name)(active) if hasattr(self, self.name) else x
        return self.conv2(F.relu(self.bn2(self.conv1(active)))) + around


class CifarResNet(nn.Module):
    def __init__(self, blocks, width, expansion, classes):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        channels = width
        for stage, count in enumerate(blocks):
            inside = width * 2**stage
            layer = []
            for i in range(count):
                layer.append(Block(channels, inside, 2 if i == 0 and stage > 0 else 1, expansion))
                channels = inside * expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.linear = nn.Linear(channels, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.linear(x.mean((2, 3)))


class PreActResNet18(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        channels = width
        for stage in range(4):
            outputs, stride = width * 2**stage, 1 if stage == 0 else 2
            first = ActiveBlock(channels, outputs, stride, "shortcut")
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, ActiveBlock(outputs, outputs, 1, "shortcut")))
            channels = outputs
        self.bn, self.linear = nn.BatchNorm2d(channels), nn.Linear(channels, classes)

    def forward(self, x):
        x = self.conv1(x)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.linear(F.relu(self.bn(x)).mean((2, 3)))


class WideResNet(nn.Module):
    def __init__(self, depth, widen, classes, sub_block1=False):
        super().__init__()
        count = (depth - 4) // 6
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)

        def stage(inputs, outputs, stride):
            blocks = [ActiveBlock(inputs if i == 0 else outputs, outputs, stride if i == 0 else 1, "convShortcut")
                      for i in range(count)]
            holder = nn.Module()
            holder.layer = nn.Sequential(*blocks)
            return holder

        self.block1 = stage(widths[0], widths[1], 1)
        if sub_block1:
            self.sub_block1 = stage(widths[0], widths[1], 1)
        self.block2, self.block3 = stage(widths[1], widths[2], 2), stage(widths[2], widths[3], 2)
        self.bn1, self.fc = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], classes)

    def forward(self, x):
        x = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            x = block.layer(x)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))


def vgg(plan, width, side, classes, face=False):
    """torchvision's VGG with another width; `face` leaves the adaptive pooling out and has names of VGG-Face."""
    from torchvision.models.vgg import VGG, make_layers

    plans = {11: "1M2M44M88M88M", 13: "11M22M44M88M88M", 16: "11M22M444M888M888M"}
    layers = make_layers([letter if letter == "M" else int(letter) * width for letter in plans[plan]])
    net = VGG(layers, num_classes=classes, dropout=0.0)
    hidden, pooled = 64 * width, 8 * width * ((side // 32) ** 2 if face else 49)
    net.classifier[0], net.classifier[3] = nn.Linear(pooled, hidden), nn.Linear(hidden, hidden)
    net.classifier[6] = nn.Linear(hidden, classes)
    if face:
        net.avgpool = nn.Identity()
    return net


def face_names(state):
    """The names of ports of VGG-Face: conv_1_1 to conv_5_3, fc6 to fc8."""
    block, conv, last, names = 1, 0, None, {}
    for name in state:
        kind, index, what = name.split(".")
        if kind == "classifier":
            names[name] = f"fc{int(index) // 3 + 6}.{what}"
            continue
        if index != last:
            jump = last is not None and int(index) - int(last) == 3
            block, conv, last = block + jump, 1 if jump else conv + 1, index
        names[name] = f"conv_{block}_{conv}.{what}"
    return {names[name]: value for name, value in state.items()}


def networks(full):
    """name -> (function that makes the network, side, mean, std, change of the state dict)."""
    import timm
    from timm.models.vision_transformer import VisionTransformer
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    k = 10 if full else 5

    def resnet(block, blocks):
        net = ResNet(block, blocks, num_classes=k)
        if full:
            return net
        # A quarter of everything: torchvision has no width for all layers.
        narrow = ResNet.__new__(ResNet)
        nn.Module.__init__(narrow)
        narrow.__dict__.update({key: value for key, value in net.__dict__.items() if not key.startswith("_")})
        narrow._norm_layer, narrow.inplanes, w = nn.BatchNorm2d, 2, 2
        narrow.conv1, narrow.bn1 = nn.Conv2d(3, w, 7, 2, 3, bias=False), nn.BatchNorm2d(w)
        narrow.relu, narrow.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        for i in range(4):
            layer = ResNet._make_layer(narrow, block, w * 2**i, blocks[i], stride=1 if i == 0 else 2)
            setattr(narrow, f"layer{i + 1}", layer)
        narrow.avgpool, narrow.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8 * w * block.expansion, k)
        return narrow

    imagenet, none, half = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.0] * 3, [1.0] * 3), ([0.5] * 3, [0.5] * 3)
    width, wide, cifar = (64, 10, 32) if full else (1, 1, 16)
    side = 224 if full else 64
    nets = {}
    for depth in (11, 13, 16):
        # Small: 96 is 3 x 3 features, so the pooling to 7 x 7 is seen.
        own = 224 if full else 96
        nets[f"vgg{depth}_torchvision"] = (lambda depth=depth, own=own: vgg(depth, width, own, k), own, *imagenet, None)
        nets[f"vgg{depth}_face"] = (lambda depth=depth: vgg(depth, width, side, k, face=True), side, *imagenet, face_names)
    nets["resnet18_imagenet"] = (lambda: resnet(BasicBlock, [2, 2, 2, 2]), side, *imagenet, None)
    nets["resnet34_imagenet"] = (lambda: resnet(BasicBlock, [3, 4, 6, 3]), side, *imagenet, None)
    nets["resnet50_imagenet"] = (lambda: resnet(Bottleneck, [3, 4, 6, 3]), side, *imagenet, None)
    narrow = 64 if full else 2
    nets["resnet18_cifar"] = (lambda: CifarResNet([2, 2, 2, 2], narrow, 1, k), cifar, *none, None)
    nets["resnet34_cifar"] = (lambda: CifarResNet([3, 4, 6, 3], narrow, 1, k), cifar, *none, None)
    nets["resnet50_cifar"] = (lambda: CifarResNet([3, 4, 6, 3], narrow, 4, k), cifar, *none, None)
    nets["preact_resnet18"] = (lambda: PreActResNet18(narrow, k), cifar, *none, None)
    nets["wide_resnet28_10"] = (lambda: WideResNet(28 if full else 10, wide, k), cifar, *none, None)
    nets["wide_resnet34_10"] = (lambda: WideResNet(34 if full else 16, wide, k, sub_block1=True), cifar, *none, None)
    for name, heads in (("tiny", 3), ("small", 6), ("base", 12)):
        if full:
            make = lambda name=name: timm.create_model(f"vit_{name}_patch16_224", num_classes=k)
        else:
            make = lambda heads=heads: VisionTransformer(
                32, 16, embed_dim=8 * heads, depth=2, num_heads=heads, num_classes=k)
        nets[f"vit_{name}"] = (make, 224 if full else 32, *half, None)
    return nets


def seeded(net, side, seed=0):
    """Random weights of a usual size, and running statistics of a pass."""
    torch.manual_seed(seed)
    for parameter in net.parameters():
        if parameter.dim() > 1 and parameter.shape[0] != 1:
            fan_in = parameter[0].numel()
            nn.init.normal_(parameter, std=(1.6 / fan_in) ** 0.5)
        elif parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1)
    net.train()
    if any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
        with torch.no_grad():
            for _ in range(3):
                net(torch.randn(8, 3, side, side))
    return net.eval()


def answer(net, pixels, mean, std, label=None):
    """Logits and the gradient of the cross-entropy with respect to pixels in [0, 1], at a label; without one at the
    least likely class, where softmax never saturates."""
    shape = (1, 3, 1, 1)
    x = torch.from_numpy(pixels).requires_grad_(True)
    constant = lambda values: torch.tensor(values, dtype=x.dtype).view(shape)
    logits = net((x - constant(mean)) / constant(std))
    labels = logits.argmin(1) if label is None else torch.full((len(x),), label)
    F.cross_entropy(logits, labels, reduction="sum").backward()
    return logits.detach().numpy(), x.grad.numpy()


class Decisions:
    """Which inputs of each ReLU pass, and which win each maximum: noted in one pass and repeated in another."""

    def __init__(self):
        self.noted, self.differ, self.count = [], 0, 0

    def pass_through(self, work, repeat):
        """Does some work with every ReLU and maximum noted, or with the noted ones in their order."""
        noted, relu, pool = iter(list(self.noted)), F.relu, F.max_pool2d

        def decide(own):
            if not repeat:
                self.noted.append(own)
                return own
            other = next(noted)
            self.differ, self.count = self.differ + int((other != own).sum()), self.count + own.numel()
            return other

        def at_relu(x, inplace=False):
            return x * decide(x > 0).to(x.dtype)

        def at_pool(x, *words, return_indices=False, **more):
            _, winners = F.max_pool2d_with_indices(x, *words, **more)
            winners = decide(winners)
            return x.flatten(2).gather(2, winners.flatten(2)).view(winners.shape)

        F.relu, F.max_pool2d = at_relu, at_pool
        try:
            return work()
        finally:
            F.relu, F.max_pool2d = relu, pool


def kinks(only):
    """How far PyTorch's float32 is from its float64, and what of that is left without other decisions."""
    print("| architecture | float32 to float64 | with the same decisions | decisions that differ | of |")
    print("|---|---|---|---|---|")
    apart = lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(b)
    for name, (make, side, mean, std, _) in networks(full=True).items():
        if only and name not in only:
            continue
        net, pixels, decisions = seeded(make(), side), pictures(side, 2), Decisions()
        _, single = decisions.pass_through(lambda: answer(net, pixels, mean, std, 3), repeat=False)
        net, pixels = net.double(), pixels.astype(np.float64)
        _, double = answer(net, pixels, mean, std, 3)
        _, forced = decisions.pass_through(lambda: answer(net, pixels, mean, std, 3), repeat=True)
        print(f"| `{name}` | {apart(single, double):.1e} | {apart(single, forced):.1e} | {decisions.differ:,} |"
              f" {decisions.count:,} |", flush=True)


def pictures(side, count, seed=1):
    return np.random.default_rng(seed).random((count, 3, side, side), dtype=np.float32)


def by_formula(state):
    """Weights that any program can compute: 2 frac(43758.5453 sin(12.9898 i + 78.233 j)) - 1 for number i of tensor
    j in the order of names, scaled."""
    made = {}
    names = sorted(name for name, value in state.items() if value.is_floating_point())
    for j, name in enumerate(names):
        shape = tuple(state[name].shape)
        u = 43758.5453 * np.sin(12.9898 * np.arange(state[name].numel()) + 78.233 * j)
        u = 2 * (u - np.floor(u)) - 1
        if name.endswith("running_var"):
            u = 1 + 0.4 * u
        elif len(shape) > 1 and shape[0] > 1:
            u = u * np.sqrt(4.8 / np.prod(shape[1:]))
        elif len(shape) == 1 and name.endswith("weight"):
            u = 1 + 0.5 * u
        else:
            u = 0.2 * u
        made[name] = torch.from_numpy(u.astype(np.float32).reshape(shape))
    return made


def goldens(out):
    """The small networks: names and shapes of their tensors, logits and gradients of two pictures; and some files."""
    from timm.layers import resample_abs_pos_embed

    out.mkdir(parents=True, exist_ok=True)
    short = lambda values: [float(f"{value:.9g}") for value in np.asarray(values, dtype=np.float64).ravel()]
    cases = {}
    for name, (make, side, mean, std, rename) in networks(full=False).items():
        net = make()
        state = by_formula(rename(net.state_dict()) if rename else net.state_dict())
        back = dict(zip(rename(net.state_dict()), net.state_dict())) if rename else {key: key for key in state}
        net.load_state_dict({back[key]: value for key, value in state.items()}, strict=False)
        net.eval()
        i = np.arange(2 * 3 * side * side)
        pixels = (0.5 + 0.5 * np.sin(0.37 * i + 0.0001 * i * i)).astype(np.float32).reshape(2, 3, side, side)
        logits, gradient = answer(net, pixels, mean, std)
        flat = gradient.reshape(-1)
        step = flat.size // 150
        cases[name] = {
            "side": side, "mean": mean, "std": std, "tensors": {key: list(value.shape) for key, value in state.items()},
            "logits": short(logits), "gradient_step": step, "gradient": short(flat[::step]),
            "gradient_norm": float(np.linalg.norm(flat)),
        }
        counters = {key: value for key, value in net.state_dict().items() if not value.is_floating_point()}
        if name == "vgg11_face":  # The format of PyTorch before 1.6, as torchvision's older files.
            torch.save(state, out / "legacy.pt", _use_new_zipfile_serialization=False)
        elif name == "resnet18_cifar":  # A checkpoint of a trainer, half precision, wrapped by DataParallel.
            nested = {f"module.{key}": value.half() for key, value in state.items()}
            nested |= {f"module.{key}": value for key, value in counters.items()}
            optimiser = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
            torch.save({"epoch": 3, "state_dict": nested, "optimizer": optimiser}, out / "checkpoint.pth")
        elif name == "vit_tiny":  # A whole module.
            torch.save(nn.Sequential(nn.Linear(2, 3)), out / "module.pt")
    positions = torch.randn(1, 1 + 36, 2, generator=torch.manual_seed(3))
    resized = {to: short(resample_abs_pos_embed(positions, [to, to], [6, 6])) for to in (4, 9)}
    cases["positions"] = {"before": short(positions), "to_4": resized[4], "to_9": resized[9]}
    (out / "models.json").write_text(json.dumps(cases, separators=(",", ":")))


def full(out, syfar, only):
    """Networks of full size through the program's own commands."""
    out.mkdir(parents=True, exist_ok=True)
    print("| architecture | parameters | logits, largest relative difference | input gradient, relative difference | cosine |")
    print("|---|---|---|---|---|")
    for name, (make, side, mean, std, rename) in networks(full=True).items():
        if only and name not in only:
            continue
        net = seeded(make(), side)
        state = rename(net.state_dict()) if rename else net.state_dict()
        weights, model, pixels = out / f"{name}.pt", out / name, out / f"{name}.npy"
        torch.save(state, weights)
        np.save(pixels, pictures(side, 2))
        words = lambda values: ",".join(map(str, values))
        run = lambda *arguments: subprocess.run([syfar, *map(str, arguments)], check=True, capture_output=True)
        run("import", "--architecture", name, "--weights", weights, "--out", model, "--side", side,
            "--mean", words(mean), "--std", words(std), "--channels", "rgb")
        run("predict", "--model", model, "--npy", pixels, "--npy-out", out / f"{name}.logits.npy",
            "--input-gradient", "--label", 3)
        logits, gradient = answer(net, np.load(pixels), mean, std, 3)
        own_logits, own_gradient = np.load(out / f"{name}.logits.npy"), np.load(out / f"{name}.logits-gradient.npy")
        gap = np.abs(own_logits - logits).max() / np.abs(logits).max()
        apart = np.linalg.norm(own_gradient - gradient) / np.linalg.norm(gradient)
        a, b = own_gradient.ravel().astype(np.float64), gradient.ravel().astype(np.float64)
        cosine = a @ b / np.sqrt((a @ a) * (b @ b))
        count = sum(parameter.numel() for parameter in net.parameters())
        idle = sum(p.numel() for key, p in net.named_parameters() if key.startswith("sub_block1"))
        print(f"| `{name}` | {count - idle:,} | {gap:.1e} | {apart:.1e} | {cosine:.7f} |", flush=True)
        for path in (weights, pixels):
            path.unlink()
        subprocess.run(["rm", "-r", str(model)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["goldens", "full", "kinks"])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--syfar", default="target/release/syfar")
    parser.add_argument("--only", nargs="*")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "kinks":
        kinks(given.only)
    elif given.out is None:
        parser.error("a folder is missing")
    else:
        goldens(given.out) if given.what == "goldens" else full(given.out, given.syfar, given.only)
