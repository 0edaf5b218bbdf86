//! What a message to a peer says of itself: numbers that tell whether it is lost, doubled or out of
//! order, and times that tell how long it took.

use std::fmt::Write;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The run's, so that what another run left behind is told from its own.
    pub(super) run: u64,
    pub(super) room: u64,
    /// The sender's place in the room.
    pub(super) place: u64,
    /// Its number in the room, from 1.
    pub(super) number: u64,
    /// The sender's one before; 0 if it is the first.
    pub(super) previous: u64,
    /// Which of the messages under way it is, in a closed loop.
    pub(super) token: u64,
    pub(super) due_us: u64,
    pub(super) begun_us: u64,
}

const NUMBERS: usize = 8;
/// Bytes of one, about.
pub(super) const BYTES_ABOUT: usize = 80;

/// Appends the numbers, then filling up to `len` bytes.
pub(super) fn write(stamp: &Stamp, len: usize, out: &mut String) {
    let Stamp { run, room, place, number, previous, token, due_us, begun_us } = stamp;
    let start = out.len();
    write!(out, "{run} {room} {place} {number} {previous} {token} {due_us} {begun_us} ")
        .expect("a String takes everything");
    while out.len() - start < len {
        out.push(char::from(b'a' + ((out.len() as u64 + number) % 26) as u8));
    }
}

/// Reads the numbers at the beginning of `text`.
pub(super) fn read(text: &[u8]) -> Option<Stamp> {
    let mut numbers = [0u64; NUMBERS];
    let mut bytes = text.iter();
    for number in &mut numbers {
        let mut digits = 0;
        loop {
            match bytes.next()? {
                digit @ b'0'..=b'9' => {
                    *number = number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
                    digits += 1;
                }
                b' ' if digits > 0 => break,
                _ => return None,
            }
        }
    }
    let [run, room, place, number, previous, token, due_us, begun_us] = numbers;
    Some(Stamp { run, room, place, number, previous, token, due_us, begun_us })
}

#[cfg(test)]
mod tests {
    use super::{Stamp, read, write};

    #[test]
    fn what_is_written_is_read_and_filled_up_to_its_length() {
        let stamp = Stamp {
            run: u64::from(u32::MAX),
            room: 3,
            place: 0,
            number: 45,
            previous: 44,
            token: 15,
            due_us: 1,
            begun_us: u64::MAX,
        };
        for len in [0, 128] {
            let mut text = "before".to_owned();
            write(&stamp, len, &mut text);
            assert!(len == 0 || text.len() == 6 + len, "{text}");
            assert_eq!(read(&text.as_bytes()[6..]), Some(stamp));
        }
    }

    #[test]
    fn anything_else_is_no_stamp() {
        for text in
            ["", "1 2 3", "1 2 3 4 5 6 7 8", "1  2 3 4 5 6 7 8 ", "1 2 3 4 5 6 7 x ", "-1 2 3 4 5 6 7 8 "]
        {
            assert_eq!(read(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(read(b"99999999999999999999 2 3 4 5 6 7 8 "), None, "more than 64 bits");
    }
}
