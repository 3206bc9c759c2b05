//! Scores of vectors with queries: a few rows by a few queries at a time, with all sums in registers.
//!
//! For a few queries, rows are read where they are, at any address and in f32 or f16, which is widened on the way: the
//! products of `opid-lm` would compute 32 columns for a single query. Each sum is taken over
//! the lanes of a vector register and these are then added in a fixed order, so that it does not depend on its place.
//!
//! It is `unsafe` because it is written with vector instructions, which the compiler does not choose for f16, and
//! because rows in a mapped file are not aligned, hence no slices of numbers.

use opid_lm::kernels::buffer::Buffer;

use super::layout::{Metric, Storage};

/// Numbers by which the length of queries is a multiple: what every kernel may read beyond a vector's end.
const PAD: usize = 16;

/// Queries computed together.
const QUERIES: usize = 4;

/// Queries that are taken to a block of rows at a time: with 768 numbers each they fit the second-level cache beside it.
const CHUNK: usize = 16 * QUERIES;

/// Queries beyond which rows are copied before they are used.
const FEW: usize = 4 * QUERIES;

/// Most rows computed together.
const MOST_ROWS: usize = 6;

/// A batch of queries, each filled with zeros to a multiple of [`PAD`] numbers.
pub(super) struct Queries {
    /// On cache lines, so that no vector straddles two.
    numbers: Buffer<f32>,
    len: usize,
    dimension: usize,
    stride: usize,
}

impl Queries {
    /// Takes over vectors of `dimension` numbers, one behind the other.
    ///
    /// # Panics
    /// They end within a vector.
    pub fn new(queries: &[f32], dimension: usize) -> Self {
        assert!(queries.len().is_multiple_of(dimension), "queries of {dimension} numbers each");
        let stride = dimension.next_multiple_of(PAD);
        let len = queries.len() / dimension;
        let mut numbers = Buffer::new();
        let rows = numbers.take(len * stride).chunks_exact_mut(stride);
        for (to, from) in rows.zip(queries.chunks_exact(dimension)) {
            to[..dimension].copy_from_slice(from);
            to[dimension..].fill(0.0);
        }
        Queries { numbers, len, dimension, stride }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }
}

/// What an entry point is given: rows of `dimension` numbers without gaps, queries `stride` numbers apart, and where
/// scores go, one row of `queries` scores for every row.
struct Job {
    rows: *const u8,
    row_count: usize,
    dimension: usize,
    queries: *const f32,
    query_count: usize,
    stride: usize,
    scores: *mut f32,
    /// Room for [`MOST_ROWS`] rows of `stride` numbers, on cache lines.
    copies: *mut f32,
}

/// An entry point, compiled for some instructions, a storage and a metric.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    run: unsafe fn(&Job),
    storage: Storage,
}

impl Kernel {
    /// The fastest on this processor.
    pub fn best(storage: Storage, metric: Metric) -> Self {
        Kernel { run: available()[0].of(storage, metric), storage }
    }

    /// Scores of rows, one row of scores for each with one score a query; more is better, so distances are negated.
    ///
    /// `copies` is working memory.
    pub fn scores(self, rows: &[u8], queries: &Queries, copies: &mut Buffer<f32>, scores: &mut [f32]) {
        let stride = queries.dimension * self.storage.bytes();
        assert!(
            rows.len().is_multiple_of(stride) && rows.len() / stride * queries.len() == scores.len(),
            "whole rows and a score for each and every query"
        );
        let job = Job {
            rows: rows.as_ptr(),
            row_count: rows.len() / stride,
            dimension: queries.dimension,
            queries: queries.numbers.get(queries.len * queries.stride).as_ptr(),
            query_count: queries.len(),
            stride: queries.stride,
            scores: scores.as_mut_ptr(),
            copies: copies.take(MOST_ROWS * queries.stride).as_mut_ptr(),
        };
        // SAFETY: rows, queries and scores have the sizes the job says (checked above), queries are filled to a
        // multiple of `PAD`, there is room for copies of rows, and the processor has the instructions.
        unsafe { (self.run)(&job) }
    }
}

/// The entry points for some instructions: inner product and distance in f32, then in f16.
struct Entries([unsafe fn(&Job); 4]);

impl Entries {
    fn of(&self, storage: Storage, metric: Metric) -> unsafe fn(&Job) {
        self.0[2 * usize::from(storage == Storage::F16) + usize::from(metric == Metric::L2)]
    }
}

