//! A choice: the rule that says where it holds, and what it chooses.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::{Pattern, SizeRange};

/// Where a variant runs: `"cpu"`, `"cuda"` (every CUDA device) or `"cuda:1"` (that one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Backend {
    /// The processor.
    #[default]
    Cpu,
    /// A CUDA device by its index, or all of them.
    Cuda(Option<u16>),
}

impl Backend {
    /// What every backend's text begins with, for messages.
    pub(crate) const KNOWN: &'static [&'static str] = &["cpu", "cuda", "cuda:0"];

    /// Whether a rule for `self` holds on `other`: `cuda` holds on `cuda:1`, not the reverse.
    pub fn covers(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Cuda(None), Self::Cuda(_)))
    }
}

/// A text that is no backend or no phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known name")]
pub struct UnknownName;

impl FromStr for Backend {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(None)),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or(UnknownName)?;
                let plain = index == "0" || !index.starts_with(['0', '+']);
                index.parse().ok().filter(|_| plain).map(|index| Self::Cuda(Some(index))).ok_or(UnknownName)
            }
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(None) => f.write_str("cuda"),
            Self::Cuda(Some(index)) => write!(f, "cuda:{index}"),
        }
    }
}

impl Serialize for Backend {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which half of the work: tuned and shown apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// One token per sequence.
    Decode,
    /// A ubatch of prompt tokens.
    Prefill,
}

impl Phase {
    pub(crate) const KNOWN: &'static [&'static str] = &["decode", "prefill"];

    /// The phase that `self` is not.
    pub fn other(self) -> Self {
        match self {
            Self::Decode => Self::Prefill,
            Self::Prefill => Self::Decode,
        }
    }

    /// Its name in a profile.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
        }
    }
}

impl FromStr for Phase {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        [Self::Decode, Self::Prefill].into_iter().find(|phase| phase.as_str() == text).ok_or(UnknownName)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a choice holds. All that is given must fit; what is absent fits anything.
///
/// Two choices of one profile never have equal rules, so a rule is also a choice's identity (in
/// [`diff`](crate::diff) and in edits of a file).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Rule {
    /// The op, `"scale"`.
    pub op: String,
    /// Where it runs; absent in a file means `cpu`.
    pub backend: Backend,
    /// One phase, or both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Elements of the op's result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<SizeRange>,
    /// Tokens in the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<SizeRange>,
    /// Rows: of the weight for a product with a weight, else of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<SizeRange>,
    /// Columns: the contiguous dimension of what `rows` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cols: Option<SizeRange>,
    /// Types of the weight, in capitals, sorted, each once; empty is any. [`Rule::set_types`] keeps them so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// The node's id or a pattern of ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Pattern>,
}

impl Rule {
    /// The rule for `op` on the CPU, in both phases and for every shape.
    pub fn new(op: impl Into<String>) -> Self {
        Self { op: op.into(), ..Self::default() }
    }

    /// Sets the types, brought to the form in which rules are compared.
    pub fn set_types(&mut self, types: impl IntoIterator<Item = impl AsRef<str>>) {
        self.types = types.into_iter().map(|name| name.as_ref().to_ascii_uppercase()).collect();
        self.types.sort();
        self.types.dedup();
    }

    /// The range filters by their key in a profile.
    pub(crate) fn ranges(&self) -> [(&'static str, Option<SizeRange>); 4] {
        [("elements", self.elements), ("tokens", self.tokens), ("rows", self.rows), ("cols", self.cols)]
    }
}

/// `scale (cpu, decode, elements 65536..)`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.op, self.backend)?;
        if let Some(phase) = self.phase {
            write!(f, ", {phase}")?;
        }
        for (key, range) in self.ranges() {
            if let Some(range) = range {
                write!(f, ", {key} {range}")?;
            }
        }
        if !self.types.is_empty() {
            write!(f, ", {}", self.types.join("|"))?;
        }
        if let Some(node) = &self.node {
            write!(f, ", {node}")?;
        }
        f.write_str(")")
    }
}

/// The value of a tunable: a number, or the name of one of its settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum TunableValue {
    /// A number, `block = 1024`.
    Int(i64),
    /// A name, `split = "heads"`.
    Text(String),
}

impl fmt::Display for TunableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

impl From<i64> for TunableValue {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for TunableValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

/// The measurement that justifies a choice. A choice without one was made by hand and holds on any machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Median time of the node, in microseconds.
    pub median_us: f64,
    /// The 95 % confidence interval of the median, in microseconds.
    pub ci95_us: [f64; 2],
    /// Samples that went in.
    pub samples: u32,
    /// Share of the token's or ubatch's time that the op takes with this choice, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The variant that it was measured against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Time of the baseline over time of this choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speedup: Option<f64>,
}

/// One `[[choice]]`: where its [`Rule`] holds, run this variant with these tunables.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Choice {
    /// Where it holds.
    #[serde(flatten)]
    pub rule: Rule,
    /// The variant to run.
    pub variant: String,
    /// The revision that was measured; another one in the program is a miss. Absent: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// Tunables by name; what is absent keeps the variant's default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tunables: BTreeMap<String, TunableValue>,
    /// Why this variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// Variants whose time could not be told apart from this one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tied_with: Vec<String>,
}

impl Choice {
    /// `variant` wherever `rule` holds, with default tunables and no measurement.
    pub fn new(rule: Rule, variant: impl Into<String>) -> Self {
        Self { rule, variant: variant.into(), ..Self::default() }
    }
}

/// `blocked block=1024 threads=2`
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.variant)?;
        self.tunables.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends() {
        for text in ["cpu", "cuda", "cuda:0", "cuda:17"] {
            assert_eq!(text.parse::<Backend>().unwrap().to_string(), text);
        }
        for text in ["", "CPU", "cuda:", "cuda:01", "cuda:+1", "cuda:99999", "rocm"] {
            assert!(text.parse::<Backend>().is_err(), "{text:?}");
        }
        assert!(Backend::Cuda(None).covers(Backend::Cuda(Some(3))));
        assert!(!Backend::Cuda(Some(3)).covers(Backend::Cuda(None)) && !Backend::Cpu.covers(Backend::Cuda(None)));
    }

    #[test]
    fn a_rule_reads_as_a_line() {
        let mut rule = Rule::new("mul_mat");
        rule.phase = Some(Phase::Decode);
        rule.rows = Some(SizeRange::at_least(4096));
        rule.set_types(["q6_K", "Q4_K", "q4_k"]);
        rule.node = Some("blk.*.wo".parse().unwrap());
        assert_eq!(rule.to_string(), "mul_mat (cpu, decode, rows 4096.., Q4_K|Q6_K, blk.*.wo)");
    }
}
