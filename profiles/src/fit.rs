//! Whether a profile was made for the machine and the model at hand.

use std::fmt;

use crate::{Backend, Choice, Gpu, Machine, ModelId, Profile};

/// How much of a profile a mismatch puts out of force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Nothing: worth knowing, no more.
    Nothing,
    /// Measured choices for CUDA.
    Cuda,
    /// All measured choices, and the engine settings.
    Everything,
}

/// One thing in which a profile's record and the machine or model at hand differ.
///
/// A mismatch is a warning and a miss: measured choices in its [`Scope`] are left out and the default stands. Choices
/// without a measurement were made by hand and stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key in the profile, `"machine.cpu"`.
    pub key: &'static str,
    /// What the profile says.
    pub recorded: String,
    /// What is at hand.
    pub found: String,
    /// What it puts out of force.
    pub scope: Scope,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} in the profile, {} here", self.key, self.recorded, self.found)
    }
}

impl Profile {
    /// What keeps this profile from fitting `machine`, `model` and the program's version; empty if all fits.
    ///
    /// Only what the profile records is compared. CPU features fit when all recorded ones are there; the model's types
    /// fit when they are the same set; text is compared without regard to case. Memory and driver are never compared.
    /// Another version of the program alone changes nothing (revisions of variants tell what changed): it is reported
    /// with [`Scope::Nothing`].
    pub fn fit(&self, machine: &Machine, model: &ModelId, engine_version: &str) -> Vec<Mismatch> {
        let mut found = Comparison(Vec::new());
        if let Some(recorded) = &self.machine {
            found.text("machine.cpu", recorded.cpu.as_deref(), machine.cpu.as_deref());
            found.features(&recorded.isa, &machine.isa);
            found.cores(recorded.cores, machine.cores);
            found.gpus(&recorded.gpus, &machine.gpus);
        }
        if let Some(recorded) = &self.model {
            found.text("model.arch", recorded.arch.as_deref(), model.arch.as_deref());
            found.text("model.geometry", recorded.geometry.as_deref(), model.geometry.as_deref());
            found.types(&recorded.types, &model.types);
            found.text("model.fingerprint", recorded.fingerprint.as_deref(), model.fingerprint.as_deref());
        }
        if let Some(recorded) = self.engine.deltascope.as_deref().filter(|version| *version != engine_version) {
            found.push("engine.deltascope", recorded.to_owned(), engine_version.to_owned(), Scope::Nothing);
        }
        found.0
    }
}

/// Whether `choice` is in force in a profile with these mismatches.
pub(crate) fn in_force(choice: &Choice, mismatches: &[Mismatch]) -> bool {
    let worst = mismatches.iter().map(|mismatch| mismatch.scope).max().unwrap_or(Scope::Nothing);
    match worst {
        Scope::Nothing => true,
        Scope::Cuda => choice.measured.is_none() || choice.rule.backend == Backend::Cpu,
        Scope::Everything => choice.measured.is_none(),
    }
}

struct Comparison(Vec<Mismatch>);

impl Comparison {
    fn push(&mut self, key: &'static str, recorded: String, found: String, scope: Scope) {
        self.0.push(Mismatch { key, recorded, found, scope });
    }

    fn text(&mut self, key: &'static str, recorded: Option<&str>, found: Option<&str>) {
        let Some(recorded) = recorded.filter(|text| *text != "*") else { return };
        if !found.is_some_and(|found| found.eq_ignore_ascii_case(recorded)) {
            // What can't be told here is no match: guessing would run a kernel on a machine that it was not tuned for.
            self.push(key, quoted(recorded), found.map_or_else(|| "unknown".to_owned(), quoted), Scope::Everything);
        }
    }

    fn cores(&mut self, recorded: Option<u32>, found: Option<u32>) {
        if let Some(recorded) = recorded.filter(|&cores| Some(cores) != found) {
            let found = found.map_or_else(|| "unknown".to_owned(), |cores| cores.to_string());
            self.push("machine.cores", recorded.to_string(), found, Scope::Everything);
        }
    }

    fn features(&mut self, recorded: &[String], found: &[String]) {
        let missing: Vec<_> = recorded.iter().filter(|name| *name != "*" && !contains(found, name)).cloned().collect();
        if !missing.is_empty() {
            let here = format!("without {}", missing.join(", "));
            self.push("machine.isa", recorded.join(", "), here, Scope::Everything);
        }
    }

    fn types(&mut self, recorded: &[String], found: &[String]) {
        let any = recorded.is_empty() || contains(recorded, "*");
        let same =
            recorded.iter().all(|name| contains(found, name)) && found.iter().all(|name| contains(recorded, name));
        if !any && !same {
            self.push("model.types", list(recorded), list(found), Scope::Everything);
        }
    }

    fn gpus(&mut self, recorded: &[Gpu], found: &[Gpu]) {
        let same = |(recorded, found): (&Gpu, &Gpu)| {
            let capability = recorded.compute_capability.as_ref().filter(|text| *text != "*");
            (recorded.name == "*" || recorded.name.eq_ignore_ascii_case(&found.name))
                && capability.is_none_or(|text| Some(text) == found.compute_capability.as_ref())
        };
        // More devices than recorded is no mismatch: the recorded ones come first, by index.
        if found.len() < recorded.len() || !recorded.iter().zip(found).all(same) {
            let names = |gpus: &[Gpu]| list(&gpus.iter().map(describe).collect::<Vec<_>>());
            self.push("machine.gpus", names(recorded), names(found), Scope::Cuda);
        }
    }
}

