//! Text from bytes that arrive in pieces which may end inside a character.

/// Holds back the start of a character until its end has come.
#[derive(Clone, Debug, Default)]
pub struct Utf8Stream {
    held: Vec<u8>,
}

impl Utf8Stream {
    /// Adds bytes and returns the text that is complete. Bytes that can be no part of any character become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        let mut done = 0;
        for chunk in self.held.utf8_chunks() {
            text.push_str(chunk.valid());
            done += chunk.valid().len();
            let bad = chunk.invalid();
            if bad.is_empty() || (done + bad.len() == self.held.len() && is_unfinished(bad)) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            done += bad.len();
        }
        self.held.drain(..done);
        text
    }

    /// Ends the text: what is held back can no longer be completed.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

/// True for the first bytes of a character that more bytes could complete.
fn is_unfinished(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(e) if e.valid_up_to() == 0 && e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_half_characters() {
        let text = "aé€𝄞z";
        for size in 1..=text.len() {
            let mut stream = Utf8Stream::default();
            let mut seen = String::new();
            for piece in text.as_bytes().chunks(size) {
                let now = stream.push(piece);
                assert!(!now.contains('\u{fffd}'));
                seen.push_str(&now);
                assert!(text.starts_with(&seen));
            }
            assert_eq!((seen.as_str(), stream.finish().as_str()), (text, ""));
        }
    }

    #[test]
    fn wrong_bytes_are_replaced_and_do_not_hold_up_the_rest() {
        let mut stream = Utf8Stream::default();
        assert_eq!(stream.push(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(stream.push(b"\xe2\x82"), "");
        assert_eq!(stream.push(b"c"), "\u{fffd}c");
        assert_eq!(stream.push(b"\xf0\x9f"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }
}
