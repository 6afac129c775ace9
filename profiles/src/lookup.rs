//! Which choice holds for a node: matching and specificity.

use crate::{Backend, Choice, Phase, Profile, Rule, SizeRange};

/// What a plan asks a profile about one node.
///
/// A property that is `None` is unknown, and no rule that filters by it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The op, `"scale"`.
    pub op: &'a str,
    /// Where it will run.
    pub backend: Backend,
    /// The phase of the plan.
    pub phase: Phase,
    /// Elements of the op's result.
    pub elements: Option<u64>,
    /// Tokens in the batch.
    pub tokens: Option<u64>,
    /// Rows, as [`Rule::rows`] counts them.
    pub rows: Option<u64>,
    /// Columns, as [`Rule::cols`] counts them.
    pub cols: Option<u64>,
    /// The type of the weight, in any case.
    pub dtype: Option<&'a str>,
    /// The node's id, `"blk.7.delta_net.scale_q"`.
    pub node: Option<&'a str>,
}

impl<'a> Query<'a> {
    /// A query that knows nothing of the shape; set the public fields to add what is known.
    pub fn new(op: &'a str, backend: Backend, phase: Phase) -> Self {
        Self { op, backend, phase, elements: None, tokens: None, rows: None, cols: None, dtype: None, node: None }
    }

    fn sizes(&self) -> [Option<u64>; 4] {
        [self.elements, self.tokens, self.rows, self.cols]
    }
}

/// How specific a rule is. The order of the fields is the order of their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity {
    /// 2 for one node by its id, 1 for a pattern, 0 for all.
    node: u8,
    /// How many of elements, tokens, rows, cols and types are filtered.
    filters: u8,
    /// Whether it is for one device.
    device: bool,
    /// Whether it is for one phase. The least: so a rule that `Stack::merge` narrows to a phase rises past no rule but
    /// those that tied with it.
    phase: bool,
}

impl Rule {
    /// Whether the rule holds for `query`.
    pub fn matches(&self, query: &Query<'_>) -> bool {
        let in_range = |(range, size): (Option<SizeRange>, Option<u64>)| {
            range.is_none_or(|range| size.is_some_and(|size| range.contains(size)))
        };
        self.op == query.op
            && self.backend.covers(query.backend)
            && self.phase.is_none_or(|phase| phase == query.phase)
            && self.ranges().map(|(_, range)| range).into_iter().zip(query.sizes()).all(in_range)
            && (self.types.is_empty() || query.dtype.is_some_and(|dtype| self.has_type(dtype)))
            && self.node.as_ref().is_none_or(|pattern| query.node.is_some_and(|node| pattern.matches(node)))
    }

    fn has_type(&self, dtype: &str) -> bool {
        self.types.iter().any(|name| name.eq_ignore_ascii_case(dtype))
    }

    /// How specific it is, for [`Profile::lookup`].
    pub fn specificity(&self) -> Specificity {
        let ranges = self.ranges().iter().filter(|(_, range)| range.is_some()).count() as u8;
        Specificity {
            node: self.node.as_ref().map_or(0, |pattern| 1 + u8::from(pattern.is_literal())),
            filters: ranges + u8::from(!self.types.is_empty()),
            device: matches!(self.backend, Backend::Cuda(Some(_))),
            phase: self.phase.is_some(),
        }
    }

    /// Whether every query that `other` matches is matched by `self`. May say no where the answer is yes (two
    /// patterns are hard to compare), never the reverse.
    pub fn covers(&self, other: &Self) -> bool {
        let wider = |(mine, theirs): (Option<SizeRange>, Option<SizeRange>)| {
            mine.is_none_or(|mine| theirs.is_some_and(|theirs| mine.covers(theirs)))
        };
        self.op == other.op
            && self.backend.covers(other.backend)
            && self.phase.is_none_or(|phase| other.phase == Some(phase))
            && self.range_pairs(other).into_iter().all(wider)
            && (self.types.is_empty()
                || (!other.types.is_empty() && other.types.iter().all(|dtype| self.has_type(dtype))))
            && self.node.as_ref().is_none_or(|mine| other.node.as_ref().is_some_and(|theirs| mine.covers(theirs)))
    }

    /// Whether some query is matched by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let meet = |(mine, theirs): (Option<SizeRange>, Option<SizeRange>)| {
            mine.is_none_or(|mine| theirs.is_none_or(|theirs| mine.overlaps(theirs)))
        };
        self.op == other.op
            && (self.backend.covers(other.backend) || other.backend.covers(self.backend))
            && self.phase.is_none_or(|phase| other.phase.is_none_or(|theirs| theirs == phase))
            && self.range_pairs(other).into_iter().all(meet)
            && (self.types.is_empty() || other.types.is_empty() || other.types.iter().any(|dtype| self.has_type(dtype)))
            && self.node.as_ref().is_none_or(|mine| other.node.as_ref().is_none_or(|theirs| mine.overlaps(theirs)))
    }

    fn range_pairs(&self, other: &Self) -> [(Option<SizeRange>, Option<SizeRange>); 4] {
        let (mine, theirs) = (self.ranges(), other.ranges());
        std::array::from_fn(|i| (mine[i].1, theirs[i].1))
    }
}