/// What this processor has, the fastest first.
fn available() -> Vec<Entries> {
    let mut all = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            all.push(Entries([
                avx512_f32_product,
                avx512_f32_distance,
                avx512_f16_product,
                avx512_f16_distance,
            ]));
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            all.push(Entries([avx2_f32_product, avx2_f32_distance, avx2_f16_product, avx2_f16_distance]));
        }
    }
    all.push(Entries([any_f32_product, any_f32_distance, any_f16_product, any_f16_distance]));
    all
}

/// A vector register.
trait Lanes {
    /// Its type.
    type Vector: Copy;
    /// Its numbers; [`PAD`] is a multiple of it.
    const WIDTH: usize;
    /// Zeros.
    unsafe fn zero() -> Self::Vector;
    /// Numbers in f32 at an address.
    unsafe fn f32(from: *const u8) -> Self::Vector;
    /// Numbers in f16 at an address.
    unsafe fn f16(from: *const u8) -> Self::Vector;
    /// Writes the numbers.
    unsafe fn store(to: *mut f32, x: Self::Vector);
    /// `a b + c`.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a - b`.
    unsafe fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The sum of the lanes of each, in one order for all.
    unsafe fn sums(of: [Self::Vector; QUERIES]) -> [f32; QUERIES];
    /// Fetches the cache line of an address that may be invalid.
    unsafe fn prefetch(at: *const u8);
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Numbers at an address.
#[inline(always)]
unsafe fn load<L: Lanes, const HALF: bool>(from: *const u8) -> L::Vector {
    // SAFETY: promised by the caller.
    unsafe { if HALF { L::f16(from) } else { L::f32(from) } }
}

/// The scores of `R` rows, so many numbers apart, with `N` queries.
#[inline(always)]
unsafe fn tile<L: Lanes, const HALF: bool, const DISTANCE: bool, const R: usize, const N: usize>(
    job: &Job,
    (rows, row_stride): (*const u8, usize),
    queries: *const f32,
    scores: *mut f32,
) {
    let size = if HALF { 2 } else { 4 };
    // SAFETY: the caller promises `R` rows and `N` queries, and room for their scores. What is read of a row ends with
    // it; queries are filled up.
    unsafe {
        let mut sums = [[L::zero(); R]; N];
        let mut at = 0;
        while at < job.dimension {
            let mut x = [L::zero(); R];
            let left = job.dimension - at;
            for (r, x) in x.iter_mut().enumerate() {
                let from = rows.add((r * row_stride + at) * size);
                if left >= L::WIDTH {
                    *x = load::<L, HALF>(from);
                } else {
                    let mut rest = [0u8; 4 * PAD];
                    std::ptr::copy_nonoverlapping(from, rest.as_mut_ptr(), left * size);
                    *x = load::<L, HALF>(rest.as_ptr());
                }
            }
            for (n, sums) in sums.iter_mut().enumerate() {
                let q = L::f32(queries.add(n * job.stride + at).cast());
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = if DISTANCE {
                        let apart = L::subtract(x, q);
                        L::multiply_add(apart, apart, *sum)
                    } else {
                        L::multiply_add(x, q, *sum)
                    };
                }
            }
            at += L::WIDTH;
        }
        for r in 0..R {
            let mut four = [L::zero(); QUERIES];
            for (one, sums) in four.iter_mut().zip(&sums) {
                *one = sums[r];
            }
            let four = L::sums(four);
            for (n, sum) in four.into_iter().enumerate().take(N) {
                *scores.add(r * job.query_count + n) = if DISTANCE { -sum } else { sum };
            }
        }
    }
}

/// Writes a row of `count` numbers as f32.
#[inline(always)]
unsafe fn copy<L: Lanes, const HALF: bool>(from: *const u8, count: usize, to: *mut f32) {
    let size = if HALF { 2 } else { 4 };
    // SAFETY: the caller promises as many numbers at both addresses.
    unsafe {
        let mut at = 0;
        while at + L::WIDTH <= count {
            L::store(to.add(at), load::<L, HALF>(from.add(size * at)));
            at += L::WIDTH;
        }
        let mut rest = [0u8; 4 * PAD];
        let mut numbers = [0f32; PAD];
        std::ptr::copy_nonoverlapping(from.add(size * at), rest.as_mut_ptr(), size * (count - at));
        L::store(numbers.as_mut_ptr(), load::<L, HALF>(rest.as_ptr()));
        std::ptr::copy_nonoverlapping(numbers.as_ptr(), to.add(at), count - at);
    }
}

