"""Train a small network on Fashion-MNIST and run the reference AutoAttack parts on it.

    python parity.py train DATA OUT      DATA: folder with the four idx files (Debian: dataset-fashion-mnist)
    python parity.py reference OUT       writes OUT/reference.json: which images each part turns
    SYFAR_PARITY=OUT cargo test --lib attacks::parity -- --ignored --nocapture     writes OUT/syfar.json
    python parity.py table OUT           the table of docs/parity.md
    python parity.py golden OUT ASSETS   the small files of the tests

Needs torch and pyautoattack. OUT/weights.bin holds little-endian f32: conv1 [8,1,3,3], its bias, conv2
[16,8,3,3], its bias, head [10,784], its bias, in PyTorch's order. OUT/images.bin holds the first 1,000 test
pictures as bytes, each followed by its label.
"""
import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

BUDGETS = [("Linf", 0.05), ("Linf", 0.1), ("Linf", 0.15), ("L2", 1.0), ("L1", 5.0)]
PARTS = ["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"]
COUNT, GOLDEN = 1000, 48


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.conv2 = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = torch.nn.Linear(784, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        return self.head(F.relu(self.conv2(x)).flatten(1))


def read(folder, name):
    with gzip.open(folder / f"{name}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{name}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels


def train(data, out):
    """PGD training in the L-inf ball of 0.1: 2 epochs, 4 steps."""
    images, labels = read(data, "train")
    x, y = torch.tensor(images), torch.tensor(labels, dtype=torch.long)
    torch.manual_seed(0)
    net = Net()
    epochs, eps = 2, 0.1
    optimizer = torch.optim.Adam(net.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(x) // 128))
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x) - 127, 128):
            rows = order[at:at + 128]
            clean, label = x[rows].float() / 255, y[rows]
            adv = (clean + torch.empty_like(clean).uniform_(-eps, eps)).clamp(0, 1)
            for _ in range(4):
                adv.requires_grad_()
                (grad,) = torch.autograd.grad(F.cross_entropy(net(adv), label), adv)
                adv = (adv.detach() + 0.06 * grad.sign()).clamp(clean - eps, clean + eps).clamp(0, 1)
            loss = F.cross_entropy(net(adv), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}", flush=True)
    parameters = [p.detach().numpy().ravel() for p in net.parameters()]
    out.mkdir(parents=True, exist_ok=True)
    np.concatenate(parameters).astype("<f4").tofile(out / "weights.bin")
    images, labels = read(data, "t10k")
    rows = [bytes(images[i].ravel()) + bytes([labels[i]]) for i in range(COUNT)]
    (out / "images.bin").write_bytes(b"".join(rows))


def load(out):
    net, values = Net(), torch.from_numpy(np.fromfile(out / "weights.bin", "<f4").copy())
    torch.nn.utils.vector_to_parameters(values, net.parameters())
    rows = np.frombuffer((out / "images.bin").read_bytes(), np.uint8).reshape(-1, 785)
    x = torch.tensor(rows[:, :784].reshape(-1, 1, 28, 28).astype(np.float32)) / 255
    return net.eval(), x, torch.tensor(rows[:, 784].astype(np.int64))


def part(net, x, y, norm, eps, name):
    """Pictures of one part of AutoAttack `standard` (DLR: of `plus`, with one restart), run alone."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack
    same = dict(norm=norm, eps=eps, seed=0, verbose=False, device="cpu")
    sparse = norm == "L1"
    if name in ("apgd-ce", "apgd-dlr"):
        attack = APGDAttack(net, n_iter=100, n_restarts=5 if sparse else 1, use_largereps=sparse, **same)
        attack.loss = name[5:]
        return attack.perturb(x, y)
    if name == "apgd-t":
        attack = APGDAttack_targeted(net, n_iter=100, n_restarts=1, use_largereps=sparse,
                                     n_target_classes=5 if sparse else 9, **same)
        return attack.perturb(x, y)
    if name == "fab-t":
        attack = FABAttack_PT(net, n_iter=100, n_restarts=1, n_target_classes=9, **same)
        attack.targeted = True
        return attack.perturb(x, y)
    attack = SquareAttack(net, p_init=0.8, n_queries=5000, n_restarts=1, resc_schedule=False, **same)
    return attack.perturb(x, y)


def distance(norm, change):
    change = change.flatten(1)
    return {"Linf": change.abs().amax(1), "L2": change.norm(dim=1), "L1": change.abs().sum(1)}[norm]


def run(net, x, y, budgets, parts, save):
    with torch.no_grad():
        right = net(x).argmax(1) == y
    found = {"clean": right.tolist(), "parts": []}
    for norm, eps in budgets:
        for name in parts:
            begun = time.time()
            adv = part(net, x[right], y[right], norm, eps, name).detach()
            with torch.no_grad():
                wrong = net(adv).argmax(1) != y[right]
            wrong &= distance(norm, adv - x[right]) <= eps * (1 + 1e-5) + 1e-6
            stands = right.clone()
            stands[right] = ~wrong
            found["parts"].append({"norm": norm.lower(), "epsilon": eps, "part": name,
                                   "stands": stands.tolist(), "seconds": time.time() - begun})
            print(norm, eps, name, stands.float().mean().item(), f"{time.time() - begun:.0f} s", flush=True)
            save(found)


def reference(out):
    save = lambda found: (out / "reference.json").write_text(json.dumps(found))
    run(*load(out), BUDGETS, PARTS, save)


def table(out):
    ours = {(p["norm"], round(p["epsilon"], 6), p["part"]): p for p in json.loads((out / "syfar.json").read_text())["parts"]}
    theirs = json.loads((out / "reference.json").read_text())
    print("| ball | part | reference | syfar | difference | only the reference turns | only syfar turns |")
    print("|---|---|---|---|---|---|---|")
    for p in theirs["parts"]:
        mine = ours.get((p["norm"], round(p["epsilon"], 6), p["part"]))
        if mine is None:
            continue
        a, b = np.array(p["stands"][:len(mine["stands"])]), np.array(mine["stands"])
        print(f"| {p['norm']} {p['epsilon']} | {p['part']} | {100 * a.mean():.1f} | {100 * b.mean():.1f} | "
              f"{100 * (b.mean() - a.mean()):+.1f} | {(~a & b).sum()} | {(a & ~b).sum()} |")


def golden(out, assets):
    """The first pictures, with one budget of each norm; Square is left to the whole comparison."""
    assets.mkdir(parents=True, exist_ok=True)
    (assets / "weights.bin").write_bytes((out / "weights.bin").read_bytes())
    (assets / "images.bin").write_bytes((out / "images.bin").read_bytes()[:785 * GOLDEN])

    def save(found):
        parts = [{key: part[key] for key in ("norm", "epsilon", "part", "stands")} for part in found["parts"]]
        lines = ",\n".join(json.dumps(part) for part in parts)
        text = f'{{"clean": {json.dumps(found["clean"])}, "parts": [\n{lines}\n]}}\n'
        (assets / "reference.json").write_text(text)

    run(*load(assets), [("Linf", 0.1), ("L2", 1.0), ("L1", 5.0)], PARTS[:-1], save)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"train": train, "reference": reference, "table": table, "golden": golden}[sys.argv[1]](*map(Path, sys.argv[2:]))
