//! Working memory: aligned to cache lines, in huge pages where the system has them, kept between calls.

use memmap2::MmapMut;

/// Numbers of 4 bytes that a buffer can hold.
pub trait Word: bytemuck::AnyBitPattern + bytemuck::NoUninit {}

impl Word for f32 {}
impl Word for u32 {}

/// A slice that grows as needed, never shrinks and starts on a page of its own.
///
/// Small allocations of the general allocator start anywhere, so that vectors straddle cache lines, and
/// large ones are returned to the system, so that their pages are made and zeroed again in every step.
#[derive(Debug, Default)]
pub struct Buffer<T: Word> {
    map: Option<MmapMut>,
    kind: std::marker::PhantomData<T>,
}

impl<T: Word> Buffer<T> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Buffer { map: None, kind: std::marker::PhantomData }
    }

    /// The first `len` numbers. What they hold is lost when the buffer has to grow.
    pub fn take(&mut self, len: usize) -> &mut [T] {
        let bytes = len * size_of::<T>();
        if self.map.as_ref().is_none_or(|map| map.len() < bytes) {
            // The old memory is given back before the new is asked for.
            self.map = None;
            let map = MmapMut::map_anon(bytes.max(1)).expect("memory for the model's working buffers");
            #[cfg(target_os = "linux")]
            // Only speed depends on it.
            let _ = map.advise(memmap2::Advice::HugePage);
            self.map = Some(map);
        }
        match &mut self.map {
            Some(map) => bytemuck::cast_slice_mut(&mut map[..bytes]),
            None => &mut [],
        }
    }

    /// The first `len` numbers, which [`take`](Self::take) has made room for.
    pub fn get(&self, len: usize) -> &[T] {
        match &self.map {
            Some(map) => bytemuck::cast_slice(&map[..len * size_of::<T>()]),
            None => &[],
        }
    }
}

/// A cache line of numbers, for small allocations that are to start on one.
#[derive(Clone, Copy, Debug, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(64))]
pub struct Line([u32; Line::LEN]);

impl Line {
    /// Numbers of a line.
    pub const LEN: usize = 16;

    /// Zeros.
    pub const ZERO: Line = Line([0; Line::LEN]);
}
