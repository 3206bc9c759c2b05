//! Event files of TensorBoard: records of TFRecord with messages of its `event.proto`, of which only numbers are written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Point;

/// An event file that grows.
pub struct TensorBoard {
    out: BufWriter<File>,
}

impl TensorBoard {
    /// Begins an event file in a folder. What other files there have of `step` and later is not shown any more: the run
    /// goes on from an earlier place.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(folder: &Path, step: u64, now: SystemTime) -> std::io::Result<TensorBoard> {
        std::fs::create_dir_all(folder)?;
        let begun = seconds(now);
        let out = (0..)
            .map(|number| {
                folder.join(format!(
                    "events.out.tfevents.{:010}.opid.{}.{number}",
                    begun as u64,
                    std::process::id()
                ))
            })
            .find(|path| !path.exists())
            .map(File::create_new)
            .expect("there are endlessly many names")?;
        let mut board = TensorBoard { out: BufWriter::new(out) };
        let mut version = wall_time(begun);
        bytes(&mut version, 3, b"brain.Event:2");
        board.record(&version)?;
        // `SessionLog { status: START }`.
        let mut start = wall_time(begun);
        number(&mut start, 2, step);
        bytes(&mut start, 7, &[1 << 3, 1]);
        board.record(&start)?;
        board.out.flush()?;
        Ok(board)
    }

    /// Adds points, which are in the file afterwards.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn add(&mut self, points: &[Point], time: SystemTime) -> std::io::Result<()> {
        for of_step in points.chunk_by(|a, b| a.step == b.step) {
            let mut summary = Vec::new();
            for point in of_step {
                let mut value = Vec::new();
                bytes(&mut value, 1, point.name.as_bytes());
                // `simple_value`, a fixed 32 bit number.
                value.push(2 << 3 | 5);
                value.extend((point.value as f32).to_le_bytes());
                bytes(&mut summary, 1, &value);
            }
            let mut event = wall_time(seconds(time));
            number(&mut event, 2, of_step[0].step);
            bytes(&mut event, 5, &summary);
            self.record(&event)?;
        }
        self.out.flush()
    }

    /// A record: its length, the length's checksum, the bytes, their checksum.
    fn record(&mut self, data: &[u8]) -> std::io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        for part in [&length[..], &checksum(&length), data, &checksum(data)] {
            self.out.write_all(part)?;
        }
        Ok(())
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The masked CRC-32C of TFRecord.
fn checksum(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A message that begins with its time, a fixed 64 bit number.
fn wall_time(seconds: f64) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1];
    message.extend(seconds.to_le_bytes());
    message
}

/// Adds a field of bytes to a message.
fn bytes(message: &mut Vec<u8>, field: u8, value: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, value.len() as u64);
    message.extend(value);
}

/// Adds a whole number to a message.
fn number(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3);
    varint(message, value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        for (value, expected) in [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
            let mut message = Vec::new();
            varint(&mut message, value);
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn records_are_framed_by_checksums() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = UNIX_EPOCH + std::time::Duration::from_secs(5);
        let mut board = TensorBoard::create(folder.path(), 4, now).expect("a file");
        board.add(&[Point { name: "a/b".into(), step: 300, value: 0.5 }], now).expect("written");
        let file = std::fs::read_dir(folder.path())
            .expect("a folder")
            .next()
            .expect("a file")
            .expect("a file")
            .path();
        let all = std::fs::read(file).expect("bytes");
        let mut rest = &all[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().expect("8 bytes")) as usize;
            assert_eq!(head[8..], checksum(&head[..8]));
            assert_eq!(after[length..length + 4], checksum(&after[..length]));
            records.push(&after[..length]);
            rest = &after[length + 4..];
        }
        assert_eq!(records.len(), 3);
        assert!(records[0].ends_with(b"brain.Event:2"));
        assert_eq!(&records[1][9..], [0x10, 4, 0x3a, 2, 8, 1]);
        let summary =
            [&[0x10, 0xac, 2, 0x2a, 12, 0x0a, 10, 0x0a, 3][..], b"a/b", &[0x15], &0.5f32.to_le_bytes()]
                .concat();
        assert_eq!(&records[2][9..], summary);
    }
}
