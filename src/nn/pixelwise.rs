//! Work on the values of batches of pictures in one walk over memory.
//!
//! Between two passes through a network an attack moves pictures, keeps them in their ball and remembers the
//! best ones. As a chain of framework operators that is a walk and a new tensor for each, on one thread:
//! for a small network as long as the passes themselves. On Burn's CPU device the functions here do all of
//! it in one walk on all threads. Elsewhere they give nothing, and the caller takes the framework's operators.
#![allow(unsafe_code)]

use burn::tensor::Tensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::frozen::primitive;
use super::kernels::Output;
use super::ops;

/// Values that one task takes: planes are put together up to so many.
const TASK: usize = 1 << 14;

/// A function of the values of some batches at the same place.
///
/// # Shapes
/// - `batches`: the first `[N, C, H, W]`, each other one `[N or 1, C or 1, H, W]` and repeated
/// - output: `[N, C, H, W]`
///
/// Nothing if a batch is not `f32` in the memory of the CPU, or of another shape.
pub fn pixelwise<const D: usize>(
    batches: [&Tensor<4>; D],
    f: impl Fn([f32; D]) -> f32 + Sync,
) -> Option<Tensor<4>> {
    let shape @ [_, channels, height, width] = batches.first()?.dims();
    let (plane, floats) = (height * width, shape.iter().product());
    let mut sources = Vec::with_capacity(D);
    for batch in batches {
        let [count, own, rows, columns] = batch.dims();
        let fits = [shape[0], 1].contains(&count)
            && [channels, 1].contains(&own)
            && [rows, columns] == [height, width];
        if !fits {
            return None;
        }
        // Floats from one picture and from one channel to the next.
        let strides = [if count == 1 { 0 } else { own * plane }, if own == 1 { 0 } else { plane }];
        sources.push((on_host(batch)?, strides));
    }
    let sources: [(FlexTensor, [usize; 2]); D] = sources.try_into().ok()?;
    let sources = sources.each_ref().map(|(batch, strides)| (ops::values(batch), *strides));
    let mut output = Output::new(floats);
    let planes = (TASK / plane).max(1);
    output.room(floats).par_chunks_mut(planes * plane).enumerate().for_each(|(task, to)| {
        for (index, to) in to.chunks_exact_mut(plane).enumerate() {
            let index = task * planes + index;
            let (picture, channel) = (index / channels, index % channels);
            let from = sources.map(|(values, [by_picture, by_channel])| {
                &values[picture * by_picture + channel * by_channel..][..plane]
            });
            for (place, to) in to.iter_mut().enumerate() {
                to.write(f(from.map(|values| values[place])));
            }
        }
    });
    // SAFETY: the tasks cover all planes.
    let values = unsafe { output.finish(floats) };
    Some(batch_of(values, shape))
}

/// Each picture `[C, H, W]` of a batch divided by its largest absolute value. What is not finite becomes zero
/// before, and a picture of zeros stays one. Nothing as for [`pixelwise`].
pub fn normalised(batch: &Tensor<4>) -> Option<Tensor<4>> {
    let shape = batch.dims();
    let size: usize = shape[1..].iter().product();
    let batch = on_host(batch)?;
    let floats = shape[0] * size;
    let mut output = Output::new(floats);
    let pictures = ops::values(&batch).par_chunks_exact(size);
    output.room(floats).par_chunks_exact_mut(size).zip(pictures).for_each(|(to, from)| {
        // NaN and infinity are neither smaller than infinity nor of any use.
        let kept = |value: f32| if value.abs() < f32::INFINITY { value } else { 0.0 };
        let largest = from.iter().map(|&value| kept(value).abs()).fold(0.0, f32::max);
        let largest = if largest == 0.0 { 1.0 } else { largest };
        for (to, &value) in to.iter_mut().zip(from) {
            to.write(kept(value) / largest);
        }
    });
    // SAFETY: every picture has been written.
    let values = unsafe { output.finish(floats) };
    Some(batch_of(values, shape))
}

