//! What most commands begin with: a model, a stack of profiles, an engine.

use super::unserved::unserved;
use crate::cli::{BackendArg, EngineArgs, KvArg, ModelArgs, PhaseArg};
use anyhow::Context;
use deltascope_kernels::DType;
use deltascope_model::{Engine, Model, Options, Place};
use deltascope_profiles::{Origin, Placement, Preset, Profile, Stack, read_user_profile, user_profile_path};
use std::path::PathBuf;
use std::sync::Arc;

/// The demo model, built in so that the program needs nothing beside it.
pub const DEMO_MODEL: &[u8] = include_bytes!("../../../model/assets/deltascope-demo-q4_k_m.gguf");

/// What the demo model is called on screen.
pub const DEMO_NAME: &str = "built-in demo model";

/// Opens the model asked for, or the demo model; also what to call it.
///
/// # Errors
/// If the file is no Qwen3-Next that can be run.
pub fn open_model(args: &ModelArgs) -> anyhow::Result<(Arc<Model>, String)> {
    match args.path.as_ref().or(args.model.as_ref()) {
        Some(path) => {
            let model = Model::open(path).with_context(|| {
                format!("cannot run {} (hint: `deltascope synth` writes a model to try)", path.display())
            })?;
            Ok((Arc::new(model), path.display().to_string()))
        }
        None => {
            let model = Model::from_bytes(DEMO_MODEL, DEMO_NAME).context("the built-in model")?;
            Ok((Arc::new(model), DEMO_NAME.to_owned()))
        }
    }
}

/// The profiles in force: the user's, then those named. What does not fit machine, model or
/// program is said on standard error.
///
/// # Errors
/// If a named profile cannot be read.
pub fn stack(args: &ModelArgs, model: &Model) -> anyhow::Result<Stack> {
    let mut stack = Stack::new();
    if let Some(path) = user_profile_path()
        && let Some(profile) = read_user_profile(&path).context("your own profile")?
    {
        stack.push(Origin::User(path), profile);
    }
    for name in &args.profiles {
        match name.strip_prefix("preset:") {
            Some(preset) => {
                let found = Preset::named(preset)?;
                stack.push(Origin::Preset(found.name.to_owned()), found.profile()?);
            }
            None => {
                let path = PathBuf::from(name);
                let profile = Profile::read(&path).context("cannot use the profile")?;
                stack.push(Origin::File(path), profile);
            }
        }
    }
    let mut machine = deltascope_tuning::machine::machine();
    if stack.layers().iter().any(|l| l.profile.machine.as_ref().is_some_and(|m| !m.gpus.is_empty())) {
        machine.gpus = deltascope_tuning::machine::gpus();
    }
    for warning in stack.fit(&machine, &model.id(), env!("CARGO_PKG_VERSION")) {
        eprintln!("warning: {warning}");
    }
    for warning in unserved(&stack) {
        eprintln!("warning: {warning}");
    }
    Ok(stack)
}

/// The command line's placements over the profiles.
pub(super) fn placed(mut stack: Stack, places: &[Placement]) -> Stack {
    if !places.is_empty() {
        stack.push(Origin::CommandLine, Profile { places: places.to_vec(), ..Profile::default() });
    }
    stack
}

/// The engine's options from the command line.
pub fn engine_options(args: &EngineArgs) -> Options {
    Options {
        place: match args.backend {
            BackendArg::Auto => Place::Auto,
            BackendArg::Cpu => Place::Cpu,
            BackendArg::Cuda => Place::Cuda,
        },
        graphs: !args.no_graphs,
        cupti: false,
        threads_decode: args.threads.unwrap_or(0),
        threads_prefill: args.threads_prefill.or(args.threads).unwrap_or(0),
        n_ctx: args.ctx.unwrap_or(0),
        n_slots: 1,
        ubatch: args.ubatch.unwrap_or(0),
        kv_type: match args.kv_type {
            KvArg::Auto => None,
            KvArg::F16 => Some(DType::F16),
            KvArg::F32 => Some(DType::F32),
        },
        packed_budget: 0,
    }
}

/// Model, profiles and engine in one.
///
/// # Errors
/// As its parts.
pub fn engine(model: &ModelArgs, args: &EngineArgs) -> anyhow::Result<(Engine, String)> {
    let (loaded, label) = open_model(model)?;
    let stack = placed(stack(model, &loaded)?, &args.places);
    Ok((start(loaded, stack, engine_options(args))?, label))
}

/// An engine; why it does not run on a GPU that is there is said on standard error.
///
/// # Errors
/// If the options ask for more than the model or the machine has.
pub(super) fn start(model: Arc<Model>, stack: Stack, options: Options) -> anyhow::Result<Engine> {
    let wanted = options.place;
    let engine = Engine::new(model, stack, options).with_context(|| match wanted {
        Place::Cuda => "cannot run on the GPU (hint: --backend cpu)".to_owned(),
        Place::Cpu | Place::Auto => "cannot run the model".to_owned(),
    })?;
    if let Some(note) = engine.note() {
        eprintln!("note: {note}");
    }
    Ok(engine)
}

/// Where a phase runs: `2 threads`, the GPU's name, or both.
pub(super) fn place(engine: &Engine, phase: PhaseArg) -> String {
    let threads = match phase {
        PhaseArg::Decode => engine.options().threads_decode,
        PhaseArg::Prefill => engine.options().threads_prefill,
    };
    match engine.device() {
        Some(gpu) if engine.is_mixed() => format!("{} and {threads} threads", gpu.name),
        Some(gpu) => gpu.name.clone(),
        None => format!("{threads} threads"),
    }
}
