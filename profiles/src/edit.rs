//! Bringing an existing file to a new profile while its comments and its layout stay.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::Path;

use toml_edit::{ArrayOfTables, Decor, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::encode;
use crate::export::to_toml;
use crate::{Error, Profile, parse};

/// The text of a file that held `text` and is to hold `profile`.
///
/// Only what differs between the two profiles is touched: comments, order, spacing and other ways of writing the same
/// stay. Choices are told apart by their rules; a changed one keeps its comments, a removed one takes them along, a new
/// one goes to its place in the profile's order. `origin` names `text` in errors.
pub fn update(text: &str, origin: &Path, profile: &Profile) -> Result<String, Error> {
    let before = parse(text, origin)?;
    if before == *profile {
        return Ok(text.to_owned());
    }
    let edited = text.parse::<DocumentMut>().ok().map(|mut document| {
        edit(&mut document, &before, profile);
        document.to_string()
    });
    // What the file means outranks how it looks. Should an unusual layout have defeated the edit, the file is written
    // anew.
    Ok(edited.filter(|text| parse(text, origin).is_ok_and(|read| read == *profile)).unwrap_or_else(|| to_toml(profile)))
}

fn edit(document: &mut DocumentMut, before: &Profile, after: &Profile) {
    let sections =
        |profile: &Profile| encode::document(&Profile { places: Vec::new(), choices: Vec::new(), ..profile.clone() });
    edit_table(document.as_table_mut(), &sections(before), &sections(after));
    if before.places != after.places {
        edit_tables(document, "place", &before.places, &after.places, |place| &place.node, encode::place);
    }
    if before.choices != after.choices {
        edit_tables(document, "choice", &before.choices, &after.choices, |choice| &choice.rule, encode::choice);
    }
}

/// Takes `table`, which means `before`, to `after`. Keys whose value does not change are left as they are written.
///
/// Returns whether keys came or went.
fn edit_table(table: &mut dyn TableLike, before: &dyn TableLike, after: &dyn TableLike) -> bool {
    let mut reshaped = false;
    for (key, _) in before.iter().filter(|(key, _)| !after.contains_key(key)) {
        reshaped |= table.remove(key).is_some();
    }
    for (key, new) in after.iter() {
        let old = before.get(key);
        if old.is_some_and(|old| old.to_string() == new.to_string()) {
            continue;
        }
        let Some(item) = table.get_mut(key) else {
            table.insert(key, new.clone());
            reshaped = true;
            continue;
        };
        match (item, old.and_then(Item::as_table_like), new.as_table_like(), new) {
            (item, Some(old), Some(new), _) if item.is_table_like() => edit_nested(item, old, new),
            (Item::Value(value), _, _, Item::Value(new)) => {
                let decor = value.decor().clone();
                *value = new.clone();
                *value.decor_mut() = decor;
            }
            (item, ..) => *item = new.clone(),
        }
    }
    reshaped
}

fn edit_nested(item: &mut Item, before: &dyn TableLike, after: &dyn TableLike) {
    let Some(table) = item.as_table_like_mut() else { return };
    let reshaped = edit_table(table, before, after);
    // Within braces the spaces belong to the neighbours of what came or went.
    if let Some(inline) = item.as_inline_table_mut().filter(|_| reshaped) {
        inline.fmt();
    }
}

/// Puts the tables of an array such as `[[choice]]` into the order of `after`, edited, with new ones between them.
/// `id` tells them apart.
fn edit_tables<T, I: Eq + Hash>(
    document: &mut DocumentMut,
    key: &str,
    before: &[T],
    after: &[T],
    id: impl Fn(&T) -> &I,
    encode: fn(&T) -> Table,
) {
    let written = take_tables(document, key);
    let kept: HashSet<&I> = after.iter().map(&id).collect();
    let mut old: HashMap<&I, (usize, Table)> = HashMap::new();
    let mut headings = Headings::default();
    for (index, (entry, mut table)) in before.iter().zip(written).enumerate() {
        if kept.contains(id(entry)) {
            headings.put_on(&mut table);
            old.insert(id(entry), (index, table));
        } else {
            headings.take_from(&table);
        }
    }
    let mut tables = Vec::with_capacity(after.len());
    let mut last = None;
    let mut in_order = true;
    for entry in after {
        let new = encode(entry);
        let Some((index, mut table)) = old.remove(id(entry)) else {
            tables.push(new);
            continue;
        };
        edit_table(&mut table, &encode(&before[index]), &new);
        in_order &= last.is_none_or(|last| last < index);
        last = Some(index);
        tables.push(table);
    }
    place(&mut tables, in_order);
    if !tables.is_empty() {
        document.insert(key, Item::ArrayOfTables(ArrayOfTables::from_iter(tables)));
    }
}

/// toml_edit prints tables by the place that they had in the file, and those without one after the table before them.
fn place(tables: &mut [Table], in_order: bool) {
    if !in_order {
        tables.iter_mut().for_each(forget_place);
    } else if let Some(first) = tables.iter().position(|table| table.position().is_some()) {
        let position = tables[first].position();
        tables[..first].iter_mut().for_each(|table| table.set_position(position));
    }
}

fn forget_place(table: &mut Table) {
    table.set_position(None);
    table.iter_mut().filter_map(|(_, item)| item.as_table_mut()).for_each(forget_place);
}

/// Takes an array of tables out of the document: `[[choice]]`, or `choice = [{ … }]`, which becomes `[[choice]]`.
fn take_tables(document: &mut DocumentMut, key: &str) -> Vec<Table> {
    match document.remove(key) {
        Some(Item::ArrayOfTables(tables)) => tables.into_iter().collect(),
        Some(Item::Value(Value::Array(array))) => {
            array.into_iter().filter_map(|value| Some(from_braces(value.as_inline_table()?))).collect()
        }
        _ => Vec::new(),
    }
}

fn from_braces(inline: &InlineTable) -> Table {
    let comments = inline.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
    let comments = comments.lines().map(str::trim).filter(|line| line.starts_with('#'));
    let prefix = comments.fold("\n".to_owned(), |prefix, line| prefix + line + "\n");
    let mut table = inline.clone().into_table();
    table.fmt();
    *table.decor_mut() = Decor::new(prefix, "");
    table
}

/// Comments that stand over a table but apart from it by an empty line: headings of what follows. They outlive the
/// one that they happen to be attached to.
#[derive(Default)]
struct Headings(String);

impl Headings {
    fn take_from(&mut self, table: &Table) {
        let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default();
        if let Some((heading, _)) = prefix.rsplit_once("\n\n").filter(|(heading, _)| heading.contains('#')) {
            self.0 += heading;
            self.0 += "\n";
        }
    }

    fn put_on(&mut self, table: &mut Table) {
        if !self.0.is_empty() {
            let own = table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("\n");
            let prefix = std::mem::take(&mut self.0) + own;
            table.decor_mut().set_prefix(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Choice, Machine, Rule};

    const TEXT: &str = r#"# My profile.
schema = 1    # never changes
name = 'mine' # single quotes

[engine]
# Two threads are enough.
threads = { decode = 2 }

# --- Elementwise ---

# Measured on a rainy day.
[[choice]]
op        = "scale" # aligned by hand
elements  = "65_536.."
variant   = "blocked"
tunables  = { block = 1024 }

[[choice]]
op = "mul"
variant = "rows"

  [choice.tunables]
  # Not in braces.
  rows = 4
"#;

    fn profile(text: &str) -> Profile {
        parse(text, "test.toml".as_ref()).unwrap()
    }

    fn updated(text: &str, change: impl FnOnce(&mut Profile)) -> String {
        let mut profile = profile(text);
        change(&mut profile);
        let text = update(text, "test.toml".as_ref(), &profile).unwrap();
        assert_eq!(super::parse(&text, "updated.toml".as_ref()).unwrap(), profile);
        text
    }

    /// What changed, as lines with `-` and `+`, so that a snapshot shows that nothing else did.
    fn changed(text: &str, change: impl FnOnce(&mut Profile)) -> String {
        let new = updated(text, change);
        let gone =
            text.lines().filter(|line| !new.lines().any(|other| other == *line)).map(|line| format!("-{line}\n"));
        let come =
            new.lines().filter(|line| !text.lines().any(|other| other == *line)).map(|line| format!("+{line}\n"));
        gone.chain(come).collect()
    }

    #[test]
    fn the_same_profile_changes_no_byte() {
        assert_eq!(updated(TEXT, |_| {}), TEXT);
    }

    #[test]
    fn a_changed_value_keeps_its_line() {
        insta::assert_snapshot!(changed(TEXT, |profile| {
            profile.name = Some("yours".into());
            profile.engine.threads.decode = Some(4);
            profile.choices[0].tunables.insert("block".into(), 2048.into());
            profile.choices[1].tunables.insert("rows".into(), 8.into());
        }), @r#"
        -name = 'mine' # single quotes
        -threads = { decode = 2 }
        -tunables  = { block = 1024 }
        -  rows = 4
        +name = "yours" # single quotes
        +threads = { decode = 4 }
        +tunables  = { block = 2048 }
        +  rows = 8
        "#);
    }

    #[test]
    fn keys_come_and_go() {
        insta::assert_snapshot!(changed(TEXT, |profile| {
            profile.name = None;
            profile.engine.threads.prefill = Some(4);
            profile.engine.ubatch = Some(512);
            profile.machine = Some(Machine { cores: Some(2), ..Machine::default() });
            profile.choices[0].revision = Some(3);
            profile.choices[1].tunables.clear();
        }), @r"
        -name = 'mine' # single quotes
        -threads = { decode = 2 }
        -  [choice.tunables]
        -  # Not in braces.
        -  rows = 4
        +threads = { decode = 2, prefill = 4 }
        +ubatch = 512
        +[machine]
        +cores = 2
        +revision = 3
        ");
    }

    #[test]
    fn choices_come_and_go_and_headings_stay() {
        insta::assert_snapshot!(updated(TEXT, |profile| {
            profile.choices.remove(0);
            profile.choices.insert(0, Choice::new(Rule::new("repeat"), "rows"));
            profile.choices.push(Choice::new(Rule::new("cont"), "threaded"));
        }), @r#"
        # My profile.
        schema = 1    # never changes
        name = 'mine' # single quotes

        [engine]
        # Two threads are enough.
        threads = { decode = 2 }

        [[choice]]
        op = "repeat"
        backend = "cpu"
        variant = "rows"

        # --- Elementwise ---

        [[choice]]
        op = "mul"
        variant = "rows"

          [choice.tunables]
          # Not in braces.
          rows = 4

        [[choice]]
        op = "cont"
        backend = "cpu"
        variant = "threaded"
        "#);
    }

    #[test]
    fn placements_come_and_go_with_their_comments() {
        let place = "# Too large for the GPU.\n[[place]]\nnode = 'blk.*.ffn'\nbackend = \"cpu\"\n";
        let text = format!("schema = 1\n\n{place}\n[[choice]]\nop = \"mul\"\nvariant = \"rows\"\n");
        insta::assert_snapshot!(updated(&text, |profile| {
            profile.places[0].backend = crate::Backend::Cuda(None);
            profile.places.push("output=cpu".parse().unwrap());
        }), @r#"
        schema = 1

        # Too large for the GPU.
        [[place]]
        node = 'blk.*.ffn'
        backend = "cuda"

        [[place]]
        node = "output"
        backend = "cpu"

        [[choice]]
        op = "mul"
        variant = "rows"
        "#);
        let none = updated(&text, |profile| profile.places.clear());
        assert!(none.contains("op = \"mul\"") && !none.contains("place"), "{none}");
        let new = updated(TEXT, |profile| profile.places.push("output=cpu".parse().unwrap()));
        assert!(new.contains("# Measured on a rainy day.") && new.contains("[[place]]"), "{new}");
    }

    #[test]
    fn choices_change_places() {
        let text = updated(TEXT, |profile| profile.choices.reverse());
        assert!(
            text.contains("# Measured on a rainy day.\n[[choice]]\nop        = \"scale\" # aligned by hand"),
            "{text}"
        );
        assert!(text.contains("# Not in braces."), "{text}");
    }

    #[test]
    fn sections_after_the_choices_do_not_disturb_them() {
        let text = "schema = 1\n# first\n[[choice]]\nop = \"mul\"\nvariant = \"rows\"\n# last\n[engine]\nubatch = 64\n";
        let new = updated(text, |profile| {
            profile.choices.insert(0, Choice::new(Rule::new("repeat"), "rows"));
            profile.choices.push(Choice::new(Rule::new("cont"), "threaded"));
        });
        assert!(new.contains("# first") && new.contains("# last"), "{new}");
    }

    #[test]
    fn choices_in_braces_become_tables_with_their_comments() {
        let text = "schema = 1\nchoice = [\n  # why\n  { op = \"mul\", variant = \"rows\" },\n]\n";
        assert_eq!(updated(text, |_| {}), text);
        insta::assert_snapshot!(updated(text, |profile| profile.choices[0].variant = "generic".into()), @r#"
        schema = 1

        # why
        [[choice]]
        op = "mul"
        variant = "generic"
        "#);
    }
}
