//! Operators of our own, registered through Burn's extension mechanism, with hand-written gradients.
//!
//! Each function here takes and gives ordinary tensors. On Burn's CPU device, in `f32` and for the shapes
//! that it knows it runs our kernels; everywhere else it is Burn's own operator. Only gradients that are
//! tracked are computed, and only what they need is kept.

#[cfg(test)]
mod against_burn;
mod attention;
mod average;
mod batch_norm;
#[cfg(test)]
mod column_tests;
mod conv;
mod conv_choice;
mod gelu;
mod layer_norm;
mod linear;
mod pool;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transformer_tests;

use burn::backend::{DType, DispatchDevice};
use burn::tensor::{Bytes, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

use super::kernels;

pub(super) use attention::attention;
pub(super) use average::{average_pool, global_average_pool};
pub(super) use batch_norm::{After, batch_norm, batch_norm_train};
pub(super) use conv::conv2d;
pub(super) use conv_choice::Settings;
pub(super) use gelu::gelu;
pub(super) use layer_norm::layer_norm;
pub(super) use linear::{linear, linear_plus};
pub(super) use pool::{max_pool_2x2, relu_max_pool_2x2};

/// Whether our kernels can work on a tensor: not empty, in `f32`, in the memory of the CPU.
pub(in crate::nn) fn is_ours<const D: usize>(tensor: &Tensor<D>) -> bool {
    fn on_flex(device: &DispatchDevice) -> bool {
        match device {
            DispatchDevice::Flex(_) => true,
            DispatchDevice::Autodiff(device) => on_flex(&device.clone().inner()),
            #[allow(unreachable_patterns)] // There are more devices with the GPU features.
            _ => false,
        }
    }
    #[cfg(test)]
    if STOCK.get() {
        return false;
    }
    tensor.dtype() == DType::F32
        && tensor.shape().num_elements() > 0
        && on_flex(tensor.device().as_dispatch())
}

#[cfg(test)]
thread_local! {
    static STOCK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `f` with Burn's own operators.
#[cfg(test)]
pub(crate) fn with_stock<T>(f: impl FnOnce() -> T) -> T {
    STOCK.set(true);
    let result = f();
    STOCK.set(false);
    result
}

/// The tensor with its values next to each other in memory.
pub(in crate::nn) fn dense(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The values of a dense tensor.
pub(in crate::nn) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("the tensor was made dense and is f32")
}

pub(in crate::nn) fn dims(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().dims()
}

fn shape(tensor: &FlexTensor) -> Shape {
    tensor.layout().shape().clone()
}

pub(in crate::nn) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

/// Gives back the memory of a tensor, if nobody else holds it.
fn recycle(tensor: FlexTensor) {
    let whole = tensor.bytes().len() == tensor.layout().num_elements() * size_of::<f32>();
    if tensor.is_unique() && whole {
        // The values are moved out of the tensor, not copied.
        if let Ok(values) = tensor.into_data().try_into_vec::<f32>() {
            kernels::recycle(values);
        }
    }
}
