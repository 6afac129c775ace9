//! The profiles that the program ships.

use std::path::Path;

use crate::error::nearest;
use crate::{Error, Profile, parse};

/// A shipped profile: a file of `presets/`, built into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its path below `presets/` without the ending, `history/0-start`.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        &[$(Preset { name: $name, text: include_str!(concat!("../presets/", $name, ".toml")) }),*]
    };
}

static PRESETS: &[Preset] = presets![
    "cuda-history/0-first_port",
    "cuda-history/1-strided_sum_rows",
    "cuda-history/2-graphs",
    "cuda-history/3-gated_delta_net",
    "history/0-start",
    "history/1-concat",
    "history/2-sum_rows",
    "history/3-scale",
    "history/4-mul",
    "history/5-strided_sum_rows",
    "history/6-repeat",
    "history/7-fused_delta_net",
];

/// All presets. Those of `history/`, on the CPU, and of `cuda-history/` are in the order of history: each is the one before it with one more step.
pub fn presets() -> &'static [Preset] {
    PRESETS
}

impl Preset {
    /// The preset of this name: in full, or the end of it after the `/` if no other preset ends so.
    pub fn named(name: &str) -> Result<&'static Self, Error> {
        let short = |preset: &Preset| preset.name.rsplit('/').next() == Some(name);
        let mut ends_so = PRESETS.iter().filter(|preset| short(preset));
        let found = PRESETS.iter().find(|preset| preset.name == name);
        found.or_else(|| ends_so.next().filter(|_| ends_so.next().is_none())).ok_or_else(|| Error::UnknownPreset {
            name: name.to_owned(),
            suggestion: nearest(name, PRESETS.iter().map(|preset| preset.name)).map(str::to_owned),
        })
    }

    /// Reads it. Fails on a preset that is no valid profile, which the tests exclude for those that are shipped.
    pub fn profile(&self) -> Result<Profile, Error> {
        parse(self.text, Path::new(self.name))
    }

    /// What it is, in the words of the comment at its head.
    pub fn description(&self) -> String {
        let comment = self.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
        comment.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Change, diff};
    use std::fs;

    #[test]
    fn every_file_is_listed_valid_and_described() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
        let mut files = Vec::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.strip_prefix(&root).unwrap().with_extension("").to_str().unwrap().to_owned());
                }
            }
        }
        files.sort();
        assert_eq!(files, presets().iter().map(|preset| preset.name).collect::<Vec<_>>());
        for preset in presets() {
            let profile = preset.profile().unwrap();
            assert!(!profile.choices.is_empty() && profile.name.is_some(), "{}", preset.name);
            assert!(profile.machine.is_none() && profile.model.is_none(), "{} is for every machine", preset.name);
            assert!(!preset.description().is_empty(), "{}", preset.name);
        }
    }

    #[test]
    fn names_in_full_short_and_wrong() {
        assert_eq!(Preset::named("history/3-scale").unwrap().name, "history/3-scale");
        assert_eq!(Preset::named("3-scale").unwrap().name, "history/3-scale");
        let error = Preset::named("history/3-scael").unwrap_err();
        insta::assert_snapshot!(error, @r#"no preset is named "history/3-scael", did you mean "history/3-scale"?"#);
        let error = Preset::named("fast").unwrap_err();
        insta::assert_snapshot!(error, @r#"no preset is named "fast""#);
    }

    #[test]
    fn each_step_of_history_changes_the_op_in_its_name_and_little_else() {
        let history: Vec<_> = presets().iter().filter(|preset| preset.name.starts_with("history/")).collect();
        for pair in history.windows(2) {
            let changes = diff(&pair[0].profile().unwrap(), &pair[1].profile().unwrap());
            let ops: Vec<&str> = changes
                .iter()
                .filter_map(|change| match change {
                    Change::Added(choice) | Change::Removed(choice) => Some(choice.rule.op.as_str()),
                    Change::Changed { after, .. } => Some(after.rule.op.as_str()),
                    Change::Setting { .. } | Change::Reordered => None,
                })
                .collect();
            let named = ops.iter().any(|op| pair[1].name.contains(op.trim_start_matches("gated_")));
            assert!(named && ops.len() < 10, "{}: {ops:?}", pair[1].name);
            assert!(
                !changes.contains(&Change::Reordered),
                "{}: keep the order, so that a diff shows the step",
                pair[1].name
            );
        }
    }
}
