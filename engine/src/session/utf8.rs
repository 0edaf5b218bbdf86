//! UTF-8 that arrives in pieces, refused at the first byte that cannot be mended.

/// Up to three bytes of a code point whose rest has not come yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Utf8 {
    bytes: [u8; 4],
    len: u8,
}

impl Utf8 {
    /// Takes the next piece; `false` if the text can't be UTF-8 any more.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((first, rest)) = piece.split_first() else { return true };
            self.bytes[usize::from(self.len)] = *first;
            self.len += 1;
            piece = rest;
            match std::str::from_utf8(&self.bytes[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        if simdutf8::basic::from_utf8(piece).is_ok() {
            return true;
        }
        let Err(error) = simdutf8::compat::from_utf8(piece) else { return true };
        let rest = &piece[error.valid_up_to()..];
        if error.error_len().is_some() || rest.len() > 3 {
            return false;
        }
        self.bytes[..rest.len()].copy_from_slice(rest);
        self.len = rest.len() as u8;
        true
    }

    /// Whether no code point is left unfinished.
    pub(super) fn is_complete(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Utf8;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_judged_like_the_whole(bytes in prop_oneof![
            any::<String>().prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
        ], cuts in prop::collection::vec(0usize..40, 0..6)) {
            let mut utf8 = Utf8::default();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let good = cuts.windows(2).all(|w| utf8.push(&bytes[w[0]..w[1]])) && utf8.is_complete();
            prop_assert_eq!(good, std::str::from_utf8(&bytes).is_ok());
        }
    }
}
