//! Colours, and how to do without: whatever colour says is also said by a sign or by weight.

use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours may be used.
    pub colour: bool,
    /// Characters beyond ASCII may be used.
    pub unicode: bool,
}

impl Theme {
    /// From the environment: `NO_COLOR` (if not empty), and the locale's character set.
    pub fn from_env() -> Theme {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        Theme {
            colour: set("NO_COLOR").is_none() && set("TERM").as_deref() != Some("dumb"),
            unicode: is_utf8(locale.as_deref()),
        }
    }

    fn tinted(self, colour: Color, without: Modifier) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new().add_modifier(without) }
    }

    /// Plain text.
    pub fn text(self) -> Style {
        Style::new()
    }

    /// Names, titles.
    pub fn accent(self) -> Style {
        self.tinted(Color::Cyan, Modifier::BOLD)
    }

    /// The figure that counts.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is there for completeness.
    pub fn dim(self) -> Style {
        self.tinted(Color::DarkGray, Modifier::DIM)
    }

    /// Faster, passed.
    pub fn good(self) -> Style {
        self.tinted(Color::Green, Modifier::BOLD)
    }

    /// Slower, failed.
    pub fn bad(self) -> Style {
        self.tinted(Color::Red, Modifier::BOLD)
    }

    /// To be noticed.
    pub fn warn(self) -> Style {
        self.tinted(Color::Yellow, Modifier::BOLD)
    }

    /// Bars.
    pub fn bar(self) -> Style {
        self.tinted(Color::Blue, Modifier::empty())
    }

    /// The line under the cursor, in the pane that has the keys.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The line under the cursor, in a pane that does not.
    pub fn marked(self) -> Style {
        if self.colour { Style::new().bg(Color::Indexed(236)) } else { Style::new().add_modifier(Modifier::UNDERLINED) }
    }

    /// The borders of a pane.
    pub fn border(self, focused: bool) -> Style {
        if focused { self.accent() } else { self.dim() }
    }

    /// Puts ASCII in the place of all other characters, where the terminal asks for that.
    pub fn finish(self, buffer: &mut Buffer) {
        if self.unicode {
            return;
        }
        for cell in &mut buffer.content {
            if !cell.symbol().is_ascii() {
                let c = cell.symbol().chars().next().map_or(' ', ascii);
                cell.set_char(c);
            }
        }
    }
}

/// Without a locale, UTF-8 is what terminals of today speak; `C` and `POSIX` ask for ASCII.
fn is_utf8(locale: Option<&str>) -> bool {
    locale.is_none_or(|l| {
        let l = l.to_ascii_lowercase();
        l.contains("utf-8") || l.contains("utf8")
    })
}

fn ascii(c: char) -> char {
    match c {
        '─' | '—' | '−' | '━' | '╌' => '-',
        '│' | '┃' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╭' | '╮' | '╰' | '╯' => '+',
        '█' | '▇' | '▉' | '▊' | '▋' | '▌' => '#',
        '▆' => '*',
        '▅' => '+',
        '▄' => '=',
        '▃' => '-',
        '▂' | '▍' | '▎' | '▏' => '.',
        '▁' => '_',
        '▸' | '→' | '↳' => '>',
        '◂' | '←' => '<',
        '●' => '*',
        '○' => 'o',
        '✗' | '×' => 'x',
        '▲' | '↑' => '^',
        '▼' | '↓' | '⤵' => 'v',
        '≈' => '=',
        '±' => '~',
        'µ' => 'u',
        '°' => ' ',
        'Δ' => 'D',
        '·' | '…' => '.',
        '⏎' => '$',
        ' ' => ' ',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales() {
        for (locale, want) in [
            (None, true),
            (Some("C"), false),
            (Some("POSIX"), false),
            (Some("en_GB.UTF-8"), true),
            (Some("C.utf8"), true),
        ] {
            assert_eq!(is_utf8(locale), want, "{locale:?}");
        }
    }
}
