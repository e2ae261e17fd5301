//! Softmax attention with several heads, `softmax(Q K^T / sqrt(width)) V`, and its gradient.
//!
//! One head of one image is the work of one thread, so results depend on nothing else. The forward pass holds
//! the scores of a few queries at a time and keeps, for the gradient, only the logarithm of each query's
//! normaliser; the gradient computes the scores again (as Dao et al. 2022 do), which costs less than
//! writing them to memory and reading them back.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::{Output, Shared, with_scratch};
use super::exponential::exp;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::row_product::{RowProduct, pack, pack_transposed};

/// Queries whose scores are held at a time.
const QUERIES: usize = 56;

/// `[N, tokens, 3 * heads * width]`: queries, keys and values of all heads, token by token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) struct Sizes {
    pub count: usize,
    pub tokens: usize,
    pub heads: usize,
    pub width: usize,
}

impl Sizes {
    /// Floats of one token in the result.
    fn model(self) -> usize {
        self.heads * self.width
    }

    /// Floats of the result.
    fn floats(self) -> usize {
        self.count * self.tokens * self.model()
    }

    /// Where a head's queries start; its keys and values start `model` and `2 * model` later.
    fn start(self, index: usize) -> usize {
        index / self.heads * self.tokens * 3 * self.model() + index % self.heads * self.width
    }

    /// The same in the result.
    fn result(self, index: usize) -> usize {
        index / self.heads * self.tokens * self.model() + index % self.heads * self.width
    }

    /// Tokens and width, rounded up to whole vectors.
    fn padded(self, lanes: usize) -> [usize; 2] {
        [self.tokens, self.width].map(|size| size.next_multiple_of(lanes))
    }

    fn scale(self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// The result `[N, tokens, heads * width]`, and for each head and query the logarithm of the sum of its
/// exponentiated scores.
pub(in crate::nn) fn attention(isa: Isa, input: &[f32], heads: Sizes) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(input.len(), 3 * heads.floats());
    let mut output = Output::new(heads.floats());
    let to = output.pointer();
    let [tokens, width] = heads.padded(isa.lanes());
    let scratch = tokens * width * 2 + QUERIES * tokens;
    let all = heads.count * heads.heads;
    let mut normalisers = vec![0.0; all * heads.tokens];
    normalisers.par_chunks_mut(heads.tokens).enumerate().for_each(|(index, normalisers)| {
        with_scratch(scratch, |scratch| {
            dispatch(isa, Forward { input, heads, index, normalisers, scratch, to });
        });
    });
    // SAFETY: the heads together write all columns of all tokens.
    (unsafe { output.finish(heads.floats()) }, normalisers)
}

struct Forward<'a> {
    input: &'a [f32],
    heads: Sizes,
    /// Of image and head.
    index: usize,
    normalisers: &'a mut [f32],
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Sizes { tokens, width, .. } = self.heads;
        let model = self.heads.model();
        let [long, wide] = self.heads.padded(L::N);
        // SAFETY: the scratch is as large as the three parts, and the head's places are inside the input and
        // the result.
        unsafe {
            let queries = self.input.as_ptr().add(self.heads.start(self.index));
            let (keys, values) = (self.scratch, self.scratch.add(long * width.next_multiple_of(L::N)));
            let scores = values.add(tokens.next_multiple_of(L::N) * wide);
            pack_transposed::<L>(queries.add(model), (width, tokens, 3 * model), keys, width * L::N);
            pack::<L>(queries.add(2 * model), (tokens, width, 3 * model), values, tokens * L::N);
            for first in (0..tokens).step_by(QUERIES) {
                let rows = QUERIES.min(tokens - first);
                let product = scores_of(self.heads, rows, width * L::N, long);
                product.run::<L>(queries.add(first * 3 * model), keys, scores);
                for row in 0..rows {
                    let scores = scores.add(row * long);
                    self.normalisers[first + row] = softmax::<L>(scores, tokens, self.heads.scale());
                }
                let product = RowProduct {
                    rows,
                    depth: tokens,
                    columns: width,
                    a_row: long,
                    a_depth: 1,
                    b_panel: tokens * L::N,
                    c_row: model,
                    accumulate: false,
                };
                product.run::<L>(scores, values, self.to.at(self.heads.result(self.index) + first * model));
            }
        }
    }
}

/// Rows of the input against panels of all tokens: the scores, `long` apart.
#[inline(always)]
fn scores_of(heads: Sizes, rows: usize, b_panel: usize, long: usize) -> RowProduct {
    RowProduct {
        rows,
        depth: heads.width,
        columns: heads.tokens,
        a_row: 3 * heads.model(),
        a_depth: 1,
        b_panel,
        c_row: long,
        accumulate: false,
    }
}

