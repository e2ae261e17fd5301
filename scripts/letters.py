#!/usr/bin/env python3
"""The outlines of a font's letters as text, for the PNG files of `syfar report --figures`.

    pip install fonttools
    scripts/letters.py DejaVuSans.ttf > assets/letters/dejavu-sans.txt

The file in the repository was made from DejaVu Sans 2.37 (dejavu-fonts.github.io; SHA-256 of the font
7da195a74c55bef988d0d48f9508bd5d849425c1770dba5d7bfc6ce9ed848954), whose licence stands beside it.

First line: units of an em. Then one line for each letter: its number, how far the next letter is, and its outline, in these units
and upwards: M x y begins a contour, L x y is a line, Q x y x y a quadratic curve by its control point and end.
"""

import sys

from fontTools.pens.basePen import BasePen
from fontTools.ttLib import TTFont

# Latin with its supplements and marks, Greek, Cyrillic; punctuation, currencies, arrows, signs of mathematics.
BLOCKS = [(0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x52F), (0x1E00, 0x1EFF), (0x2010, 0x2027),
          (0x2030, 0x205E), (0x20A0, 0x20BF), (0x2190, 0x2199), (0x2212, 0x2212), (0x221E, 0x221E), (0x2260, 0x2265)]


class Outline(BasePen):
    def __init__(self, glyphs):
        super().__init__(glyphs)
        self.parts = []

    def add(self, sign, *points):
        numbers = [number for point in points for number in point]
        assert all(number * 2 == int(number * 2) for number in numbers), numbers
        self.parts.append(" ".join([sign, *(f"{number:g}" for number in numbers)]))

    def _moveTo(self, point):
        self.add("M", point)

    def _lineTo(self, point):
        self.add("L", point)

    def _qCurveToOne(self, control, point):
        self.add("Q", control, point)


font = TTFont(sys.argv[1])
glyphs, names = font.getGlyphSet(), font.getBestCmap()
print(font["head"].unitsPerEm)
for first, last in BLOCKS:
    for number in range(first, last + 1):
        if number in names and number != 0xAD:
            pen = Outline(glyphs)
            glyphs[names[number]].draw(pen)
            print(" ".join([f"{number:x}", str(glyphs[names[number]].width), *pen.parts]))
