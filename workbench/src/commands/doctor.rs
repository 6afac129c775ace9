//! `doctor`: what this machine is and what the program makes of it.

use super::{open_model, stack};
use crate::cli::ModelArgs;
use clap::Args;
use deltascope_kernels::cpu::{Isa, Topology, bandwidth};
use deltascope_kernels::cuda::{Cache, Cupti, Device, DeviceInfo, Nvrtc};
use deltascope_kernels::pool::Pool;
use deltascope_profiles::user_profile_path;
use std::time::Instant;

/// Of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Leave out what must be measured.
    #[arg(long)]
    quick: bool,
}

/// Prints the findings.
///
/// # Errors
/// If the model or a profile cannot be read.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let t = Topology::detect();
    println!("machine    {}", t.summary());
    println!("kernels    {} (DELTASCOPE_ISA=scalar|avx2|avx512|amx caps it)", Isa::detect().name());
    println!("threads    {} by default", t.threads());
    for line in gpus() {
        println!("gpu        {line}");
    }
    if !args.quick {
        let n = t.threads();
        println!("fork-join  {:.2} µs with {n} threads", fork_join_us(n));
        let bytes = bandwidth::buffer_bytes(&t);
        println!("memory     {:.1} GB/s read by {n} threads", bandwidth::read_bandwidth(n, bytes) / 1e9);
    }
    let (model, label) = open_model(&args.model)?;
    let id = model.id();
    println!(
        "model      {} ({label}): {}, {} MiB, {} MiB read a token",
        model.name,
        id.geometry.unwrap_or_default(),
        model.weights.bytes() >> 20,
        model.bytes_per_token() as u64 >> 20
    );
    if model.config.n_nextn > 0 {
        println!("           {} multi-token-prediction block(s) in the file, not run", model.config.n_nextn);
    }
    match user_profile_path() {
        Some(p) => println!("profile    {} ({})", p.display(), if p.exists() { "in force" } else { "not there" }),
        None => println!("profile    no home folder, so no profile of your own"),
    }
    for layer in stack(&args.model, &model)?.layers() {
        println!(
            "layer      {}: {} of {} choices in force",
            layer.origin,
            layer.in_force().count(),
            layer.profile.choices.len()
        );
    }
    Ok(())
}

/// Each GPU with what is free of its memory and what compiles for it, or why none is used.
fn gpus() -> Vec<String> {
    let devices = match DeviceInfo::all() {
        Ok(devices) => devices,
        Err(e) => return vec![e.to_string()],
    };
    let nvrtc = Nvrtc::load();
    let describe = |d: &DeviceInfo| {
        let compiler = nvrtc.as_ref().map_err(Clone::clone).and_then(|n| {
            let arch = n.arch_for(d.compute_capability)?;
            Ok(format!("NVRTC {} compiles for {arch}", n.version_text()))
        });
        let compiler = compiler.unwrap_or_else(|e| format!("not used: {e}"));
        let free = match Device::open(d.ordinal, Cache::of_user()).and_then(|d| d.memory()) {
            Ok((free, _)) => format!("{:.1} GiB free; ", free as f64 / (1u64 << 30) as f64),
            // Without a compiler no device is opened; that is said already.
            Err(_) => String::new(),
        };
        format!("{}: {d}; {free}{compiler}", d.ordinal)
    };
    // What they say of their clocks, below them.
    let now = |d: &DeviceInfo| d.readings().map_or_else(|e| format!("   {e}"), |r| format!("   now {r}"));
    devices.iter().flat_map(|d| [describe(d), now(d)]).chain([cupti(&devices)]).collect()
}

/// Whether kernels can be timed whole.
fn cupti(devices: &[DeviceInfo]) -> String {
    match Cupti::load(devices.iter().map(|d| d.driver).max().unwrap_or(0)) {
        Ok(cupti) => format!("CUPTI {} times kernels of whole runs", cupti.version),
        Err(e) => format!("kernels are timed by events: {e}"),
    }
}

/// Time to enter the pool and leave it again, microseconds: the median of many.
fn fork_join_us(threads: usize) -> f64 {
    let mut pool = Pool::new(threads);
    let mut times: Vec<f64> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            pool.run(threads, |_, _| {});
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