/// For each picture that of `others` where it is taken, else that of `batch`; both `[N, C, H, W]`. Nothing as for
/// [`pixelwise`].
///
/// # Panics
/// Unless there is a choice for each picture.
pub fn chosen(batch: &Tensor<4>, others: &Tensor<4>, takes_other: &[bool]) -> Option<Tensor<4>> {
    let shape = batch.dims();
    assert_eq!((shape[0], shape), (takes_other.len(), others.dims()), "a choice for each picture");
    if !takes_other.contains(&true) {
        return Some(batch.clone());
    }
    let size: usize = shape[1..].iter().product();
    let (batch, others) = (on_host(batch)?, on_host(others)?);
    let floats = shape[0] * size;
    let mut output = Output::new(floats);
    output.room(floats).par_chunks_exact_mut(size).enumerate().for_each(|(row, to)| {
        let from = ops::values(if takes_other[row] { &others } else { &batch });
        to.write_copy_of_slice(&from[row * size..][..size]);
    });
    // SAFETY: every picture has been written.
    let values = unsafe { output.finish(floats) };
    Some(batch_of(values, shape))
}

/// The values next to each other in the memory of the CPU, if they are there and outside autodiff.
fn on_host(batch: &Tensor<4>) -> Option<FlexTensor> {
    ops::is_ours(batch).then(|| primitive(batch.clone()).map(ops::dense)).flatten()
}

fn batch_of(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_primitive::<burn::backend::Flex>(ops::tensor(values, shape))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn batch(shape: [usize; 4], seed: f32) -> Tensor<4> {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| (i as f32 * seed).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::default())
    }

    fn values(batch: &Tensor<4>) -> Vec<f32> {
        batch.try_to_vec_as().expect("floats")
    }

    #[test]
    fn values_at_the_same_place_meet_whatever_is_repeated() {
        let first = batch([3, 2, 5, 4], 0.7);
        for shape in [[3, 2, 5, 4], [1, 2, 5, 4], [3, 1, 5, 4], [1, 1, 5, 4]] {
            let second = batch(shape, 1.3);
            let found = pixelwise([&first, &second], |[a, b]| a - 2.0 * b).expect("on the host");
            let expected = first.clone() - second.mul_scalar(2.0).expand([3, 2, 5, 4]);
            assert_eq!(values(&found), values(&expected), "{shape:?}");
        }
    }

    #[test]
    fn large_batches_are_cut_into_tasks() {
        // Planes beyond a task, planes of which a task takes several, and a rest.
        for shape in [[2, 1, 130, 129], [7, 3, 50, 50]] {
            let first = batch(shape, 0.01);
            let found = pixelwise([&first], |[a]| a * 0.5).expect("on the host");
            assert_eq!(values(&found), values(&first.mul_scalar(0.5)), "{shape:?}");
        }
    }

    #[test]
    fn a_view_is_read_as_it_looks() {
        let view = batch([2, 3, 4, 5], 0.3).swap_dims(2, 3);
        let found = pixelwise([&view], |[a]| a + 1.0).expect("on the host");
        assert_eq!(values(&found), values(&view.add_scalar(1.0)));
    }

    #[test]
    fn what_cannot_be_done_here_is_left_to_the_caller() {
        let first = batch([2, 3, 4, 4], 0.3);
        assert!(pixelwise([&first, &batch([2, 2, 4, 4], 0.1)], |[a, b]| a + b).is_none());
        assert!(pixelwise([&first, &batch([2, 3, 4, 1], 0.1)], |[a, b]| a + b).is_none());
        let tracked = Tensor::<4>::zeros([2, 3, 4, 4], &Device::default().autodiff()).require_grad();
        assert!(pixelwise([&tracked], |[a]| a).is_none());
        assert!(normalised(&tracked).is_none());
        assert!(ops::with_stock(|| chosen(&first, &first, &[false, true])).is_none());
    }

    #[test]
    fn pictures_are_chosen_one_by_one() {
        let (first, second) = (batch([3, 1, 2, 2], 0.3), batch([3, 1, 2, 2], 0.9));
        let found = values(&chosen(&first, &second, &[true, false, true]).expect("on the host"));
        let (first, second) = (values(&first), values(&second));
        assert_eq!(found, [&second[..4], &first[4..8], &second[8..]].concat());
    }
}