/// The scores of `count` rows, which are `R` or one, with at most [`QUERIES`] queries.
#[inline(always)]
unsafe fn tiles<L: Lanes, const HALF: bool, const DISTANCE: bool, const R: usize>(
    job: &Job,
    count: usize,
    rows: (*const u8, usize),
    query: usize,
    scores: *mut f32,
) {
    // SAFETY: the caller promises the rows, and room for their scores.
    unsafe {
        let queries = job.queries.add(query * job.stride);
        match (count == R, job.query_count - query) {
            (true, 1) => tile::<L, HALF, DISTANCE, R, 1>(job, rows, queries, scores),
            (true, 2) => tile::<L, HALF, DISTANCE, R, 2>(job, rows, queries, scores),
            (true, 3) => tile::<L, HALF, DISTANCE, R, 3>(job, rows, queries, scores),
            (true, _) => tile::<L, HALF, DISTANCE, R, QUERIES>(job, rows, queries, scores),
            (false, 1) => tile::<L, HALF, DISTANCE, 1, 1>(job, rows, queries, scores),
            (false, 2) => tile::<L, HALF, DISTANCE, 1, 2>(job, rows, queries, scores),
            (false, 3) => tile::<L, HALF, DISTANCE, 1, 3>(job, rows, queries, scores),
            (false, _) => tile::<L, HALF, DISTANCE, 1, QUERIES>(job, rows, queries, scores),
        }
    }
}

/// All scores of a job, `R` rows at a time.
#[inline(always)]
unsafe fn block<L: Lanes, const HALF: bool, const DISTANCE: bool, const R: usize>(job: &Job) {
    let row_bytes = job.dimension * if HALF { 2 } else { 4 };
    let mut chunk = 0;
    while chunk < job.query_count {
        let end = job.query_count.min(chunk + CHUNK);
        let mut row = 0;
        while row < job.row_count {
            let count = if job.row_count - row >= R { R } else { 1 };
            // SAFETY: rows and queries of the job.
            unsafe {
                let rows = job.rows.add(row * row_bytes);
                let next = rows.wrapping_add(count * row_bytes);
                // The first pass over the rows fetches the next ones, a part with every few queries.
                let part =
                    if chunk == 0 { (R * row_bytes).div_ceil((end - chunk).div_ceil(QUERIES)) } else { 0 };
                // Copied where many queries read them: then f16 is widened once, and no vector
                // straddles two cache lines, which would cost as much as the products.
                let copied = end - chunk > FEW;
                if copied {
                    for r in 0..count {
                        copy::<L, HALF>(
                            rows.add(r * row_bytes),
                            job.dimension,
                            job.copies.add(r * job.stride),
                        );
                    }
                }
                let copies = (job.copies.cast_const().cast(), job.stride);
                let mut query = chunk;
                while query < end {
                    let from = next.wrapping_add((query - chunk) / QUERIES * part);
                    let mut line = 0;
                    while line < part {
                        L::prefetch(from.wrapping_add(line));
                        line += LINE;
                    }
                    let scores = job.scores.add(row * job.query_count + query);
                    match copied {
                        true => tiles::<L, false, DISTANCE, R>(job, count, copies, query, scores),
                        false => {
                            tiles::<L, HALF, DISTANCE, R>(job, count, (rows, job.dimension), query, scores)
                        }
                    }
                    query += QUERIES;
                }
            }
            row += count;
        }
        chunk = end;
    }
}

/// Entry points for a register and as many rows as leave room for the sums.
macro_rules! entries {
    ($lanes:ty, $rows:literal, [$a:ident, $b:ident, $c:ident, $d:ident] $(, $features:literal)?) => {
        entries!(@ $lanes, $rows, $a, false, false $(, $features)?);
        entries!(@ $lanes, $rows, $b, false, true $(, $features)?);
        entries!(@ $lanes, $rows, $c, true, false $(, $features)?);
        entries!(@ $lanes, $rows, $d, true, true $(, $features)?);
    };
    (@ $lanes:ty, $rows:literal, $name:ident, $half:literal, $distance:literal $(, $features:literal)?) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name(job: &Job) {
            // SAFETY: as promised to this function.
            unsafe { block::<$lanes, $half, $distance, $rows>(job) }
        }
    };
}

/// Registers of any processor, as the compiler makes them.
struct Any;

entries!(Any, 2, [any_f32_product, any_f32_distance, any_f16_product, any_f16_distance]);

