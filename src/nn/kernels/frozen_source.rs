//! What a frozen convolution (see [`super::frozen`]) reads, tile by tile.
#![allow(unsafe_code)]

use super::frozen::Grid;
use super::lanes::Lanes;
use super::transform;

/// What a convolution reads.
#[derive(Clone, Copy)]
pub(in crate::nn) enum FrozenInput<'a> {
    /// Pixels. After the last one there is room for a vector.
    Pixels { values: &'a [f32], pitch: usize },
    /// The gradient after a ReLU, with the bits of the values that it let pass.
    Relu { gradient: &'a [f32], bits: &'a [u16] },
    /// The gradient after a max-pooling, with the bits of the winners.
    Pooled { gradient: &'a [f32], bits: &'a [u16] },
}

impl FrozenInput<'_> {
    /// That all that will be read is there.
    pub(super) fn check(&self, grid: Grid, padded: usize, lanes: usize) {
        let pooled = grid.pooled().pixels();
        let enough = match self {
            Self::Pixels { values, pitch } => {
                (*pitch == padded || padded == lanes)
                    && values.len() >= grid.pixels() * pitch + padded - pitch
            }
            Self::Relu { gradient, bits } => {
                (gradient.len(), bits.len()) == (grid.pixels() * padded, grid.pixels() * padded / lanes)
            }
            Self::Pooled { gradient, bits } => {
                (gradient.len(), bits.len()) == (pooled * padded, pooled * padded / lanes * 4)
            }
        };
        assert!(enough, "pixels and bits of the size of the layer");
    }
}

/// Reads the tiles of a source.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub grid: Grid,
    pub source: FrozenInput<'a>,
    /// Channels in whole vectors.
    pub padded: usize,
}

impl Reader<'_> {
    /// One vector of channels of a tile, transformed.
    ///
    /// # Safety
    /// The processor has the instruction set; the source has been checked, and there are such a tile and channel.
    #[inline(always)]
    pub(super) unsafe fn read<L: Lanes>(&self, tile: usize, channel: usize) -> [[L; 6]; 6] {
        let place = self.grid.place(tile);
        // SAFETY: the caller's promise.
        unsafe {
            if let Some((from, strides)) = self.inside(place, channel) {
                return transform::in_registers::<L, transform::Input, 6, 6>(from, strides);
            }
            let mut patch = [L::splat(0.0); 36];
            self.gather::<L>(place, channel, &mut patch);
            transform::in_registers::<L, transform::Input, 6, 6>(patch.as_ptr().cast(), (6 * L::N, L::N))
        }
    }

    /// Where a patch that lies wholly inside an image can be read as it is: its start and its strides.
    #[inline(always)]
    unsafe fn inside(
        &self,
        [image, top, left]: [usize; 3],
        channel: usize,
    ) -> Option<(*const f32, (usize, usize))> {
        let FrozenInput::Pixels { values, pitch } = self.source else { return None };
        let Grid { height, width, .. } = self.grid;
        (top > 0 && left > 0 && top + 5 <= height && left + 5 <= width).then(|| {
            let start = self.grid.index(image, top - 1, left - 1) * pitch + channel;
            // SAFETY: the patch is inside the image.
            (unsafe { values.as_ptr().add(start) }, (width * pitch, pitch))
        })
    }

    /// The 6x6 patch around a tile, zero outside of the image.
    #[inline(always)]
    unsafe fn gather<L: Lanes>(&self, [image, top, left]: [usize; 3], channel: usize, patch: &mut [L; 36]) {
        let Grid { height, width, .. } = self.grid;
        let (padded, vector) = (self.padded, channel / L::N);
        let vectors = padded / L::N;
        if let FrozenInput::Pooled { gradient, bits } = self.source {
            let grid = self.grid.pooled();
            for i in 0..4 {
                for j in 0..4 {
                    // Windows of the tile, and of one pixel around it.
                    let (row, column) = ((top / 2 + i).wrapping_sub(1), (left / 2 + j).wrapping_sub(1));
                    if row >= grid.height || column >= grid.width {
                        continue;
                    }
                    let pixel = grid.index(image, row, column);
                    // SAFETY: the window is inside the image.
                    unsafe {
                        let value = L::load(gradient.as_ptr().add(pixel * padded + channel));
                        let bits = bits.as_ptr().add((pixel * vectors + vector) * 4);
                        for k in 0..4 {
                            let (y, x) = (2 * i + k / 2, 2 * j + k % 2);
                            if (1..7).contains(&y) && (1..7).contains(&x) {
                                patch[(y - 1) * 6 + x - 1] = value.keep(bits.add(k).read());
                            }
                        }
                    }
                }
            }
            return;
        }
        for (p, value) in patch.iter_mut().enumerate() {
            let (row, column) = ((top + p / 6).wrapping_sub(1), (left + p % 6).wrapping_sub(1));
            if row >= height || column >= width {
                continue;
            }
            let pixel = self.grid.index(image, row, column);
            // SAFETY: the pixel is inside the image.
            *value = unsafe {
                match self.source {
                    FrozenInput::Pixels { values, pitch } => {
                        L::load(values.as_ptr().add(pixel * pitch + channel))
                    }
                    FrozenInput::Relu { gradient, bits } => {
                        L::load(gradient.as_ptr().add(pixel * padded + channel))
                            .keep(bits.as_ptr().add(pixel * vectors + vector).read())
                    }
                    FrozenInput::Pooled { .. } => continue,
                }
            };
        }
    }
}
