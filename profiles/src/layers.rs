//! Profiles in layers: built-in defaults, preset, user's file, explicit file, flags, and the session's own choices.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::fit::in_force;
use crate::lookup::best;
use crate::{Choice, Engine, Error, Machine, Mismatch, ModelId, Profile, Query, Scope};

/// Where a layer came from. The order is the order of precedence, lowest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// What the program does without any profile.
    BuiltIn,
    /// A preset that the program ships, by name.
    Preset(String),
    /// The user's own file, see [`user_profile_path`].
    User(PathBuf),
    /// A file named on the command line.
    File(PathBuf),
    /// Said by flags of the command line.
    CommandLine,
    /// Swaps made in the running program.
    Session,
}

impl Origin {
    fn rank(&self) -> u8 {
        match self {
            Self::BuiltIn => 0,
            Self::Preset(_) => 1,
            Self::User(_) => 2,
            Self::File(_) => 3,
            Self::CommandLine => 4,
            Self::Session => 5,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built-in"),
            Self::Preset(name) => write!(f, "preset {name}"),
            Self::User(path) | Self::File(path) => path.display().fmt(f),
            Self::CommandLine => f.write_str("command line"),
            Self::Session => f.write_str("this session"),
        }
    }
}

/// One profile of a [`Stack`].
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Where it came from.
    pub origin: Origin,
    /// The profile.
    pub profile: Profile,
    /// How it fails to fit; filled by [`Stack::fit`].
    pub mismatches: Vec<Mismatch>,
}

impl Layer {
    /// The choices that hold in spite of the mismatches.
    pub fn in_force(&self) -> impl Iterator<Item = &Choice> {
        self.profile.choices.iter().filter(|choice| in_force(choice, &self.mismatches))
    }

    pub(crate) fn engine(&self) -> Engine {
        let fits = self.mismatches.iter().all(|mismatch| mismatch.scope != Scope::Everything);
        if fits { self.profile.engine.clone() } else { Engine::default() }
    }
}

/// The answer of a [`Stack`], with its provenance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// The choice that holds.
    pub choice: &'a Choice,
    /// The layer that it stands in.
    pub origin: &'a Origin,
}

/// Profiles laid over one another. A question goes to the top layer first; the first layer with a matching choice
/// answers, however general that choice is and however specific one below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stack {
    layers: Vec<Layer>,
}