/// Turns the scores of one query into probabilities, and what is behind them up to a whole vector into zeros.
/// Returns the logarithm of the sum of the exponentiated scores.
///
/// # Safety
/// The processor has the instruction set; there is room for whole vectors.
#[inline(always)]
unsafe fn softmax<L: Lanes>(scores: *mut f32, tokens: usize, scale: f32) -> f32 {
    let long = tokens.next_multiple_of(L::N);
    // SAFETY: the caller's promise.
    unsafe {
        for behind in tokens..long {
            scores.add(behind).write(f32::NEG_INFINITY);
        }
        let mut most = L::load(scores);
        for start in (L::N..long).step_by(L::N) {
            most = L::load(scores.add(start)).max(most);
        }
        // A NaN that the maximum passes over still reaches the sum, and so the whole row.
        let most = most.reduce(f32::max) * scale;
        let mut total = L::splat(0.0);
        for start in (0..long).step_by(L::N) {
            let part = exp(L::load(scores.add(start)).scaled_add(scale, L::splat(-most)));
            part.store(scores.add(start));
            total = total.add(part);
        }
        let total = total.reduce(|a, b| a + b);
        for start in (0..long).step_by(L::N) {
            L::load(scores.add(start)).scale(1.0 / total).store(scores.add(start));
        }
        most + total.ln()
    }
}

/// The gradient with respect to the input, from that of the result.
pub(in crate::nn) fn attention_gradient(
    isa: Isa,
    gradient: &[f32],
    input: &[f32],
    normalisers: &[f32],
    heads: Sizes,
) -> Vec<f32> {
    let floats = heads.floats();
    assert_eq!((gradient.len(), input.len()), (floats, 3 * floats));
    let mut output = Output::new(3 * floats);
    let to = output.pointer();
    let [tokens, width] = heads.padded(isa.lanes());
    let scratch = tokens * width * 5 + 2 * tokens * tokens;
    normalisers.par_chunks(heads.tokens).enumerate().for_each(|(index, normalisers)| {
        with_scratch(scratch, |scratch| {
            dispatch(isa, Backward { gradient, input, heads, index, normalisers, scratch, to });
        });
    });
    // SAFETY: the heads together write queries, keys and values of all tokens.
    unsafe { output.finish(3 * floats) }
}

struct Backward<'a> {
    gradient: &'a [f32],
    input: &'a [f32],
    heads: Sizes,
    /// Of image and head.
    index: usize,
    normalisers: &'a [f32],
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// With probabilities `P` and the gradient `G` of the result: `dV = P^T G`, `dP = G V^T`,
    /// `dS = P (dP - sum of P dP over the keys) / sqrt(width)`, `dQ = dS K` and `dK = dS^T Q`.
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Sizes { tokens, width, .. } = self.heads;
        let model = self.heads.model();
        let [long, wide] = self.heads.padded(L::N);
        // SAFETY: the scratch is as large as its seven parts, and the head's places are inside the input,
        // the gradient and the result.
        unsafe {
            let queries = self.input.as_ptr().add(self.heads.start(self.index));
            let (keys, values) = (queries.add(model), queries.add(2 * model));
            let above = self.gradient.as_ptr().add(self.heads.result(self.index));
            let part = |index: usize| self.scratch.add(index * long * wide);
            let (slopes, scores) = (part(5), part(5).add(long * long));
            let across = (width, tokens, 3 * model);
            pack_transposed::<L>(keys, across, part(0), width * L::N);
            pack_transposed::<L>(values, across, part(1), width * L::N);
            let down = (tokens, width, 3 * model);
            pack::<L>(queries, down, part(2), tokens * L::N);
            pack::<L>(keys, down, part(3), tokens * L::N);
            pack::<L>(above, (tokens, width, model), part(4), tokens * L::N);

            let product = scores_of(self.heads, tokens, width * L::N, long);
            product.run::<L>(queries, part(0), scores);
            RowProduct { a_row: model, ..product }.run::<L>(above, part(1), slopes);
            for (row, normaliser) in self.normalisers.iter().enumerate() {
                let (scores, slopes) = (scores.add(row * long), slopes.add(row * long));
                softmax_gradient::<L>(scores, slopes, tokens, self.heads.scale(), *normaliser);
            }
            let to = self.to.at(self.heads.start(self.index));
            let product = RowProduct {
                rows: tokens,
                depth: tokens,
                columns: width,
                a_row: 1,
                a_depth: long,
                b_panel: tokens * L::N,
                c_row: 3 * model,
                accumulate: false,
            };
            RowProduct { a_row: long, a_depth: 1, ..product }.run::<L>(slopes, part(3), to);
            product.run::<L>(slopes, part(2), to.add(model));
            product.run::<L>(scores, part(4), to.add(2 * model));
        }
    }
}

/// Turns the scores of one query into probabilities, and their gradient into that of the scores before they
/// were scaled.
///
/// # Safety
/// The processor has the instruction set; there is room for whole vectors.
#[inline(always)]
unsafe fn softmax_gradient<L: Lanes>(
    scores: *mut f32,
    slopes: *mut f32,
    tokens: usize,
    scale: f32,
    normaliser: f32,
) {
    let long = tokens.next_multiple_of(L::N);
    // SAFETY: the caller's promise.
    unsafe {
        for behind in tokens..long {
            scores.add(behind).write(f32::NEG_INFINITY);
            slopes.add(behind).write(0.0);
        }
        let mut total = L::splat(0.0);
        for start in (0..long).step_by(L::N) {
            let part = exp(L::load(scores.add(start)).scaled_add(scale, L::splat(-normaliser)));
            part.store(scores.add(start));
            total = part.mul_add(L::load(slopes.add(start)), total);
        }
        let total = L::splat(total.reduce(|a, b| a + b));
        for start in (0..long).step_by(L::N) {
            let part = L::load(scores.add(start)).scale(scale);
            part.mul(L::load(slopes.add(start)).sub(total)).store(slopes.add(start));
        }
    }
}
