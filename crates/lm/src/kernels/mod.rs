//! The arithmetic of the decoder: each kernel is a `forward`/`backward` pair over plain slices.
//!
//! Functions marked `multiversion` are compiled for several instruction sets, and the best one this
//! processor has is called; what they call must be `#[inline(always)]` to be compiled along.
//!
//! Rows are tokens; a matrix is row-major. Work is split into chunks whose size does not depend on
//! the number of threads, so results do not either.

pub mod attention;
pub mod bias;
pub mod buffer;
pub mod head;
pub mod math;
pub mod matmul;
pub mod norm;
pub mod panel;
pub mod rope;
pub mod rows;
pub mod swiglu;
pub mod tile;

/// A mutable base address that several workers share, each writing places no other one touches.
#[derive(Clone, Copy)]
pub struct SharedMut<T = f32>(*mut T);

// SAFETY: a plain address of plain numbers; every use site states why its writes do not overlap.
unsafe impl<T: bytemuck::Pod> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: bytemuck::Pod> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    /// Wraps the start of `slice`.
    pub fn new(slice: &mut [T]) -> Self {
        SharedMut(slice.as_mut_ptr())
    }

    /// The address `offset` numbers after the start.
    ///
    /// # Safety
    /// `offset` lies within the slice this was made from.
    pub unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: promised by the caller.
        unsafe { self.0.add(offset) }
    }

    /// `len` numbers from `offset` on.
    ///
    /// # Safety
    /// The range lies within the slice this was made from, and no other reference to any of it is
    /// alive while the result is.
    pub unsafe fn slice<'a>(self, offset: usize, len: usize) -> &'a mut [T] {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(offset), len) }
    }
}