impl Lanes for Any {
    type Vector = [f32; 4];
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }

    #[inline(always)]
    unsafe fn f32(from: *const u8) -> [f32; 4] {
        // SAFETY: promised by the caller.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn f16(from: *const u8) -> [f32; 4] {
        // SAFETY: promised by the caller.
        unsafe { from.cast::<[u16; 4]>().read_unaligned() }.map(|bits| half::f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        // SAFETY: promised by the caller.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn subtract(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn sums(of: [[f32; 4]; QUERIES]) -> [f32; QUERIES] {
        of.map(|x| (x[0] + x[2]) + (x[1] + x[3]))
    }

    #[inline(always)]
    unsafe fn prefetch(_at: *const u8) {}
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, QUERIES};

    /// Registers of AVX-512: 24 of the 32 hold sums.
    pub struct Avx512;

    impl Lanes for Avx512 {
        type Vector = __m512;
        const WIDTH: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: the caller has the instructions; so below.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn f32(from: *const u8) -> __m512 {
            // SAFETY: promised by the caller.
            unsafe { _mm512_loadu_ps(from.cast()) }
        }

        #[inline(always)]
        unsafe fn f16(from: *const u8) -> __m512 {
            // SAFETY: promised by the caller.
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: promised by the caller.
            unsafe { _mm512_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn subtract(a: __m512, b: __m512) -> __m512 {
            // SAFETY: as above.
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [__m512; QUERIES]) -> [f32; QUERIES] {
            // SAFETY: as above; the last is 16 plain bytes.
            unsafe {
                // Within each quarter, sums of two and then of four numbers side by side; then over the quarters.
                let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                let all = _mm512_add_ps(
                    _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd),
                    _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd),
                );
                let all = _mm512_add_ps(all, _mm512_shuffle_f32x4::<0b01_00_11_10>(all, all));
                let all = _mm512_add_ps(all, _mm512_shuffle_f32x4::<0b10_11_00_01>(all, all));
                std::mem::transmute(_mm512_castps512_ps128(all))
            }
        }

        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }

    /// Registers of AVX2: 12 of the 16 hold sums.
    pub struct Avx2;

    impl Lanes for Avx2 {
        type Vector = __m256;
        const WIDTH: usize = 8;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: the caller has the instructions; so below.
            unsafe { _mm256_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn f32(from: *const u8) -> __m256 {
            // SAFETY: promised by the caller.
            unsafe { _mm256_loadu_ps(from.cast()) }
        }

        #[inline(always)]
        unsafe fn f16(from: *const u8) -> __m256 {
            // SAFETY: promised by the caller.
            unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m256) {
            // SAFETY: promised by the caller.
            unsafe { _mm256_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn subtract(a: __m256, b: __m256) -> __m256 {
            // SAFETY: as above.
            unsafe { _mm256_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [__m256; QUERIES]) -> [f32; QUERIES] {
            // SAFETY: as above; the last is 16 plain bytes.
            unsafe {
                let ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let all = _mm256_add_ps(
                    _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
                    _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
                );
                let halves = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
                std::mem::transmute(halves)
            }
        }

        #[inline(always)]
        unsafe fn prefetch(at: *const u8) {
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    }
}
#[cfg(target_arch = "x86_64")]
use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
entries!(
    Avx512,
    6,
    [avx512_f32_product, avx512_f32_distance, avx512_f16_product, avx512_f16_distance],
    "avx512f"
);
#[cfg(target_arch = "x86_64")]
entries!(
    Avx2,
    3,
    [avx2_f32_product, avx2_f32_distance, avx2_f16_product, avx2_f16_distance],
    "avx2,fma,f16c"
);

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn all_kernels_agree_at_any_address() {
        for (dimension, rows, count) in [(5, 7, 1), (33, 13, 6), (96, 20, 131)] {
            let (vectors, queries) = (numbers(dimension * rows, 5), numbers(dimension * count, 6));
            let queries = Queries::new(&queries, dimension);
            for storage in [Storage::F32, Storage::F16] {
                for metric in [Metric::InnerProduct, Metric::L2] {
                    let mut bytes = vec![0];
                    storage.append(&vectors, &mut bytes);
                    let mut results = available().into_iter().map(|entries| {
                        let mut scores = vec![f32::NAN; rows * count];
                        let kernel = Kernel { run: entries.of(storage, metric), storage };
                        kernel.scores(&bytes[1..], &queries, &mut Buffer::new(), &mut scores);
                        scores
                    });
                    let first = results.next().expect("a kernel");
                    for other in results {
                        for (a, b) in first.iter().zip(&other) {
                            assert!((a - b).abs() < 1e-4, "{dimension} {storage:?} {metric:?}: {a} {b}");
                        }
                    }
                }
            }
        }
    }
}
