//! Mutations of inputs: what damage, carelessness and malice do to a file.

use opid_env::random::Draw;

/// Longest result.
const LONGEST: usize = 1 << 17;

/// Numbers that break arithmetic.
const NUMBERS: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x4000_0000_0000_0000,
    0x1_0000_0000,
];

/// The same in text, and pieces of the formats that are read.
const PIECES: [&str; 40] = [
    "-1",
    "0",
    "1e999",
    "-0.0",
    "NaN",
    "Infinity",
    "null",
    "true",
    "99999999999999999999",
    "4294967296",
    "1e-320",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "\u{202e}",
    "\u{10ffff}",
    "\0",
    "\r\n",
    "\"",
    "'",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ":",
    ";",
    "<think>",
    "</think>",
    "<action>",
    "</action>",
    "<search>",
    "</answer>",
    "../",
    "{{ x }}",
    "{% for",
    "=",
];

/// A mutation of one of the seeds; the same for the same keys.
pub fn mutate(seeds: &[Vec<u8>], keys: &[u64]) -> Vec<u8> {
    let mut draw = Draw::new(keys);
    let mut bytes = draw.pick(seeds).cloned().unwrap_or_default();
    for _ in 0..draw.between(1, 6) {
        change(&mut bytes, seeds, &mut draw);
        bytes.truncate(LONGEST);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], draw: &mut Draw) {
    let len = bytes.len();
    let at = draw.below(len + 1);
    let end = len.min(at + 1 + draw.below(64));
    match draw.below(11) {
        0 if at < len => bytes[at] ^= 1 << draw.below(8),
        1 if at < len => bytes[at] = draw.bits() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = draw.pick(&PIECES).copied().unwrap_or_default();
            bytes.splice(at..at, piece.bytes());
        }
        5 => {
            let width = [1, 2, 4, 8][draw.below(4)];
            let number = draw.pick(&NUMBERS).copied().unwrap_or_default().wrapping_add(draw.below(3) as u64);
            let end = len.min(at + width);
            bytes.splice(at..end, number.to_le_bytes().into_iter().take(width));
        }
        6 => {
            // The same again, often: depth and length.
            let times = 1 << draw.below(14);
            let piece: Vec<u8> = bytes[at..end].iter().copied().take(LONGEST / times).collect();
            bytes.splice(at..at, piece.repeat(times));
        }
        7 => {
            let other = draw.pick(seeds).cloned().unwrap_or_default();
            let from = draw.below(other.len() + 1);
            let to = other.len().min(from + draw.below(512));
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        8 => {
            // A number of a text becomes another.
            if let Some(start) = (at..len).find(|&i| bytes[i].is_ascii_digit()) {
                let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
                let piece = PIECES[draw.below(11)];
                bytes.splice(start..start + digits, piece.bytes());
            }
        }
        9 => {
            let to = draw.below(len + 1);
            let piece: Vec<u8> = bytes[at..end].to_vec();
            bytes.splice(to..to, piece);
        }
        _ => bytes.extend((0..draw.below(16)).map(|_| draw.bits() as u8)),
    }
}
