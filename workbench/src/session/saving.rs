//! Writing the profile in force to a file, and what that would change there.

use deltascope_profiles::{Change, Error, Existing, Machine, Measured, Profile, Rule, Stack, diff};
use std::path::Path;

/// What saving to a path would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// There is a file already.
    pub exists: bool,
    /// Each change as a line that begins with `+`, `-` or `~`.
    pub changes: Vec<String>,
    /// Why it may not be written unless told to overwrite.
    pub refused: Option<String>,
}

/// The stack as one profile, with the machine, the model and the measurements of this session.
pub fn profile_of(
    stack: &Stack,
    machine: &Machine,
    model: &deltascope_model::Model,
    measured: &[(Rule, Measured)],
) -> Profile {
    let mut profile = stack.merge().profile;
    profile.machine = Some(machine.clone());
    profile.model = Some(model.id());
    profile.engine.deltascope = Some(env!("CARGO_PKG_VERSION").to_owned());
    for choice in &mut profile.choices {
        if let Some((_, m)) = measured.iter().find(|(rule, _)| *rule == choice.rule) {
            choice.measured = Some(m.clone());
        }
    }
    profile
}

/// What [`write()`] would change in the file at `path`.
pub fn preview(profile: &Profile, path: &Path) -> Preview {
    let exists = path.exists();
    let before = if exists { Profile::read(path).unwrap_or_default() } else { Profile::default() };
    let refused = profile.text_to_save(path, Existing::Protect).err().map(|e| e.to_string());
    Preview { exists, changes: diff(&before, profile).iter().map(Change::to_string).collect(), refused }
}

/// Writes the profile; over a file of another machine or model, or one that is no profile, only with `overwrite`.
///
/// # Errors
/// If the file may not or cannot be written.
pub fn write(profile: &Profile, path: &Path, overwrite: bool) -> Result<(), Error> {
    profile.save(path, if overwrite { Existing::Overwrite } else { Existing::Protect })
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltascope_profiles::Choice;

    #[test]
    fn a_preview_says_what_is_new_and_what_stands_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.toml");
        let profile = Profile { choices: vec![Choice::new(Rule::new("scale"), "rows")], ..Profile::default() };
        let first = preview(&profile, &path);
        assert_eq!((first.exists, first.changes.len(), &first.refused), (false, 1, &None));
        assert!(first.changes[0].starts_with("+ scale"), "{:?}", first.changes);
        write(&profile, &path, false).unwrap();
        assert_eq!(preview(&profile, &path), Preview { exists: true, changes: vec![], refused: None });
        std::fs::write(&path, "no profile").unwrap();
        assert!(preview(&profile, &path).refused.is_some());
        assert!(write(&profile, &path, false).is_err());
        write(&profile, &path, true).unwrap();
    }
}
