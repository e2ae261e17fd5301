#!/usr/bin/env python3
"""What TensorBoard's own reader finds in event files: one line for each value.

    pip install tensorboard
    scripts/tensorboard/read.py runs/a/tensorboard/*

A file whose checksums or messages are wrong is an error. This is how assets/tensorboard/golden.tfevents was tested:

    SYFAR_WRITE_GOLDEN=$PWD/assets/tensorboard/golden.tfevents cargo test --lib tensorboard::series
    scripts/tensorboard/read.py assets/tensorboard/golden.tfevents > assets/tensorboard/golden.txt
"""

import struct
import sys

from tensorboard.backend.event_processing import event_file_loader
from tensorboard.util import tensor_util


def describe(value):
    plugin = value.metadata.plugin_data.plugin_name
    found = tensor_util.make_ndarray(value.tensor)
    if plugin == "images":
        width, height, *pictures = found
        sizes = [struct.unpack(">II", picture[16:24]) for picture in pictures]
        return f"image {int(width)} x {int(height)}, PNG {sizes}"
    return f"{plugin} {float(found):.6g}"


for path in sys.argv[1:]:
    for event in event_file_loader.EventFileLoader(path).Load():
        if event.HasField("file_version"):
            print(f"{event.wall_time:.2f} {event.file_version}")
        for value in event.summary.value:
            print(f"{event.wall_time:.2f} {event.step} {value.tag} {describe(value)}")