impl Profile {
    /// The choice that holds for `query`, `None` where the default stands.
    ///
    /// Of all the choices whose rule matches, the most specific wins, compared in this order:
    ///
    /// 1. the node: one id, then a pattern with wildcards, then no node;
    /// 2. the number of shape and type filters;
    /// 3. one device (`cuda:1`) before all;
    /// 4. one phase before both;
    /// 5. the later one in the file.
    pub fn lookup(&self, query: &Query<'_>) -> Option<&Choice> {
        best(self.choices.iter(), query)
    }
}

/// The winner among `choices`, as [`Profile::lookup`] says.
pub(crate) fn best<'a>(choices: impl Iterator<Item = &'a Choice>, query: &Query<'_>) -> Option<&'a Choice> {
    // `max_by_key` returns the last of equals.
    choices.filter(|choice| choice.rule.matches(query)).max_by_key(|choice| choice.rule.specificity())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn profile(choices: &str) -> Profile {
        crate::parse(&format!("schema = 1\nchoice = [{choices}]"), Path::new("test.toml")).unwrap()
    }

    fn decode(op: &str) -> Query<'_> {
        Query::new(op, Backend::Cpu, Phase::Decode)
    }

    fn variant<'a>(profile: &'a Profile, query: &Query<'_>) -> Option<&'a str> {
        profile.lookup(query).map(|choice| choice.variant.as_str())
    }

    #[test]
    fn the_most_specific_wins_whatever_the_file_order() {
        let p = profile(
            r#"{ op = "scale", node = "blk.3.scale_q", variant = "one_node" },
               { op = "scale", node = "blk.*.scale_q", variant = "nodes" },
               { op = "scale", elements = "1024..", tokens = "..=8", variant = "two_filters" },
               { op = "scale", elements = "1024..", phase = "decode", variant = "filter_and_phase" },
               { op = "scale", elements = "1024..", variant = "filter" },
               { op = "scale", phase = "decode", variant = "phase" },
               { op = "scale", variant = "general" }"#,
        );
        let mut query = decode("scale");
        assert_eq!(variant(&p, &query), Some("phase"));
        query.phase = Phase::Prefill;
        assert_eq!(variant(&p, &query), Some("general"));
        query.elements = Some(4096);
        assert_eq!(variant(&p, &query), Some("filter"));
        query.phase = Phase::Decode;
        assert_eq!(variant(&p, &query), Some("filter_and_phase"));
        query.tokens = Some(1);
        assert_eq!(variant(&p, &query), Some("two_filters"));
        query.node = Some("blk.7.scale_q");
        assert_eq!(variant(&p, &query), Some("nodes"));
        query.node = Some("blk.3.scale_q");
        assert_eq!(variant(&p, &query), Some("one_node"));
    }

    #[test]
    fn the_later_of_equals_wins() {
        let p = profile(
            r#"{ op = "scale", elements = "..100", variant = "first" },
               { op = "scale", elements = "50..", variant = "second" }"#,
        );
        let at = |n| Query { elements: Some(n), ..decode("scale") };
        assert_eq!(variant(&p, &at(10)), Some("first"));
        assert_eq!(variant(&p, &at(70)), Some("second"));
    }

    #[test]
    fn outside_of_its_range_a_choice_does_not_hold() {
        let p = profile(r#"{ op = "scale", elements = "65536..", variant = "blocked" }"#);
        assert_eq!(variant(&p, &Query { elements: Some(65535), ..decode("scale") }), None);
        assert_eq!(variant(&p, &decode("scale")), None, "an unknown size is not in the range");
        assert_eq!(variant(&p, &Query { elements: Some(65536), ..decode("sum_rows") }), None);
    }

    #[test]
    fn types_and_devices() {
        let p = profile(
            r#"{ op = "mul_mat", types = ["q4_K", "Q6_K"], variant = "rows8" },
               { op = "mul_mat", backend = "cuda:1", variant = "small" },
               { op = "mul_mat", backend = "cuda", variant = "big" }"#,
        );
        assert_eq!(variant(&p, &Query { dtype: Some("Q4_k"), ..decode("mul_mat") }), Some("rows8"));
        assert_eq!(variant(&p, &Query { dtype: Some("Q8_0"), ..decode("mul_mat") }), None);
        let on = |backend| Query { backend, ..decode("mul_mat") };
        assert_eq!(variant(&p, &on(Backend::Cuda(Some(1)))), Some("small"));
        assert_eq!(variant(&p, &on(Backend::Cuda(Some(0)))), Some("big"));
        assert_eq!(variant(&p, &on(Backend::Cuda(None))), Some("big"));
    }
}
