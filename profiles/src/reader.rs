//! Reading typed values out of a TOML document, each fault with the place where it stands.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Fault, Invalid, nearest};

/// A value and where it stands.
pub(crate) type Value<'a> = Spanned<DeValue<'a>>;

/// The text being read: turns byte offsets into lines and columns.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) origin: &'a Path,
}

impl Source<'_> {
    /// The line and the column, both from 1, of a byte offset.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.bytes().filter(|&b| b == b'\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The line, from 1, of a byte offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.position(offset).0
    }

    /// The error for `fault` at `span`.
    pub(crate) fn fault(&self, span: &Range<usize>, key: &str, fault: impl Into<Fault>) -> Box<Invalid> {
        let (line, column) = self.position(span.start);
        Box::new(Invalid { origin: self.origin.to_owned(), line, column, key: key.to_owned(), fault: fault.into() })
    }
}

/// One table whose keys were checked against the schema.
pub(crate) struct Section<'a> {
    source: Source<'a>,
    path: String,
    span: Range<usize>,
    table: &'a DeTable<'a>,
}

/// A value found under a key of a [`Section`].
pub(crate) struct Field<'a> {
    source: Source<'a>,
    path: String,
    value: &'a Value<'a>,
}

impl<'a> Section<'a> {
    /// Takes `table`, which may have no keys but `known`. `path` is empty for the document itself.
    pub(crate) fn new(
        source: Source<'a>,
        path: String,
        span: Range<usize>,
        table: &'a DeTable<'a>,
        known: &'static [&'static str],
    ) -> Result<Self, Box<Invalid>> {
        let unknown = table.keys().filter(|key| !known.contains(&&**key.get_ref()));
        if let Some(key) = unknown.min_by_key(|key| key.span().start) {
            let suggestion = nearest(key.get_ref(), known.iter().copied());
            return Err(source.fault(
                &key.span(),
                &join(&path, key.get_ref()),
                Fault::UnknownKey { suggestion, known },
            ));
        }
        Ok(Self { source, path, span, table })
    }

    /// The document's top, before its keys are checked.
    pub(crate) fn unchecked(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self { source, path: String::new(), span: 0..0, table }
    }

    /// The value under `key`, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<Field<'a>> {
        let value = self.table.get(key)?;
        Some(Field { source: self.source, path: join(&self.path, key), value })
    }

    /// The value under `key`, which has to be there.
    pub(crate) fn require(&self, key: &'static str) -> Result<Field<'a>, Box<Invalid>> {
        self.get(key).ok_or_else(|| self.source.fault(&self.span, &self.path, Fault::MissingKey(key)))
    }

    /// `read` of the value under `key`, if it is there.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        read: impl FnOnce(Field<'a>) -> Result<T, Box<Invalid>>,
    ) -> Result<Option<T>, Box<Invalid>> {
        self.get(key).map(read).transpose()
    }

    /// Every value, with its key and the key's place: for tables whose keys are the user's names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Field<'a>, &'a str)> {
        self.table.iter().map(|(key, value)| {
            let field = Field { source: self.source, path: join(&self.path, key.get_ref()), value };
            (field, &**key.get_ref())
        })
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { clip(key) } else { format!("{path}.{}", clip(key)) }
}

impl<'a> Field<'a> {
    pub(crate) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// The key as a path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The error for `fault` at this value.
    pub(crate) fn fault(&self, fault: impl Into<Fault>) -> Box<Invalid> {
        self.source.fault(&self.span(), &self.path, fault)
    }

    fn wrong_type(&self, expected: &'static str) -> Box<Invalid> {
        self.fault(Fault::WrongType { expected, found: kind(self.value.get_ref()) })
    }

    fn out_of_range(&self, found: impl Display, expected: impl Into<String>) -> Box<Invalid> {
        self.fault(Fault::OutOfRange { found: found.to_string(), expected: expected.into() })
    }

