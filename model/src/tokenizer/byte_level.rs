//! GPT-2's byte-level alphabet: each byte is written as a printable character, so that a vocabulary is text.

/// The character that stands for each byte. Printable bytes of Latin-1 stand for themselves; the others are numbered
/// from U+0100, in order.
pub(super) const CHAR_OF_BYTE: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut next = 0x100;
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = if matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
            b as char
        } else {
            next += 1;
            match char::from_u32(next - 1) {
                Some(c) => c,
                None => panic!("all code points up to U+0143 are characters"),
            }
        };
        byte += 1;
    }
    table
};

/// The byte that a character stands for.
pub(super) fn byte_of_char(c: char) -> Option<u8> {
    /// By code point less U+0100: the bytes that do not stand for themselves.
    const MOVED: [u8; 68] = {
        let mut table = [0; 68];
        let mut byte = 0;
        while byte < 256 {
            let code = CHAR_OF_BYTE[byte] as usize;
            if code >= 0x100 {
                table[code - 0x100] = byte as u8;
            }
            byte += 1;
        }
        table
    };
    let code = c as usize;
    match u8::try_from(code) {
        Ok(b) => (CHAR_OF_BYTE[code] == c).then_some(b),
        Err(_) => MOVED.get(code - 0x100).copied(),
    }
}

/// The bytes of a token's text. Characters outside the alphabet, which only odd vocabularies have, stand for themselves.
pub(super) fn push_bytes(token: &str, out: &mut Vec<u8>) {
    for c in token.chars() {
        match byte_of_char(c) {
            Some(b) => out.push(b),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection() {
        for b in 0..=255u8 {
            assert_eq!(byte_of_char(CHAR_OF_BYTE[usize::from(b)]), Some(b));
        }
        assert_eq!(CHAR_OF_BYTE[usize::from(b' ')], 'Ġ');
        assert_eq!(CHAR_OF_BYTE[usize::from(b'\n')], 'Ċ');
        assert_eq!(CHAR_OF_BYTE[0xad], '\u{143}');
        assert_eq!(byte_of_char(' '), None);
        assert_eq!(byte_of_char('\u{144}'), None);
    }
}
