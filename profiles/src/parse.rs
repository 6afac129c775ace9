//! From text to a [`Profile`]. The text is untrusted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::de::DeTable;

use crate::error::{Error, Fault, Invalid};
use crate::reader::{Field, Scalar, Section, Source, clip};
use crate::{
    Backend, Choice, Engine, Gpu, Machine, Measured, ModelId, Pattern, Phase, Placement, Profile, Rule, SCHEMA,
    SizeRange, Threads, TunableValue,
};

/// The largest profile that is read, in bytes: some thousand times what a tuned model needs.
pub const MAX_BYTES: usize = 4 << 20;

const DOCUMENT: &[&str] = &["schema", "name", "machine", "model", "engine", "place", "choice"];
const MACHINE: &[&str] = &["cpu", "isa", "cores", "memory_gib", "gpus"];
const GPU: &[&str] = &["name", "compute_capability", "memory_gib", "driver"];
const MODEL: &[&str] = &["arch", "geometry", "types", "fingerprint"];
const ENGINE: &[&str] = &["deltascope", "threads", "ubatch", "graphs"];
const THREADS: &[&str] = &["decode", "prefill"];
const PLACE: &[&str] = &["node", "backend"];
const CHOICE: &[&str] = &[
    "op",
    "backend",
    "phase",
    "elements",
    "tokens",
    "rows",
    "cols",
    "types",
    "node",
    "variant",
    "revision",
    "tunables",
    "measured",
    "tied_with",
];
const MEASURED: &[&str] = &["median_us", "ci95_us", "samples", "share", "baseline", "speedup"];

const MAX_THREADS: u32 = 4096;
const MAX_UBATCH: u32 = 1 << 20;

/// Reads a profile from its text. `origin` names the text in errors; no file is touched.
///
/// Never panics, and takes memory in proportion to the text only.
pub fn parse(text: &str, origin: &Path) -> Result<Profile, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::TooLarge { path: origin.to_owned(), limit: MAX_BYTES });
    }
    Ok(document(Source { text, origin })?)
}

/// The text of a profile file, of bounded size and in UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte over the limit tells a large file from a full one without trusting the size that the system claims.
    File::open(path).map_err(failed)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        Error::Invalid(Source { text: &text, origin: path }.fault(&(valid..valid), "", Fault::NotUtf8))
    })
}

impl Profile {
    /// Reads the profile file at `path`.
    pub fn read(path: &Path) -> Result<Self, Error> {
        parse(&read_text(path)?, path)
    }
}

fn document(source: Source<'_>) -> Result<Profile, Box<Invalid>> {
    let document = DeTable::parse(source.text).map_err(|error| {
        let message = error.message().trim().replace('\n', "; ");
        let span = error.span().unwrap_or(0..0);
        // The one fault of syntax that is about a key; its span is the key.
        let key = source.text.get(span.clone()).filter(|_| message == "duplicate key").unwrap_or_default();
        source.fault(&span, &clip(key), Fault::Syntax(message))
    })?;
    // The schema comes first: a newer file should be told by its version, not by the first key that this one lacks.
    let root = Section::unchecked(source, document.get_ref());
    let schema = root.require("schema")?;
    let place = schema.span();
    let found = schema.int(i64::MIN..=i64::MAX)?;
    if found != i64::from(SCHEMA) {
        return Err(source.fault(&place, "schema", Fault::UnsupportedSchema { found }));
    }
    let root = Section::new(source, String::new(), 0..0, document.get_ref(), DOCUMENT)?;
    Ok(Profile {
        schema: SCHEMA,
        name: root.read("name", Field::text)?,
        machine: root.read("machine", machine)?,
        model: root.read("model", model)?,
        engine: root.read("engine", engine)?.unwrap_or_default(),
        places: root.read("place", |field| places(source, field))?.unwrap_or_default(),
        choices: root.read("choice", |field| choices(source, field))?.unwrap_or_default(),
    })
}

/// `"*"` is the written form of "any", which is what absence means too.
fn unless_any(text: Option<String>) -> Option<String> {
    text.filter(|text| text != "*")
}

/// The same for a list: one `"*"` in it, and it is not compared.
fn unless_any_of(names: Option<Vec<String>>) -> Vec<String> {
    names.filter(|names| !names.iter().any(|name| name == "*")).unwrap_or_default()
}

fn machine(field: Field<'_>) -> Result<Machine, Box<Invalid>> {
    let section = field.section(MACHINE)?;
    let gpus = |field: Field<'_>| field.items("an array of tables")?.into_iter().map(gpu).collect();
    Ok(Machine {
        cpu: unless_any(section.read("cpu", Field::text)?),
        isa: unless_any_of(section.read("isa", Field::texts)?),
        cores: section.read("cores", |field| field.count(1, u32::MAX))?,
        memory_gib: section.read("memory_gib", |field| field.count(0, u32::MAX))?,
        gpus: section.read("gpus", gpus)?.unwrap_or_default(),
    })
}

fn gpu(field: Field<'_>) -> Result<Gpu, Box<Invalid>> {
    let section = field.section(GPU)?;
    Ok(Gpu {
        name: section.require("name")?.text()?,
        compute_capability: unless_any(section.read("compute_capability", Field::text)?),
        memory_gib: section.read("memory_gib", |field| field.count(0, u32::MAX))?,
        driver: unless_any(section.read("driver", Field::text)?),
    })
}

fn model(field: Field<'_>) -> Result<ModelId, Box<Invalid>> {
    let section = field.section(MODEL)?;
    Ok(ModelId {
        arch: unless_any(section.read("arch", Field::text)?),
        geometry: unless_any(section.read("geometry", Field::text)?),
        types: unless_any_of(section.read("types", Field::texts)?),
        fingerprint: unless_any(section.read("fingerprint", Field::text)?),
    })
}