    /// A table with no keys but `known`.
    pub(crate) fn section(self, known: &'static [&'static str]) -> Result<Section<'a>, Box<Invalid>> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Section::new(self.source, self.path, self.value.span(), table, known)
    }

    /// A table whose keys are the user's names.
    pub(crate) fn open_section(self) -> Result<Section<'a>, Box<Invalid>> {
        let table = self.value.get_ref().as_table().ok_or_else(|| self.wrong_type("a table"))?;
        Ok(Section { source: self.source, span: self.value.span(), path: self.path, table })
    }

    /// The items of an array; the path counts them from 1, as a reader does.
    pub(crate) fn items(&self, expected: &'static str) -> Result<Vec<Field<'a>>, Box<Invalid>> {
        let array = self.value.get_ref().as_array().ok_or_else(|| self.wrong_type(expected))?;
        let field =
            |(index, value)| Field { source: self.source, path: format!("{}[{}]", self.path, index + 1), value };
        Ok(array.iter().enumerate().map(field).collect())
    }

    fn str(&self, expected: &'static str) -> Result<&'a str, Box<Invalid>> {
        self.value.get_ref().as_str().ok_or_else(|| self.wrong_type(expected))
    }

    /// Text for people: short, and harmless on a terminal.
    pub(crate) fn text(self) -> Result<String, Box<Invalid>> {
        let text = self.str("a string")?;
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return Err(self.fault(Fault::BadText(clip(text))));
        }
        Ok(text.to_owned())
    }

    /// A list of texts.
    pub(crate) fn texts(self) -> Result<Vec<String>, Box<Invalid>> {
        self.items("an array of strings")?.into_iter().map(Field::text).collect()
    }

    /// The name of an op, a variant, a tunable, a type.
    pub(crate) fn name(self) -> Result<String, Box<Invalid>> {
        let name = self.str("a string")?;
        self.check_name(name)?;
        Ok(name.to_owned())
    }

    /// Whether `name`, which belongs to this value, is a name.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), Box<Invalid>> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"_.:+-".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
            return Err(self.fault(Fault::BadName(clip(name))));
        }
        Ok(())
    }

    /// A list of names.
    pub(crate) fn names(self) -> Result<Vec<String>, Box<Invalid>> {
        self.items("an array of strings")?.into_iter().map(Field::name).collect()
    }

    /// A list of names, or one name for a list of one.
    pub(crate) fn one_or_more_names(self) -> Result<Vec<String>, Box<Invalid>> {
        if self.value.get_ref().is_str() { Ok(vec![self.name()?]) } else { self.names() }
    }

    /// A whole number within `allowed`.
    pub(crate) fn int(self, allowed: RangeInclusive<i64>) -> Result<i64, Box<Invalid>> {
        let integer = self.value.get_ref().as_integer().ok_or_else(|| self.wrong_type("an integer"))?;
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if allowed.contains(&value) => Ok(value),
            _ => {
                let expected = match (*allowed.start(), *allowed.end()) {
                    (i64::MIN, _) => "a 64-bit integer".to_owned(),
                    (low, high) => format!("{low} to {high}"),
                };
                Err(self.out_of_range(clip(integer.as_str()), expected))
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(self) -> Result<bool, Box<Invalid>> {
        self.value.get_ref().as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    /// A whole number within `low..=high`.
    pub(crate) fn count(self, low: u32, high: u32) -> Result<u32, Box<Invalid>> {
        let value = self.int(i64::from(low)..=i64::from(high))?;
        // In range by the check just made; the saturation can't be reached.
        Ok(u32::try_from(value).unwrap_or(high))
    }

    /// A finite number from 0 to `most`, written as a float or an integer.
    pub(crate) fn number(self, most: f64) -> Result<f64, Box<Invalid>> {
        let value = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().unwrap_or(f64::NAN),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().unwrap_or(f64::NAN),
            _ => return Err(self.wrong_type("a number")),
        };
        if !(0.0..=most).contains(&value) || value.is_infinite() {
            let expected = if most.is_finite() { format!("0 to {most}") } else { "a finite number from 0".to_owned() };
            return Err(self.out_of_range(value, expected));
        }
        // Minus zero compares equal to zero and is written differently.
        Ok(value.abs())
    }

    /// Tells an integer from a string, for keys that take both.
    pub(crate) fn scalar(&self, expected: &'static str) -> Result<Scalar, Box<Invalid>> {
        match self.value.get_ref() {
            DeValue::String(_) => Ok(Scalar::Text),
            DeValue::Integer(_) => Ok(Scalar::Int),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// A text that `T` reads, such as a range; the error says why it can't.
    pub(crate) fn parsed<T: std::str::FromStr<Err: Into<Fault>>>(self) -> Result<T, Box<Invalid>> {
        self.str("a string")?.parse().map_err(|error: T::Err| self.fault(error))
    }

    /// One name of a closed list.
    pub(crate) fn one_of<T: std::str::FromStr>(
        self,
        what: &'static str,
        known: &'static [&'static str],
    ) -> Result<T, Box<Invalid>> {
        let name = self.str("a string")?;
        name.parse().map_err(|_| {
            let suggestion = nearest(name, known.iter().copied());
            self.fault(Fault::UnknownName { what, found: clip(name), suggestion, known })
        })
    }
}

/// What a key that takes an integer or a string holds.
pub(crate) enum Scalar {
    Int,
    Text,
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The beginning of a text for a message: a hostile file must not fill the screen.
pub(crate) fn clip(text: &str) -> String {
    const MOST: usize = 40;
    if text.len() <= MOST { text.to_owned() } else { format!("{}…", &text[..text.floor_char_boundary(MOST)]) }
}
