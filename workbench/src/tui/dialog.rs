//! Lines of text that are edited, and the dialog that saves the profile.

use crate::session::Snapshot;
use crate::session::saving::{self, Preview};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use std::path::PathBuf;

/// What a key did to a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stays open.
    Open,
    /// Closed without effect.
    Cancelled,
    /// Done.
    Accepted,
}

/// One line of text with a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextInput {
    text: String,
    /// Byte offset, on a character's boundary.
    cursor: usize,
}

impl TextInput {
    /// With the cursor at the end.
    pub fn new(text: &str) -> TextInput {
        TextInput { text: text.to_owned(), cursor: text.len() }
    }

    /// What it holds.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before and after the cursor.
    pub fn split(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Puts text at the cursor.
    pub fn insert(&mut self, text: &str) {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        self.text.insert_str(self.cursor, &text);
        self.cursor += text.len();
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    /// Edits.
    pub fn on_key(&mut self, key: KeyEvent) -> Outcome {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Outcome::Accepted,
            KeyCode::Esc => return Outcome::Cancelled,
            KeyCode::Left => self.cursor = self.before(),
            KeyCode::Right => self.cursor = self.after(),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.text.len(),
            KeyCode::Backspace => {
                let from = self.before();
                self.text.drain(from..self.cursor);
                self.cursor = from;
            }
            KeyCode::Delete => {
                let to = self.after();
                self.text.drain(self.cursor..to);
            }
            KeyCode::Char('u') if control => {
                self.text.drain(..self.cursor);
                self.cursor = 0;
            }
            KeyCode::Char(c) if !control => {
                self.text.insert(self.cursor, c);
                self.cursor += c.len_utf8();
            }
            _ => {}
        }
        Outcome::Open
    }
}

/// Saving the profile: where to, and what will change there.
pub struct SaveDialog {
    /// The path.
    pub path: TextInput,
    /// What writing there would do.
    pub preview: Preview,
    /// First change that is shown.
    pub scroll: usize,
    /// What came of it; it is closed by the next key.
    pub result: Option<Result<String, String>>,
}

impl SaveDialog {
    /// For the session's own path.
    pub fn new(snap: &Snapshot) -> SaveDialog {
        let path = TextInput::new(&snap.subject.save_path.to_string_lossy());
        let preview = saving::preview(&snap.profile, &snap.subject.save_path);
        SaveDialog { path, preview, scroll: 0, result: None }
    }

    /// Adds to the path.
    pub fn paste(&mut self, text: &str, snap: &Snapshot) {
        self.path.insert(text.lines().next().unwrap_or_default());
        self.refresh(snap);
    }

    fn refresh(&mut self, snap: &Snapshot) {
        self.preview = saving::preview(&snap.profile, &PathBuf::from(self.path.text()));
        self.scroll = 0;
    }

    /// Edits the path; enter writes, ctrl-o also over a file that is not ours.
    pub fn on_key(&mut self, key: KeyEvent, snap: &Snapshot) -> Outcome {
        if self.result.as_ref().is_some_and(Result::is_ok) {
            return Outcome::Accepted;
        }
        let overwrite = key.code == KeyCode::Char('o') && key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Down => self.scroll = (self.scroll + 1).min(self.preview.changes.len().saturating_sub(1)),
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Enter => self.write(snap, false),
            _ if overwrite => self.write(snap, true),
            _ => {
                self.result = None;
                let before = self.path.text().len();
                let outcome = self.path.on_key(key);
                if self.path.text().len() != before {
                    self.refresh(snap);
                }
                return outcome;
            }
        }
        Outcome::Open
    }

    fn write(&mut self, snap: &Snapshot, overwrite: bool) {
        let path = PathBuf::from(self.path.text());
        let written = saving::write(&snap.profile, &path, overwrite);
        self.result = Some(match written {
            Ok(()) => Ok(format!("saved to {}", path.display())),
            Err(e) => Err(e.to_string()),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_edited_by_characters_not_bytes() {
        let mut line = TextInput::new("aé");
        let press = |line: &mut TextInput, code| line.on_key(KeyEvent::from(code));
        press(&mut line, KeyCode::Left);
        press(&mut line, KeyCode::Char('𝄞'));
        assert_eq!(line.split(), ("a𝄞", "é"));
        press(&mut line, KeyCode::Backspace);
        press(&mut line, KeyCode::Delete);
        assert_eq!(line.text(), "a");
        line.insert("x\r\ny");
        assert_eq!(line.text(), "ax\ny");
        assert_eq!(press(&mut line, KeyCode::Enter), Outcome::Accepted);
    }
}
