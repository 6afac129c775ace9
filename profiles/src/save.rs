//! Writing a profile file: whole or not at all, and never over another machine's without being told to.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::edit::update;
use crate::export::to_toml;
use crate::parse::read_text;
use crate::{Error, Profile, Scope, parse};

/// How [`Profile::save`] treats what is in the file already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Keep a profile that was made for another machine or model, and a file that is no valid profile: an error.
    Protect,
    /// The user said to overwrite it, whatever it is.
    Overwrite,
}

impl Profile {
    /// The text that [`save`](Self::save) would write, for a dialog to show.
    ///
    /// An existing profile is edited (see [`update`]), so that its comments stay; without one, or over one that is no
    /// valid profile and is to be overwritten, it is [`to_toml`].
    pub fn text_to_save(&self, path: &Path, existing: Existing) -> Result<String, Error> {
        let text = match read_text(path) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(to_toml(self)),
            Err(error @ Error::Read { .. }) => return Err(error),
            Err(_) if existing == Existing::Overwrite => return Ok(to_toml(self)),
            read => read?,
        };
        match parse(&text, path) {
            Ok(before) if existing == Existing::Protect => self.protect(&before, path)?,
            Ok(_) => {}
            Err(_) if existing == Existing::Overwrite => return Ok(to_toml(self)),
            Err(error) => return Err(error),
        }
        update(&text, path, self)
    }

    /// Writes the profile to `path`, by way of a file beside it that then takes its name.
    ///
    /// At every moment `path` holds the old text or the new one. A missing folder is made, a symbolic link is followed,
    /// permissions stay. Fails with [`Error::MadeElsewhere`] on a profile of another machine or model, unless told to
    /// overwrite it.
    pub fn save(&self, path: &Path, existing: Existing) -> Result<(), Error> {
        let text = self.text_to_save(path, existing)?;
        write_atomically(path, &text).map_err(|source| Error::Write { path: path.to_owned(), source })
    }

    /// Fails if `before`, which lies at `path`, was made for another machine or model than `self`.
    fn protect(&self, before: &Self, path: &Path) -> Result<(), Error> {
        let machine = self.machine.clone().unwrap_or_default();
        let model = self.model.clone().unwrap_or_default();
        let version = self.engine.deltascope.as_deref().unwrap_or_default();
        let mut mismatches = before.fit(&machine, &model, version);
        mismatches.retain(|mismatch| mismatch.scope != Scope::Nothing);
        if mismatches.is_empty() { Ok(()) } else { Err(Error::MadeElsewhere { path: path.to_owned(), mismatches }) }
    }
}

fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    // Renaming onto a link would replace the link: people keep their settings in a repository and link to them.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".profile-").suffix(".tmp");
    let ordinary = ordinary_permissions();
    if let Some(permissions) = &ordinary {
        builder.permissions(permissions.clone());
    }
    let mut file = builder.tempfile_in(&folder)?;
    if let Ok(metadata) = fs::metadata(&target) {
        file.as_file().set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    // The new name is in the folder, which has to reach the disk as well. Not every system lets a folder be opened.
    if let Ok(folder) = File::open(&folder) {
        folder.sync_all().or_else(|error| if cfg!(unix) { Err(error) } else { Ok(()) })?;
    }
    Ok(())
}

/// Readable by all that the umask allows: a temporary file is private otherwise.
#[cfg(unix)]
fn ordinary_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn ordinary_permissions() -> Option<Permissions> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Machine, ModelId, Rule};

    fn made_on(cpu: &str) -> Profile {
        Profile {
            machine: Some(Machine { cpu: Some(cpu.into()), ..Machine::default() }),
            choices: vec![Choice::new(Rule::new("scale"), "blocked")],
            ..Profile::default()
        }
    }

    fn entries(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_new_file_in_a_new_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deltascope/profile.toml");
        let profile = made_on("A");
        profile.save(&path, Existing::Protect).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), profile);
        assert_eq!(entries(path.parent().unwrap()), 1, "no temporary file is left");
    }

    #[test]
    fn comments_stay_when_it_is_saved_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        fs::write(&path, "# mine\nschema = 1\n[machine]\ncpu = \"A\" # the small one\n").unwrap();
        made_on("A").save(&path, Existing::Protect).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# mine\nschema = 1\n[machine]\ncpu = \"A\" # the small one\n"), "{text}");
        assert_eq!(Profile::read(&path).unwrap(), made_on("A"));
    }

    #[test]
    fn another_machines_profile_is_kept_unless_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        made_on("A").save(&path, Existing::Protect).unwrap();
        let before = fs::read(&path).unwrap();

        let error = made_on("B").save(&path, Existing::Protect).unwrap_err();
        assert!(matches!(&error, Error::MadeElsewhere { mismatches, .. } if mismatches[0].key == "machine.cpu"));
        let anonymous = Profile { machine: None, ..made_on("B") };
        assert!(matches!(anonymous.save(&path, Existing::Protect), Err(Error::MadeElsewhere { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);

        made_on("B").save(&path, Existing::Overwrite).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), made_on("B"));
    }

    #[test]
    fn another_models_profile_is_kept_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        let of = |geometry: &str| Profile {
            model: Some(ModelId { geometry: Some(geometry.into()), ..ModelId::default() }),
            ..Profile::default()
        };
        of("48l-2048d-512e").save(&path, Existing::Protect).unwrap();
        assert!(matches!(of("8l-256d-16e").save(&path, Existing::Protect), Err(Error::MadeElsewhere { .. })));
    }

    #[test]
    fn a_broken_file_is_kept_unless_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.toml");
        fs::write(&path, "schema = 1\nunfinished = ").unwrap();
        assert!(matches!(made_on("A").save(&path, Existing::Protect), Err(Error::Invalid(_))));
        made_on("A").save(&path, Existing::Overwrite).unwrap();
        assert_eq!(Profile::read(&path).unwrap(), made_on("A"));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&real, "schema = 1\n").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        symlink(&real, &link).unwrap();
        made_on("A").save(&link, Existing::Protect).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(Profile::read(&real).unwrap(), made_on("A"));
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_failed_write_leaves_the_file() {
        let folder = tempfile::tempdir().unwrap();
        // A file stands where the folder should be.
        let blocked = folder.path().join("file");
        fs::write(&blocked, "schema = 1\n").unwrap();
        assert!(made_on("A").save(&blocked.join("profile.toml"), Existing::Protect).is_err());
        assert_eq!(fs::read_to_string(&blocked).unwrap(), "schema = 1\n");
    }
}