fn contains(names: &[String], name: &str) -> bool {
    names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name))
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn describe(gpu: &Gpu) -> String {
    match &gpu.compute_capability {
        Some(capability) => format!("{} ({capability})", gpu.name),
        None => gpu.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Measured, Rule};

    fn machine() -> Machine {
        Machine {
            cpu: Some("AMD EPYC (Zen 3)".into()),
            isa: ["avx2", "fma", "f16c"].map(String::from).into(),
            cores: Some(2),
            memory_gib: Some(24),
            gpus: vec![Gpu { name: "NVIDIA H100".into(), compute_capability: Some("9.0".into()), ..Gpu::default() }],
        }
    }

    fn model() -> ModelId {
        ModelId {
            arch: Some("qwen3next".into()),
            geometry: Some("8l-256d-16e".into()),
            types: ["Q4_K", "Q6_K"].map(String::from).into(),
            fingerprint: None,
        }
    }

    fn made_here() -> Profile {
        Profile { machine: Some(machine()), model: Some(model()), ..Profile::default() }
    }

    fn texts(mismatches: &[Mismatch]) -> String {
        mismatches.iter().map(|mismatch| format!("{mismatch} [{:?}]\n", mismatch.scope)).collect()
    }

    #[test]
    fn the_same_machine_and_model_fit() {
        assert_eq!(made_here().fit(&machine(), &model(), "0.1.0"), []);
        let mut more = machine();
        more.isa.push("avx512f".into());
        more.memory_gib = Some(1);
        more.gpus.push(Gpu::default());
        let mut reordered = model();
        reordered.types = ["q6_K", "Q4_K"].map(String::from).into();
        assert_eq!(made_here().fit(&more, &reordered, "0.1.0"), []);
    }

    #[test]
    fn each_mismatch_is_a_readable_text() {
        let mut profile = made_here();
        profile.engine.deltascope = Some("0.1.0".into());
        if let Some(model) = &mut profile.model {
            model.fingerprint = Some("9f3c".into());
        }
        let other = Machine {
            cpu: Some("Intel Xeon".into()),
            isa: vec!["AVX2".into(), "FMA".into()],
            cores: Some(16),
            ..Machine::default()
        };
        let model = ModelId { arch: Some("qwen35".into()), types: vec!["Q4_K".into()], ..ModelId::default() };
        insta::assert_snapshot!(texts(&profile.fit(&other, &model, "0.2.0")), @r#"
        machine.cpu is "AMD EPYC (Zen 3)" in the profile, "Intel Xeon" here [Everything]
        machine.isa is avx2, fma, f16c in the profile, without f16c here [Everything]
        machine.cores is 2 in the profile, 16 here [Everything]
        machine.gpus is NVIDIA H100 (9.0) in the profile, none here [Cuda]
        model.arch is "qwen3next" in the profile, "qwen35" here [Everything]
        model.geometry is "8l-256d-16e" in the profile, unknown here [Everything]
        model.types is Q4_K, Q6_K in the profile, Q4_K here [Everything]
        model.fingerprint is "9f3c" in the profile, unknown here [Everything]
        engine.deltascope is 0.1.0 in the profile, 0.2.0 here [Nothing]
        "#);
    }

    #[test]
    fn any_and_absent_are_not_compared() {
        let any = Machine {
            cpu: Some("*".into()),
            isa: vec!["*".into()],
            gpus: vec![Gpu { name: "*".into(), ..Gpu::default() }],
            ..Machine::default()
        };
        let profile = Profile { machine: Some(any), model: Some(ModelId::default()), ..Profile::default() };
        assert_eq!(profile.fit(&machine(), &model(), "0.1.0"), []);
        assert_eq!(Profile::default().fit(&Machine::default(), &ModelId::default(), "0.1.0"), []);
    }

    #[test]
    fn a_mismatch_takes_measured_choices_out_of_force() {
        let by_hand = Choice::new(Rule::new("scale"), "rows");
        let mut tuned = by_hand.clone();
        tuned.measured = Some(Measured {
            median_us: 1.0,
            ci95_us: [0.9, 1.1],
            samples: 9,
            share: None,
            baseline: None,
            speedup: None,
        });
        let mut on_gpu = tuned.clone();
        on_gpu.rule.backend = Backend::Cuda(None);
        let in_force = |mismatches: &[Mismatch]| [&by_hand, &tuned, &on_gpu].map(|choice| in_force(choice, mismatches));

        let profile = made_here();
        let without_gpu = Machine { gpus: vec![], ..machine() };
        let other = Machine { cores: Some(64), ..machine() };
        assert_eq!(in_force(&profile.fit(&machine(), &model(), "")), [true, true, true]);
        assert_eq!(in_force(&profile.fit(&without_gpu, &model(), "")), [true, true, false]);
        assert_eq!(in_force(&profile.fit(&other, &model(), "")), [true, false, false]);
    }
}
