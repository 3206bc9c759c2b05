//! The layout of FAISS' files of flat indexes: little endian, without gaps, so that numbers may lie anywhere.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// How a vector is compared with a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Inner product: more is better.
    InnerProduct,
    /// Squared Euclidean distance: less is better.
    L2,
}

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// 4 bytes each.
    F32,
    /// 2 bytes each.
    F16,
}

impl Storage {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F16 => 2,
        }
    }

    /// Appends numbers as they are kept.
    pub(super) fn append(self, numbers: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Storage::F32 => numbers.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes())),
            Storage::F16 => {
                let mut halves = vec![f16::ZERO; numbers.len()];
                halves.convert_from_f32_slice(numbers);
                halves.iter().for_each(|x| bytes.extend_from_slice(&x.to_le_bytes()));
            }
        }
    }
}

/// What both unused fields of every header hold.
const UNUSED: u64 = 1 << 20;
/// Bytes of the header that all indexes share.
const COMMON: usize = 37;
/// The quantizer that keeps numbers as f16.
const QUANTIZER_F16: u32 = 4;

/// What a file holds, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub metric: Metric,
    pub storage: Storage,
    /// Numbers of a vector.
    pub dimension: usize,
    /// Vectors.
    pub len: usize,
    /// Where the first vector begins.
    pub data: usize,
}

impl Layout {
    /// Bytes of a vector.
    pub fn stride(&self) -> usize {
        self.dimension * self.storage.bytes()
    }

    /// Reads the header of a file, and checks its length against it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < COMMON {
            return Err(format!("it has {} bytes, fewer than the header of an index", bytes.len()));
        }
        let storage = match &bytes[..4] {
            b"IxFI" | b"IxF2" => Storage::F32,
            b"IxSQ" => Storage::F16,
            other => {
                let kind = other.escape_ascii();
                return Err(format!("it begins with \"{kind}\", not with IxFI, IxF2 or IxSQ"));
            }
        };
        let metric = match u32_at(bytes, 33) {
            0 => Metric::InnerProduct,
            1 => Metric::L2,
            other => {
                return Err(format!("its metric is number {other}, neither 0 (inner product) nor 1 (L2)"));
            }
        };
        if (&bytes[..4] == b"IxFI") != (metric == Metric::InnerProduct) && storage == Storage::F32 {
            return Err("its kind and its metric contradict each other".to_owned());
        }
        let (dimension, len) = (u32_at(bytes, 4) as i32, u64_at(bytes, 8) as i64);
        let sizes = (usize::try_from(dimension), usize::try_from(len));
        let (Ok(dimension @ 1..), Ok(len)) = sizes else {
            return Err(format!("it says that it holds {len} vectors of {dimension} numbers"));
        };
        let data = match storage {
            Storage::F32 => COMMON + 8,
            Storage::F16 => codes(bytes, dimension)?,
        };
        let layout = Layout { metric, storage, dimension, len, data };
        let counted = match storage {
            Storage::F32 => len.checked_mul(dimension),
            Storage::F16 => len.checked_mul(layout.stride()),
        };
        let needed = len.checked_mul(layout.stride()).and_then(|size| size.checked_add(data));
        let says = (bytes.len() >= data).then(|| u64_at(bytes, data - 8));
        if needed != Some(bytes.len()) || says != counted.map(|n| n as u64) {
            return Err(format!(
                "it has {} bytes, but {len} vectors of {dimension} numbers are {}: it is cut off or damaged",
                bytes.len(),
                needed.map_or("more than any file".to_owned(), |n| n.to_string())
            ));
        }
        Ok(layout)
    }

    /// The header of a file with these vectors; `data` does not count.
    pub fn header(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(match (self.storage, self.metric) {
            (Storage::F16, _) => b"IxSQ",
            (Storage::F32, Metric::InnerProduct) => b"IxFI",
            (Storage::F32, Metric::L2) => b"IxF2",
        });
        bytes.extend_from_slice(&(self.dimension as u32).to_le_bytes());
        for field in [self.len as u64, UNUSED, UNUSED] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.push(1);
        bytes.extend_from_slice(&u32::from(self.metric == Metric::L2).to_le_bytes());
        match self.storage {
            Storage::F32 => bytes.extend_from_slice(&((self.len * self.dimension) as u64).to_le_bytes()),
            Storage::F16 => {
                // The quantizer, how it was trained, which f16 is not, and the size of a code.
                bytes.extend_from_slice(&QUANTIZER_F16.to_le_bytes());
                bytes.extend_from_slice(&[0; 8]);
                for field in [self.dimension, self.stride(), 0, self.len * self.stride()] {
                    bytes.extend_from_slice(&(field as u64).to_le_bytes());
                }
            }
        }
        bytes
    }
}

/// Where the codes of a scalar quantizer begin.
fn codes(bytes: &[u8], dimension: usize) -> Result<usize, String> {
    /// Where the number of trained values is.
    const TRAINED: usize = 65;
    if bytes.len() < TRAINED + 16 {
        return Err("its header is cut off".to_owned());
    }
    let quantizer = u32_at(bytes, COMMON);
    if quantizer != QUANTIZER_F16 {
        return Err(format!(
            "its numbers are quantized by kind {quantizer}, not as f16 (kind {QUANTIZER_F16})"
        ));
    }
    if u64_at(bytes, 49) != dimension as u64 || u64_at(bytes, 57) != 2 * dimension as u64 {
        return Err(format!("its quantizer is not for vectors of {dimension} numbers"));
    }
    let trained = usize::try_from(u64_at(bytes, TRAINED)).ok().and_then(|n| n.checked_mul(4));
    trained
        .and_then(|size| size.checked_add(TRAINED + 16))
        .filter(|data| *data <= bytes.len())
        .ok_or_else(|| "its header is cut off".to_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(storage: Storage, metric: Metric) -> Vec<u8> {
        let layout = Layout { metric, storage, dimension: 3, len: 2, data: 0 };
        let mut bytes = layout.header();
        storage.append(&[1.0, -2.0, 0.5, 3.0, 4.0, 65504.0], &mut bytes);
        bytes
    }

    #[test]
    fn headers_are_read_as_they_are_written() {
        for storage in [Storage::F32, Storage::F16] {
            for metric in [Metric::InnerProduct, Metric::L2] {
                let bytes = file(storage, metric);
                let data = if storage == Storage::F32 { 45 } else { 81 };
                let expected = Layout { metric, storage, dimension: 3, len: 2, data };
                assert_eq!(Layout::parse(&bytes), Ok(expected));
            }
        }
    }

    #[test]
    fn damage_is_told() {
        for storage in [Storage::F32, Storage::F16] {
            let bytes = file(storage, Metric::InnerProduct);
            for end in 0..bytes.len() {
                assert!(Layout::parse(&bytes[..end]).is_err(), "{end}");
            }
            for (at, says) in
                [(0, "begins with"), (4, "numbers"), (8, "vectors"), (33, "metric"), (36, "metric")]
            {
                let mut bytes = bytes.clone();
                bytes[at] = 0xfe;
                let error = Layout::parse(&bytes).expect_err("damaged");
                assert!(error.contains(says), "{at}: {error}");
            }
            // Sizes that no memory holds.
            let mut huge = bytes.clone();
            huge[8..16].copy_from_slice(&(i64::MAX as u64).to_le_bytes());
            assert!(Layout::parse(&huge).is_err());
        }
        let mut other = file(Storage::F16, Metric::L2);
        other[COMMON] = 1;
        assert!(Layout::parse(&other).expect_err("quantized").contains("f16"));
    }
}
