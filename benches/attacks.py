#!/usr/bin/env python3
"""Attacks as wholes, by `syfar audit` and in PyTorch, in turn on the same network and the same pictures.

    attacks.py ab --syfar target/release/syfar --work DIR [--from IDX] [--pictures 5] [--only pairs] [--rounds 2] [--threads 2]

The first call makes what is needed and keeps it in DIR: Fashion-MNIST (of the Debian package dataset-fashion-mnist, or the folder
IDX of scripts/fetch-fashion-mnist), padded to 32 x 32, and a `face_cnn` that `syfar train` trains against PGD. Then two rows:

1. AutoAttack `standard`: ours, and pyautoattack 0.2.0.
2. Targeted PGD, every picture towards every other class: ours, and K - 1 runs in PyTorch, each with one target for each picture:
   `plain`, as libraries do it, every picture for all steps, and `dropping`, where pictures leave the batch once they have reached
   their target.

PyTorch gets the network in its best form: BatchNorm folded into the convolutions, channels_last inside, no gradient of the weights. Seconds
are those of the attacks with the judging of the clean pictures; starting, loading and reports are not counted. Both programs say how
many pictures they turned, which must be about the same, or the times mean nothing. Needs PyTorch, numpy, Pillow and pyautoattack.
"""
import argparse
import json
import os
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pytorch import face_cnn

LEVELS, STEPS, CLASSES, SIDE = 16, 20, 10, 32
EPSILON = LEVELS / 255
CONFIG = f"""
[model.preprocessing]
side = {SIDE}
[objective]
kind = "adversarial"
clean_weight = 0.5
adversarial_weight = 0.5
[objective.attack]
kind = "pgd"
epsilon = "{LEVELS}/255"
steps = 5
early_stop = false
[train]
batch_size = 64
[train.augment]
flip = false
shift = 0
[validation.attack]
kind = "pgd"
epsilon = "{LEVELS}/255"
steps = 5
"""


def call(*command, **more):
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, **more)
    if result.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{result.stderr}")
    return result.stdout


def prepare(arguments):
    """Pictures, network and weights, unless they are there."""
    work, syfar = arguments.work, arguments.syfar
    if (work / "weights.safetensors").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    idx = ["--from", arguments.idx] if arguments.idx else []
    sizes = ["--train", arguments.train, "--val", 20, "--test", arguments.pictures]
    call(syfar, "data", "fashion-mnist", "--out", work / "small", *idx, *sizes)
    for file in sorted((work / "small").rglob("*.png")):
        to = work / "data" / file.relative_to(work / "small")
        to.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(np.asarray(Image.open(file).convert("L")), 2)).save(to)
    (work / "train.toml").write_text(CONFIG)
    call(syfar, "train", "--data", work / "data", "--config", work / "train.toml", "--out", work / "run",
         "--set", f"train.epochs={arguments.epochs}")
    call(syfar, "export", "--model", work / "run/model", "--out", work / "weights.safetensors")


def network(work):
    """The trained network, folded and frozen."""
    content = (work / "weights.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    tensors = {}
    for name, at in json.loads(content[8:8 + length]).items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in at["data_offsets"])
            values = np.frombuffer(content[begin:end], "<f4").reshape(at["shape"])
            tensors[name] = torch.from_numpy(values.copy())
    net = face_cnn(SIDE, CLASSES)
    for block in range(4):
        of = lambda layer: {key.rsplit(".", 1)[1]: value for key, value in tensors.items()
                            if key.startswith(f"blocks.{block}.{layer}.")}
        net[4 * block].load_state_dict(of("conv"))
        net[4 * block + 1].load_state_dict(of("norm"), strict=False)
    net[-1].load_state_dict({key: tensors[f"head.{key}"] for key in ("weight", "bias")})
    net.eval()
    for block in range(4):
        net[4 * block] = fuse_conv_bn_eval(net[4 * block], net[4 * block + 1])
        net[4 * block + 1] = nn.Identity()
    net = net.to(memory_format=torch.channels_last)
    for parameter in net.parameters():
        parameter.requires_grad_(False)

    def logits(x):
        x = (x - 0.5) / 0.25
        if x.requires_grad:
            # The reference implementation takes `view` of gradients, which must not be channels_last.
            x.register_hook(lambda gradient: gradient.contiguous())
        return net(x.contiguous(memory_format=torch.channels_last))

    return logits


def pictures(work):
    files = sorted((work / "data/test").rglob("*.png"))
    names = sorted({file.parent.name for file in files})
    grey = np.stack([np.asarray(Image.open(file)) for file in files])
    x = torch.tensor(grey, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1) / 255
    labels = torch.tensor([names.index(file.parent.name) for file in files])
    return x.contiguous(), labels


def towards(net, x, y, dropping):
    """One run of PGD with a target for each picture; which pictures reached theirs at any time."""
    step, reached = 2.5 * EPSILON / STEPS, torch.zeros(len(x), dtype=torch.bool)
    rows, low, high = torch.arange(len(x)), (x - EPSILON).clamp_min(0), (x + EPSILON).clamp_max(1)
    adv = (x + torch.empty_like(x).uniform_(-EPSILON, EPSILON)).clamp(0, 1)
    for _ in range(STEPS):
        adv.requires_grad_(True)
        logits = net(adv)
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), adv)
        hit = logits.detach().argmax(1) == y
        reached[rows] |= hit
        adv = adv.detach()
        if dropping and hit.any():
            if hit.all():
                return reached
            rows, adv, gradient, y, low, high = (part[~hit] for part in (rows, adv, gradient, y, low, high))
        adv = torch.minimum(torch.maximum(adv - step * gradient.sign(), low), high)
    with torch.no_grad():
        reached[rows] |= net(adv).argmax(1) == y
    return reached