fn engine(field: Field<'_>) -> Result<Engine, Box<Invalid>> {
    let section = field.section(ENGINE)?;
    let threads = section.read("threads", |field| {
        let section = field.section(THREADS)?;
        let count = |key| section.read(key, |field| field.count(1, MAX_THREADS));
        Ok(Threads { decode: count("decode")?, prefill: count("prefill")? })
    })?;
    Ok(Engine {
        deltascope: unless_any(section.read("deltascope", Field::text)?),
        threads: threads.unwrap_or_default(),
        ubatch: section.read("ubatch", |field| field.count(1, MAX_UBATCH))?,
        graphs: section.read("graphs", Field::boolean)?,
    })
}

fn places(source: Source<'_>, field: Field<'_>) -> Result<Vec<Placement>, Box<Invalid>> {
    let mut places = Vec::new();
    let mut first: HashMap<Pattern, usize> = HashMap::new();
    for item in field.items("an array of tables (`[[place]]`)")? {
        let span = item.span();
        let path = item.path().to_owned();
        let section = item.section(PLACE)?;
        let node: Pattern = section.require("node")?.parsed()?;
        let backend = section.require("backend")?.one_of("backend", Backend::KNOWN)?;
        if let Some(start) = first.insert(node.clone(), span.start) {
            let first_line = source.line(start);
            return Err(source.fault(&span, &path, Fault::DuplicatePlace { first_line }));
        }
        places.push(Placement { node, backend });
    }
    Ok(places)
}

fn choices(source: Source<'_>, field: Field<'_>) -> Result<Vec<Choice>, Box<Invalid>> {
    let items = field.items("an array of tables (`[[choice]]`)")?;
    let mut choices = Vec::with_capacity(items.len());
    let mut first: HashMap<Rule, usize> = HashMap::new();
    for item in items {
        let span = item.span();
        let path = item.path().to_owned();
        let choice = choice(item)?;
        match first.entry(choice.rule.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(span.start);
            }
            Entry::Occupied(entry) => {
                let first_line = source.line(*entry.get());
                return Err(source.fault(&span, &path, Fault::DuplicateChoice { first_line }));
            }
        }
        choices.push(choice);
    }
    Ok(choices)
}

fn choice(field: Field<'_>) -> Result<Choice, Box<Invalid>> {
    let section = field.section(CHOICE)?;
    let mut rule = Rule {
        op: section.require("op")?.name()?,
        backend: section.read("backend", |field| field.one_of("backend", Backend::KNOWN))?.unwrap_or_default(),
        phase: section.read("phase", |field| field.one_of::<Phase>("phase", Phase::KNOWN))?,
        elements: section.read("elements", size_range)?,
        tokens: section.read("tokens", size_range)?,
        rows: section.read("rows", size_range)?,
        cols: section.read("cols", size_range)?,
        types: Vec::new(),
        node: section.read("node", Field::parsed)?,
    };
    rule.set_types(section.read("types", Field::one_or_more_names)?.unwrap_or_default());
    let mut choice = Choice::new(rule, section.require("variant")?.name()?);
    choice.revision = section.read("revision", |field| field.count(0, u32::MAX))?;
    choice.measured = section.read("measured", measured)?;
    choice.tied_with = section.read("tied_with", Field::names)?.unwrap_or_default();
    if let Some(tunables) = section.get("tunables") {
        for (field, name) in tunables.open_section()?.entries() {
            field.check_name(name)?;
            let value = match field.scalar("an integer or a string")? {
                Scalar::Int => TunableValue::Int(field.int(i64::MIN..=i64::MAX)?),
                Scalar::Text => TunableValue::Text(field.name()?),
            };
            choice.tunables.insert(name.to_owned(), value);
        }
    }
    Ok(choice)
}

/// A range as text, or a plain integer for one exact size.
fn size_range(field: Field<'_>) -> Result<SizeRange, Box<Invalid>> {
    match field.scalar("a range such as \"65536..\" or an integer")? {
        Scalar::Int => Ok(SizeRange::exact(field.int(0..=i64::MAX)?.unsigned_abs())),
        Scalar::Text => field.parsed(),
    }
}

fn measured(field: Field<'_>) -> Result<Measured, Box<Invalid>> {
    let section = field.section(MEASURED)?;
    Ok(Measured {
        median_us: section.require("median_us")?.number(f64::INFINITY)?,
        ci95_us: interval(section.require("ci95_us")?)?,
        samples: section.require("samples")?.count(1, u32::MAX)?,
        share: section.read("share", |field| field.number(1.0))?,
        baseline: section.read("baseline", Field::name)?,
        speedup: section.read("speedup", |field| field.number(f64::INFINITY))?,
    })
}

fn interval(field: Field<'_>) -> Result<[f64; 2], Box<Invalid>> {
    let mut bounds = [0.0; 2];
    let items = field.items("an array of two numbers")?;
    if items.len() != bounds.len() {
        let found = format!("an array of {}", items.len());
        return Err(field.fault(Fault::OutOfRange { found, expected: "two numbers, low and high".to_owned() }));
    }
    for (bound, item) in bounds.iter_mut().zip(items) {
        *bound = item.number(f64::INFINITY)?;
    }
    if bounds[0] > bounds[1] {
        let found = format!("[{}, {}]", bounds[0], bounds[1]);
        return Err(field.fault(Fault::OutOfRange { found, expected: "low before high".to_owned() }));
    }
    Ok(bounds)
}
