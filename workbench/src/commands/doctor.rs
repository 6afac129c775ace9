//! `doctor`: what this machine is and what the program makes of it.

use super::{open_model, stack};
use crate::cli::ModelArgs;
use clap::Args;
use deltascope_kernels::cpu::{Isa, Topology, bandwidth};
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
    println!("kernels    {} (DELTASCOPE_ISA=scalar|avx2|avx512 caps it)", Isa::detect().name());
    println!("threads    {} by default", t.threads());
    println!("gpu        not used: the engine runs on the CPU");
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