impl Stack {
    /// A stack without layers, which answers nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays `profile` at its origin's place; over those of equal rank, so the last file on a command line is on top.
    pub fn push(&mut self, origin: Origin, profile: Profile) {
        let at = self.layers.partition_point(|layer| layer.origin.rank() <= origin.rank());
        self.layers.insert(at, Layer { origin, profile, mismatches: Vec::new() });
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The session's own layer, laid on top if it is not there yet: where a live swap writes.
    pub fn session_mut(&mut self) -> &mut Profile {
        let at = match self.layers.iter().position(|layer| layer.origin == Origin::Session) {
            Some(at) => at,
            None => {
                self.push(Origin::Session, Profile::default());
                self.layers.len() - 1
            }
        };
        &mut self.layers[at].profile
    }

    /// Compares each layer with the machine and the model at hand and puts what does not fit out of force.
    ///
    /// Returns the warnings to print, one a mismatch, lowest layer first.
    pub fn fit(&mut self, machine: &Machine, model: &ModelId, engine_version: &str) -> Vec<String> {
        let mut warnings = Vec::new();
        for layer in &mut self.layers {
            layer.mismatches = layer.profile.fit(machine, model, engine_version);
            for mismatch in &layer.mismatches {
                let consequence = match mismatch.scope {
                    Scope::Nothing => "",
                    Scope::Cuda => "; its measured CUDA choices are left out",
                    Scope::Everything => "; its measured choices are left out",
                };
                warnings.push(format!("{}: {mismatch}{consequence}", layer.origin));
            }
        }
        warnings
    }

    /// The choice that holds for `query` and where it comes from; `None` where the default stands.
    pub fn lookup(&self, query: &Query<'_>) -> Option<Found<'_>> {
        self.layers
            .iter()
            .rev()
            .find_map(|layer| Some(Found { choice: best(layer.in_force(), query)?, origin: &layer.origin }))
    }

    /// The engine settings, each from the highest layer that sets it and fits.
    pub fn engine(&self) -> Engine {
        self.layers.iter().fold(Engine::default(), |lower, layer| layer.engine().or(lower))
    }
}

/// Where the user's own profile lies: `$XDG_CONFIG_HOME/deltascope/profile.toml`, else below `~/.config`.
///
/// `None` without a home folder. The file need not exist; see [`read_user_profile`].
pub fn user_profile_path() -> Option<PathBuf> {
    config_path(std::env::var_os("XDG_CONFIG_HOME"), std::env::home_dir())
}

fn config_path(xdg: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    // The XDG specification says to ignore relative paths.
    let config = xdg.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| home.filter(|path| path.is_absolute()).map(|home| home.join(".config")))?;
    Some(config.join("deltascope").join("profile.toml"))
}

/// Reads the user's own profile; `None` if there is no such file, which is no error.
pub fn read_user_profile(path: &std::path::Path) -> Result<Option<Profile>, Error> {
    match Profile::read(path) {
        Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backend, Measured, Phase, Rule};
    use std::path::Path;

    fn profile(variant: &str) -> Profile {
        Profile { choices: vec![Choice::new(Rule::new("scale"), variant)], ..Profile::default() }
    }

    fn answer(stack: &Stack) -> Option<(&str, String)> {
        let found = stack.lookup(&Query::new("scale", Backend::Cpu, Phase::Decode))?;
        Some((&found.choice.variant, found.origin.to_string()))
    }

    #[test]
    fn precedence_does_not_depend_on_the_order_of_pushing() {
        let mut stack = Stack::new();
        assert_eq!(answer(&stack), None);
        stack.push(Origin::File("a.toml".into()), profile("file_a"));
        stack.push(Origin::BuiltIn, profile("default"));
        stack.push(Origin::File("b.toml".into()), profile("file_b"));
        stack.push(Origin::Preset("history/0-start".into()), profile("preset"));
        stack.push(Origin::User("me.toml".into()), profile("user"));
        let order: Vec<_> = stack.layers().iter().map(|layer| layer.origin.to_string()).collect();
        assert_eq!(order, ["built-in", "preset history/0-start", "me.toml", "a.toml", "b.toml"]);
        assert_eq!(answer(&stack), Some(("file_b", "b.toml".into())));
        *stack.session_mut() = profile("swapped");
        assert_eq!(answer(&stack), Some(("swapped", "this session".into())));
        stack.session_mut().choices.clear();
        assert_eq!(answer(&stack), Some(("file_b", "b.toml".into())));
    }

    #[test]
    fn a_general_choice_above_beats_a_specific_one_below() {
        let mut below = profile("specific");
        below.choices[0].rule.node = Some("blk.7.scale_q".parse().unwrap());
        let mut stack = Stack::new();
        stack.push(Origin::BuiltIn, below);
        stack.push(Origin::User("me.toml".into()), profile("general"));
        let query = Query { node: Some("blk.7.scale_q"), ..Query::new("scale", Backend::Cpu, Phase::Decode) };
        assert_eq!(stack.lookup(&query).unwrap().choice.variant, "general");
    }

    #[test]
    fn a_profile_of_another_machine_is_a_warning_and_a_miss() {
        let mut tuned = profile("tuned");
        tuned.machine = Some(Machine { cores: Some(64), ..Machine::default() });
        tuned.engine.ubatch = Some(2048);
        tuned.choices[0].measured = Some(Measured {
            median_us: 1.0,
            ci95_us: [0.9, 1.1],
            samples: 9,
            share: None,
            baseline: None,
            speedup: None,
        });
        let mut stack = Stack::new();
        stack.push(Origin::BuiltIn, profile("default"));
        stack.push(Origin::User("me.toml".into()), tuned);
        let here = Machine { cores: Some(2), ..Machine::default() };
        let warnings = stack.fit(&here, &ModelId::default(), "0.1.0");
        insta::assert_snapshot!(warnings.join("\n"), @"me.toml: machine.cores is 64 in the profile, 2 here; its measured choices are left out");
        assert_eq!(answer(&stack), Some(("default", "built-in".into())));
        assert_eq!(stack.engine().ubatch, None);

        let there = Machine { cores: Some(64), ..Machine::default() };
        assert!(stack.fit(&there, &ModelId::default(), "0.1.0").is_empty());
        assert_eq!(answer(&stack), Some(("tuned", "me.toml".into())));
        assert_eq!(stack.engine().ubatch, Some(2048));
    }

    #[test]
    fn engine_settings_come_one_by_one_from_the_highest_layer() {
        let mut stack = Stack::new();
        let mut lower = Profile::default();
        (lower.engine.ubatch, lower.engine.threads.decode) = (Some(512), Some(2));
        let mut upper = Profile::default();
        (upper.engine.threads.decode, upper.engine.threads.prefill) = (Some(4), Some(8));
        stack.push(Origin::BuiltIn, lower);
        stack.push(Origin::Session, upper);
        let engine = stack.engine();
        assert_eq!((engine.ubatch, engine.threads.decode, engine.threads.prefill), (Some(512), Some(4), Some(8)));
    }

    #[test]
    fn the_users_file_follows_xdg() {
        let path = |xdg: Option<&str>, home: Option<&str>| config_path(xdg.map(Into::into), home.map(Into::into));
        let home = Some(Path::new("/home/me/.config/deltascope/profile.toml").to_owned());
        assert_eq!(path(Some("/cfg"), Some("/home/me")), Some("/cfg/deltascope/profile.toml".into()));
        assert_eq!(path(None, Some("/home/me")), home);
        assert_eq!(path(Some(""), Some("/home/me")), home);
        assert_eq!(path(Some("relative"), Some("/home/me")), home);
        assert_eq!(path(None, None), None);
        assert!(read_user_profile(Path::new("no/such/profile.toml")).unwrap().is_none());
    }
}
