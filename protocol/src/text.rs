//! Short texts on the stack. An event holds several ids and a time: `fmt` and a JSON writer that is given
//! their pieces one by one cost more than the rest of it.

/// ASCII of at most `N` bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Appends `text`, which fits.
    #[inline]
    pub(crate) fn and(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        let text = text.as_ref();
        debug_assert!(text.is_ascii());
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text);
        self.len += text.len();
        self
    }

    /// Appends a number.
    #[inline]
    pub(crate) fn and_number(&mut self, number: u64) -> &mut Self {
        self.and(itoa::Buffer::new().format(number))
    }

    /// Appends the last `digits` of a number, zeros before them.
    #[inline]
    pub(crate) fn and_digits(&mut self, mut number: u64, digits: usize) -> &mut Self {
        let end = self.len + digits;
        for digit in self.bytes[self.len..end].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len = end;
        self
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("only ASCII is taken")
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn pieces_stand_one_after_the_other() {
        let mut text = Text::<40>::new();
        text.and("a_").and_number(u64::MAX).and_digits(7, 3).and_digits(1234, 2);
        assert_eq!(text.as_str(), "a_1844674407370955161500734");
        assert_eq!(Text::<0>::new().as_str(), "");
    }
}
