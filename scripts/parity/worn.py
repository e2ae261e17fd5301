"""Reference values of what is worn: print terms and the face mask in perspective.

    python worn.py ASSETS       writes ASSETS/print.json and ASSETS/face-mask.pgm (the goldens are in assets/parity)

Needs torch and numpy. Everything is written straight from the formulas of Sharif et al. (CCS 2016) and the corners that
FACESEC's homographies have; gradients are PyTorch's, in float64, and the picture is drawn by its `grid_sample`.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

ROWS, COLUMNS, NOT_PART = 3, 4, (5, 11)
LEVELS, GREYS = (31, 128, 224), (80, 104, 176)


def part():
    mask = torch.ones(ROWS * COLUMNS, dtype=torch.float64)
    mask[list(NOT_PART)] = 0
    return mask.view(ROWS, COLUMNS)


def texture():
    """Three channels of numbers in [0, 1] that nobody needs a generator for."""
    values = torch.arange(3 * ROWS * COLUMNS, dtype=torch.float64)
    return ((7 * values + 3) % 36 / 35).view(3, ROWS, COLUMNS)


def total_variation(r):
    mask = part()
    below, right = torch.zeros_like(r), torch.zeros_like(r)
    below[:, :-1] = (r[:, 1:] - r[:, :-1]) * mask[1:]
    right[:, :, :-1] = (r[:, :, 1:] - r[:, :, :-1]) * mask[:, 1:]
    squares = (below ** 2 + right ** 2) * mask
    return squares[squares > 0].sqrt().sum()


def palette():
    mixtures = torch.cartesian_prod(*[torch.tensor(LEVELS)] * 3)
    return torch.cat([mixtures, torch.tensor([[grey] * 3 for grey in GREYS])]).double() / 255


def non_printability(r):
    gaps = r.flatten(1).t()[:, None, :] - palette()[None]
    products = ((gaps ** 2).sum(2) / (3 * (80 / 255) ** 2)).prod(1)
    return (products * part().flatten()).sum()


def smoothed(r, deviation):
    steps = torch.arange(-3, 4, dtype=torch.float64)
    line = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = (line[:, None] * line[None])[None, None]
    blur = lambda plane: F.conv2d(plane[:, None], kernel, padding=3)[:, 0]
    mask = part()[None]
    return blur(r * mask) / blur(mask) * mask


def terms():
    found = {}
    for name, term in (("total_variation", total_variation), ("non_printability", non_printability)):
        r = texture().requires_grad_()
        value = term(r)
        (gradient,) = torch.autograd.grad(value, r)
        found[name] = {"value": value.item(), "gradient": gradient.flatten().tolist()}
    found["smoothed"] = smoothed(texture(), 1.0).flatten().tolist()
    return found


def homography(origin, image):
    """The 3 x 3 matrix that takes four points to four others, by the null space of the direct linear transform."""
    rows = []
    for (x, y), (u, v) in zip(origin, image):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
    return np.linalg.svd(np.array(rows, float))[2][-1].reshape(3, 3)


def face_mask(side=64):
    """A grid of 8 x 16 greys, none of them black, on a black picture: each pixel asks the homography of its half where it comes from."""
    grid = ((5 * np.arange(8)[:, None] + 3 * np.arange(16)[None]) % 16 + 1) / 16
    sheet = torch.tensor(np.kron(grid, np.ones((10, 10))))[None, None]
    left = np.array([(32, 112), (112, 100), (112, 224), (32, 192)]) * side / 224
    right = np.array([(112, 100), (192, 112), (192, 192), (112, 224)]) * side / 224
    corners = np.array([(0, 0), (80, 0), (80, 80), (0, 80)], float)
    ys, xs = np.mgrid[:side, :side] + 0.5
    centres = np.stack([xs.ravel(), ys.ravel(), np.ones(side * side)])
    picture = np.zeros(side * side)
    for half, (shape, texels) in enumerate([(left, corners), (right, corners + (80, 0))]):
        x, y, w = np.linalg.inv(homography(texels, shape)) @ centres
        x, y = x / w, y / w
        inside = (x >= 80 * half) & (x < 80 * half + 80) & (y >= 0) & (y < 80)
        # Beyond the border the last texel stands; (-1, 1) are the outer edges of the sheet.
        at = torch.tensor(np.stack([x / 80 - 1, y / 40 - 1], 1))[None, None]
        seen = F.grid_sample(sheet, at, mode="bilinear", padding_mode="border", align_corners=False)
        picture[inside] = seen.flatten().numpy()[inside]
    return np.round(picture * 255).astype(np.uint8).reshape(side, side)


def main():
    assets = Path(sys.argv[1])
    lines = [f'"{name}": {json.dumps(value)}' for name, value in terms().items()]
    (assets / "print.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    picture = face_mask()
    header = f"P5\n{picture.shape[1]} {picture.shape[0]}\n255\n".encode()
    (assets / "face-mask.pgm").write_bytes(header + picture.tobytes())


if __name__ == "__main__":
    main()
