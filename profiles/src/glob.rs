//! Patterns of node ids: `blk.*.delta_net.scale_q`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// The longest pattern, so that comparing two stays cheap whatever a file says.
pub const MAX_PATTERN: usize = 256;

/// A pattern of node ids: `*` stands for any run of characters (dots too, or none), `?` for any one.
///
/// Everything else stands for itself. A pattern without `*` and `?` is a *literal*: it names one node, and outranks
/// a pattern in [`Profile::lookup`](crate::Profile::lookup).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Nothing to match.
    #[error("the pattern is empty; leave the key out to match every node")]
    Empty,
    /// Longer than [`MAX_PATTERN`].
    #[error("the pattern has {0} bytes, more than {MAX_PATTERN}")]
    TooLong(usize),
    /// A character that no node id has.
    #[error("{0:?} can't be in a node id")]
    Character(char),
}

impl Pattern {
    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names exactly one node.
    pub fn is_literal(&self) -> bool {
        !self.0.contains(['*', '?'])
    }

    /// Whether `node` fits the pattern. Takes at most `pattern × node` steps, whatever the pattern.
    pub fn matches(&self, node: &str) -> bool {
        let (pattern, node) = (self.0.as_bytes(), node.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to go on when the text after the last `*` does not fit: let that `*` take one more byte. Earlier stars
        // need no second thought, since what they take now can be taken by the last one.
        let mut retry = None;
        while n < node.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(&c) if c == b'?' || c == node[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match retry {
                    Some((after_star, taken)) => {
                        retry = Some((after_star, taken + 1));
                        (p, n) = (after_star, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&c| c == b'*')
    }

    /// Whether some node id fits both patterns.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.0.as_bytes(), other.0.as_bytes());
        // fits[j]: whether a[i..] and b[j..] have a common text, for the row i at hand, from the last row up.
        let mut below = vec![false; b.len() + 1];
        for i in (0..=a.len()).rev() {
            let mut fits = vec![false; b.len() + 1];
            for j in (0..=b.len()).rev() {
                fits[j] = match (a.get(i), b.get(j)) {
                    (None, None) => true,
                    (Some(b'*'), y) => below[j] || (y.is_some() && fits[j + 1]),
                    (x, Some(b'*')) => fits[j + 1] || (x.is_some() && below[j]),
                    (Some(&x), Some(&y)) => (x == y || x == b'?' || y == b'?') && below[j + 1],
                    _ => false,
                };
            }
            below = fits;
        }
        below[0]
    }

    /// Whether every node that fits `other` fits `self`. May say no where the answer is yes, never the reverse.
    pub fn covers(&self, other: &Self) -> bool {
        self == other || self.0 == "*" || (other.is_literal() && self.matches(&other.0))
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(text.len()));
        }
        match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '"' | '\'' | '\\' | '`')) {
            Some(c) => Err(PatternError::Character(c)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn star_and_question_mark() {
        let p = pattern("blk.*.delta_net.scale_q");
        assert!(p.matches("blk.7.delta_net.scale_q") && p.matches("blk.31.delta_net.scale_q"));
        assert!(!p.matches("blk.7.delta_net.scale_k") && !p.matches("blk.7.delta_net.scale_q2"));
        assert!(pattern("blk.?.attn").matches("blk.3.attn") && !pattern("blk.?.attn").matches("blk.13.attn"));
        assert!(pattern("*").matches("") && !pattern("?").matches(""));
        assert!(pattern("output").is_literal() && !p.is_literal());
    }

    #[test]
    fn a_hostile_pattern_stays_cheap() {
        let p = pattern(&"*a".repeat(MAX_PATTERN / 2));
        assert!(!p.matches(&"a".repeat(100_000).replace("aa", "ab")[..50_000].replace('a', "b")));
    }

    #[test]
    fn bad_patterns_say_why() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err();
        assert_eq!(error(""), PatternError::Empty);
        assert_eq!(error("blk 7"), PatternError::Character(' '));
        assert_eq!(error("blk\u{1b}[0m"), PatternError::Character('\u{1b}'));
        assert_eq!(error(&"x".repeat(300)), PatternError::TooLong(300));
    }

    /// Every text of a, b up to four letters: enough to tell any two short patterns apart.
    fn short_texts() -> Vec<String> {
        let mut texts = vec![String::new()];
        for from in 0..15 {
            for c in ["a", "b"] {
                texts.push(format!("{}{c}", texts[from]));
            }
        }
        texts
    }

    proptest! {
        #[test]
        fn matches_agrees_with_the_definition(p in "[ab*?]{1,6}", text in "[ab]{0,8}") {
            fn defined(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| defined(rest, &t[n..])),
                    Some((&c, rest)) => t.split_first().is_some_and(|(&x, t)| (c == b'?' || c == x) && defined(rest, t)),
                }
            }
            prop_assert_eq!(pattern(&p).matches(&text), defined(p.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn overlaps_and_covers_agree_with_matches(p in "[ab*?]{1,2}", q in "[ab*?]{1,2}") {
            let (p, q) = (pattern(&p), pattern(&q));
            let texts = short_texts();
            prop_assert_eq!(p.overlaps(&q), texts.iter().any(|t| p.matches(t) && q.matches(t)), "{} {}", p, q);
            if p.covers(&q) {
                prop_assert!(texts.iter().all(|t| !q.matches(t) || p.matches(t)));
            }
        }
    }
}
