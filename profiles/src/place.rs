//! Where nodes run, apart from the rest of the model: `blk.*.ffn=cpu`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::error::{Fault, nearest};
use crate::{Backend, Origin, Pattern, Profile, Stack};

/// One `[[place]]`: nodes of the model whose id fits the pattern run on this backend. The first that fits holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// The nodes.
    pub node: Pattern,
    /// Where they run.
    pub backend: Backend,
}

/// A text that is no placement.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlacementError {
    /// Not two parts.
    #[error("expected PATTERN=BACKEND, as in 'blk.*.ffn=cpu'")]
    Form,
    /// One of the parts.
    #[error(transparent)]
    Part(#[from] Fault),
}

impl FromStr for Placement {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        let (node, backend) = text.split_once('=').ok_or(PlacementError::Form)?;
        let backend = backend.parse().map_err(|_| Fault::UnknownName {
            what: "backend",
            found: crate::reader::clip(backend),
            suggestion: nearest(backend, Backend::KNOWN.iter().copied()),
            known: Backend::KNOWN,
        })?;
        Ok(Self { node: node.parse().map_err(Fault::from)?, backend })
    }
}

/// `blk.*.ffn=cpu`
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.node, self.backend)
    }
}

impl Profile {
    /// The placement that holds for a node.
    pub fn place(&self, node: &str) -> Option<&Placement> {
        self.places.iter().find(|place| place.node.matches(node))
    }
}

impl Stack {
    /// The placement that holds for a node, of the highest layer that has one, and the layer that it stands in.
    pub fn place(&self, node: &str) -> Option<(&Placement, &Origin)> {
        self.layers().iter().rev().find_map(|layer| Some((layer.profile.place(node)?, &layer.origin)))
    }

    /// All placements, in the order in which they are tried.
    pub fn places(&self) -> impl Iterator<Item = &Placement> {
        self.layers().iter().rev().flat_map(|layer| &layer.profile.places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(places: &[&str]) -> Profile {
        Profile { places: places.iter().map(|p| p.parse().unwrap()).collect(), ..Profile::default() }
    }

    #[test]
    fn a_placement_reads_as_it_is_written() {
        for text in ["blk.*.ffn=cpu", "output=cuda", "*=cuda:0"] {
            assert_eq!(text.parse::<Placement>().unwrap().to_string(), text);
        }
        let error = |text: &str| text.parse::<Placement>().unwrap_err().to_string();
        insta::assert_snapshot!([error("blk.*.ffn"), error("a b=cpu"), error("=cpu"), error("ffn=gpu")].join("\n"), @r#"
        expected PATTERN=BACKEND, as in 'blk.*.ffn=cpu'
        ' ' can't be in a node id
        the pattern is empty; leave the key out to match every node
        unknown backend "gpu", did you mean "cpu"?
        "#);
    }

    #[test]
    fn the_first_that_fits_holds_and_upper_layers_come_first() {
        let mut stack = Stack::new();
        stack.push(Origin::CommandLine, profile(&["blk.7.ffn=cuda"]));
        stack.push(Origin::User("me.toml".into()), profile(&["blk.*.ffn=cpu", "blk.*=cuda:0"]));
        let place = |node| stack.place(node).map(|(place, origin)| format!("{place}, {origin}"));
        assert_eq!(place("blk.7.ffn").as_deref(), Some("blk.7.ffn=cuda, command line"));
        assert_eq!(place("blk.8.ffn").as_deref(), Some("blk.*.ffn=cpu, me.toml"));
        assert_eq!(place("blk.8.router").as_deref(), Some("blk.*=cuda:0, me.toml"));
        assert_eq!(place("output"), None);
        let merged = stack.merge().profile;
        assert_eq!(merged.places, profile(&["blk.7.ffn=cuda", "blk.*.ffn=cpu", "blk.*=cuda:0"]).places);
    }
}
