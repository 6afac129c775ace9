//! A profile as a TOML document, in the one form that Deltascope writes.

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, Value};

use crate::{Choice, Engine, Gpu, Machine, Measured, ModelId, Placement, Profile, SizeRange, TunableValue};

/// The whole profile. What is absent in it is absent in the document.
pub(crate) fn document(profile: &Profile) -> Table {
    let mut document = Table::new();
    document.insert("schema", int(profile.schema).into());
    document.put("name", profile.name.as_deref());
    document.put_table("machine", profile.machine.as_ref().map(machine));
    document.put_table("model", profile.model.as_ref().map(model));
    document.put_table("engine", (!profile.engine.is_empty()).then(|| engine(&profile.engine)));
    let places: ArrayOfTables = profile.places.iter().map(place).collect();
    if !places.is_empty() {
        document.insert("place", Item::ArrayOfTables(places));
    }
    let choices: ArrayOfTables = profile.choices.iter().map(choice).collect();
    if !choices.is_empty() {
        document.insert("choice", Item::ArrayOfTables(choices));
    }
    document
}

/// One `[[place]]`.
pub(crate) fn place(place: &Placement) -> Table {
    let mut table = Table::new();
    table.put("node", Some(place.node.as_str()));
    table.put("backend", Some(place.backend.to_string()));
    table
}

/// One `[[choice]]`.
pub(crate) fn choice(choice: &Choice) -> Table {
    let rule = &choice.rule;
    let mut table = Table::new();
    table.put("op", Some(rule.op.as_str()));
    table.put("backend", Some(rule.backend.to_string()));
    table.put("phase", rule.phase.map(|phase| phase.as_str()));
    for (key, range) in rule.ranges() {
        table.put(key, range.map(size_range));
    }
    table.put("types", strings(&rule.types));
    table.put("node", rule.node.as_ref().map(|pattern| pattern.as_str()));
    table.put("variant", Some(choice.variant.as_str()));
    table.put("revision", choice.revision.map(int));
    let tunables: InlineTable = choice.tunables.iter().map(|(name, value)| (name.as_str(), tunable(value))).collect();
    table.put("tunables", (!tunables.is_empty()).then_some(tunables));
    table.put("measured", choice.measured.as_ref().map(measured));
    table.put("tied_with", strings(&choice.tied_with));
    table
}

fn machine(machine: &Machine) -> Table {
    let mut table = Table::new();
    table.put("cpu", machine.cpu.as_deref());
    table.put("isa", strings(&machine.isa));
    table.put("cores", machine.cores.map(int));
    table.put("memory_gib", machine.memory_gib.map(int));
    let gpus: Array = machine.gpus.iter().map(gpu).collect();
    table.put("gpus", (!gpus.is_empty()).then_some(gpus));
    table
}

fn gpu(gpu: &Gpu) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("name", gpu.name.as_str().into());
    let mut put = |key: &str, value: Option<Value>| value.map(|value| table.insert(key, value));
    put("compute_capability", gpu.compute_capability.as_deref().map(Value::from));
    put("memory_gib", gpu.memory_gib.map(int));
    put("driver", gpu.driver.as_deref().map(Value::from));
    table
}

fn model(model: &ModelId) -> Table {
    let mut table = Table::new();
    table.put("arch", model.arch.as_deref());
    table.put("geometry", model.geometry.as_deref());
    table.put("types", strings(&model.types));
    table.put("fingerprint", model.fingerprint.as_deref());
    table
}

fn engine(engine: &Engine) -> Table {
    let mut table = Table::new();
    table.put("deltascope", engine.deltascope.as_deref());
    let threads = [("decode", engine.threads.decode), ("prefill", engine.threads.prefill)];
    let threads: InlineTable = threads.into_iter().filter_map(|(key, count)| Some((key, int(count?)))).collect();
    table.put("threads", (!threads.is_empty()).then_some(threads));
    table.put("ubatch", engine.ubatch.map(int));
    table.put("graphs", engine.graphs);
    table
}

fn measured(measured: &Measured) -> InlineTable {
    let mut table = InlineTable::new();
    let mut put = |key: &str, value: Option<Value>| value.map(|value| table.insert(key, value));
    put("median_us", Some(measured.median_us.into()));
    put("ci95_us", Some(Array::from_iter(measured.ci95_us).into()));
    put("samples", Some(int(measured.samples)));
    put("share", measured.share.map(Value::from));
    put("baseline", measured.baseline.as_deref().map(Value::from));
    put("speedup", measured.speedup.map(Value::from));
    table
}

fn tunable(value: &TunableValue) -> Value {
    match value {
        TunableValue::Int(value) => (*value).into(),
        TunableValue::Text(value) => value.as_str().into(),
    }
}

/// An exact size as an integer where TOML's 64 signed bits hold it, else the range as text.
fn size_range(range: SizeRange) -> Value {
    match range.as_exact().and_then(|size| i64::try_from(size).ok()) {
        Some(size) => size.into(),
        None => range.to_string().into(),
    }
}

fn int(value: u32) -> Value {
    i64::from(value).into()
}

fn strings(names: &[String]) -> Option<Array> {
    (!names.is_empty()).then(|| names.iter().map(String::as_str).collect())
}

trait Put {
    /// Sets `key`, if there is a value.
    fn put(&mut self, key: &str, value: Option<impl Into<Value>>);
    /// Sets the table `key`, if there is one.
    fn put_table(&mut self, key: &str, table: Option<Table>);
}

impl Put for Table {
    fn put(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.insert(key, Item::Value(value.into()));
        }
    }

    fn put_table(&mut self, key: &str, table: Option<Table>) {
        if let Some(table) = table {
            self.insert(key, Item::Table(table));
        }
    }
}