def all_pairs(net, x, y, dropping):
    torch.manual_seed(0)
    begun, count = time.perf_counter(), 0
    with torch.no_grad():
        net(x)
    for shift in range(1, CLASSES):
        count += towards(net, x, (y + shift) % CLASSES, dropping).sum().item()
    return {"seconds": time.perf_counter() - begun, "turned": count / (len(x) * (CLASSES - 1))}


def autoattack(net, x, y):
    from pyautoattack import AutoAttack
    attack = AutoAttack(net, norm="Linf", eps=EPSILON, version="standard", device="cpu", seed=0)
    begun = time.perf_counter()
    adv, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
    seconds = time.perf_counter() - begun
    with torch.no_grad():
        right = net(adv).argmax(1) == y
    return {"seconds": seconds, "turned": 1 - right.float().mean().item()}


def peer(arguments):
    """What one run in PyTorch prints, in a process of its own."""
    torch.set_num_threads(arguments.threads)
    net, (x, y) = network(arguments.work), pictures(arguments.work)
    if arguments.what == "autoattack":
        found = autoattack(net, x, y)
    else:
        found = all_pairs(net, x, y, arguments.what == "dropping")
    print(json.dumps(found))


def ours(arguments, what, count):
    """Seconds of the attack and the share of pictures (or pairs) that it turned, from the run's own files."""
    work, out = arguments.work, arguments.work / "audit"
    call("rm", "-rf", out)
    attack = ["--attack", "autoattack", "--targets", "none"]
    if what == "pairs":
        attack = ["--attack", "pgd", "--targets", "all", "--set", "untargeted=false", "--set", f"attack.steps={STEPS}"]
    call(arguments.syfar, "audit", "--model", work / "run/model", "--data", work / "data", "--out", out, *attack,
         "--set", f"attack.epsilon={LEVELS}/255", "--set", "checks.depth=off", "--set", f"batch_size={count}",
         env={**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)})
    events = map(json.loads, (out / "events.jsonl").read_text().splitlines())
    seconds = next(event["data"]["seconds"] for event in events if event["kind"] == "audit_end")
    matrix = "confusion_autoattack.csv" if what == "autoattack" else "success_pgd.csv"
    return {"seconds": seconds, "turned": share(out / matrix, what == "autoattack")}


def share(file, confusion):
    """Errors of a confusion matrix, or the mean of a matrix of successes."""
    rows = [line.split(",")[1:] for line in file.read_text().splitlines()[1:]]
    if confusion:
        counts = np.array(rows, float)
        return 1 - np.trace(counts) / counts.sum()
    return float(np.mean([float(cell) for row in rows for cell in row if cell]))


def same_answers(arguments):
    """Both programs must have the same network and pictures."""
    net, (x, _) = network(arguments.work), pictures(arguments.work)
    np.save(arguments.work / "pixels.npy", x.numpy())
    call(arguments.syfar, "predict", "--model", arguments.work / "run/model", "--npy", arguments.work / "pixels.npy",
         "--npy-out", arguments.work / "logits.npy")
    gap = np.abs(np.load(arguments.work / "logits.npy") - net(x).numpy()).max()
    if gap > 1e-3:
        sys.exit(f"the logits of the two programs differ by {gap}; delete {arguments.work} and begin anew")
    return len(x)


def ab(arguments):
    prepare(arguments)
    count = same_answers(arguments)
    common = ["--work", arguments.work, "--threads", arguments.threads]
    theirs = lambda what: json.loads(call(sys.executable, __file__, "peer", what, *common).splitlines()[-1])
    print(f"{count} pictures, epsilon {LEVELS}/255, {arguments.threads} threads, {arguments.rounds} rounds, PyTorch {torch.__version__}\n")
    print("| work | syfar, s | PyTorch, s | ratio | syfar turns | PyTorch turns |\n|---|---|---|---|---|---|")
    for what, peers in (("autoattack", ["autoattack"]), ("pairs", ["plain", "dropping"])):
        if arguments.only not in (None, what):
            continue
        found = {name: [] for name in ["syfar", *peers]}
        for _ in range(arguments.rounds):
            found["syfar"].append(ours(arguments, what, count))
            for name in peers:
                found[name].append(theirs(name))
        middle = lambda name, key: statistics.median(run[key] for run in found[name])
        for name in peers:
            label = "AutoAttack standard" if what == "autoattack" else f"all pairs, PyTorch {name}"
            seconds = middle("syfar", "seconds"), middle(name, "seconds")
            turned = f"{middle('syfar', 'turned'):.3f} | {middle(name, 'turned'):.3f}"
            print(f"| {label} | {seconds[0]:.1f} | {seconds[1]:.1f} | {seconds[1] / seconds[0]:.2f} | {turned} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["ab", "peer"])
    parser.add_argument("what", nargs="?", choices=["autoattack", "plain", "dropping"], help="for `peer`")
    parser.add_argument("--work", type=Path, required=True, help="folder of the network and the pictures")
    parser.add_argument("--syfar", default="target/release/syfar")
    parser.add_argument("--from", dest="idx", help="folder with the four IDX files")
    parser.add_argument("--pictures", type=int, default=5, help="pictures of each class, when the folder is made")
    parser.add_argument("--train", type=int, default=600, help="training pictures of each class, when the folder is made")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of training, when the folder is made")
    parser.add_argument("--only", choices=["autoattack", "pairs"], help="one of the two rows")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each program")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    {"ab": ab, "peer": peer}[arguments.command](arguments)


if __name__ == "__main__":
    main()
