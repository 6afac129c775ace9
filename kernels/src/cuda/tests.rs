//! Without a GPU: what is missing is said, and every kernel compiles for every architecture. With one: every variant
//! passes its op's suite there.

use super::*;
use crate::Layout;
use crate::check::suite_on;
use crate::ops;
use crate::variant::{Backend, Body, Form, Instance, Tunables, Variant};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::PathBuf;

/// The compiler, or none where it may be missing. CI names the one that it brings along, which must then be there.
fn nvrtc() -> Option<&'static Nvrtc> {
    match Nvrtc::load() {
        Ok(n) => Some(n),
        Err(e) => {
            assert!(std::env::var_os("DELTASCOPE_NVRTC").is_none(), "DELTASCOPE_NVRTC names none: {e}");
            println!("NVRTC not found: skipped ({e})");
            None
        }
    }
}

fn device() -> Option<&'static Device> {
    Device::first().map_err(|e| println!("no GPU: skipped ({e})")).ok()
}

/// Every unit that an op's cases need, with the tunables' defaults.
fn units() -> Vec<Unit> {
    let mut all = HashSet::new();
    for op in ops::all() {
        for v in ops::variants(op) {
            let Body::Cuda(kernel) = v.body() else { continue };
            let tunables = Tunables::defaults(v.spec().tunables);
            for case in ops::def(op).cases() {
                let mut inputs: Vec<Layout> = case.inputs.iter().map(|i| i.layout).collect();
                let outputs = ops::def(op).infer(&case.params, &inputs).unwrap();
                let inst = Instance { op, params: case.params, inputs: inputs.clone(), outputs };
                if v.supports(&inst).is_err() {
                    continue;
                }
                for (i, l) in inputs.iter_mut().enumerate() {
                    if let Form::Quantised(to) = kernel.form(&inst, i) {
                        *l = Layout::contiguous(to, l.ne);
                    }
                }
                let inst = Instance { inputs, ..inst };
                let unit = kernel.unit(&inst, &tunables);
                for launch in kernel.launches(&inst, &tunables) {
                    let entry = format!("{}(", launch.entry);
                    assert!(unit.sources.iter().any(|s| s.contains(&entry)), "{op}: no entry {entry}");
                    let [x, y, z] = launch.block;
                    assert!((1..=1024).contains(&(x * y * z)), "{op}: blocks of {:?}", launch.block);
                }
                all.insert(unit);
            }
        }
    }
    all.into_iter().collect()
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    if nvrtc().is_none() {
        return;
    }
    let archs = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0)];
    let compilers: Vec<Compiler> = archs.iter().map(|&a| Compiler::new(a, Cache::none()).unwrap()).collect();
    let units = units();
    assert!(units.len() > 40, "{} units", units.len());
    let mut failures: Vec<String> = units
        .par_iter()
        .flat_map_iter(|unit| compilers.iter().map(move |c| (unit, c)))
        .filter_map(|(unit, c)| c.compile(unit).err().map(|e| format!("{:?}: {e}", unit.macros)))
        .collect();
    failures.sort();
    failures.truncate(5);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Kernels are started while the one before still runs: one that does not wait reads what is not there yet.
#[test]
fn every_kernel_waits_for_its_turn() {
    let mut kernels = 0;
    for unit in units() {
        for body in unit.sources.iter().flat_map(|s| s.split("KERNEL ").skip(1)) {
            let waits = body.contains("in_turn();")
                || body.contains("wait_for_inputs();") && body.contains("let_next_start();");
            assert!(waits, "{}: {}", unit.name, body.lines().next().unwrap_or_default());
            kernels += 1;
        }
    }
    assert!(kernels > 20, "{kernels} kernels");
}

#[test]
fn a_missing_compiler_is_named_with_what_was_looked_for() {
    let e = Nvrtc::first_of(&[PathBuf::from("/nowhere/libnvrtc.so.12")]).err().unwrap();
    assert!(e.to_string().contains("/nowhere/libnvrtc.so.12") && e.to_string().contains("DELTASCOPE_NVRTC"), "{e}");
}

#[test]
fn an_architecture_that_the_compiler_does_not_know_is_named() {
    let Some(nvrtc) = nvrtc() else { return };
    for capability in [(6, 1), (99, 0)] {
        let e = nvrtc.arch_for(capability).unwrap_err().to_string();
        assert!(e.contains(&format!("{}.{}", capability.0, capability.1)) && e.contains("sm_90"), "{e}");
    }
}

#[test]
fn a_source_that_does_not_compile_gives_the_compilers_log() {
    if nvrtc().is_none() {
        return;
    }
    let compiler = Compiler::new((8, 0), Cache::none()).unwrap();
    let unit = Unit { name: "broken", sources: &["KERNEL f() { undeclared = 1; }"], macros: Vec::new() };
    let e = compiler.compile(&unit).err().unwrap();
    assert!(matches!(e, CudaError::Compile { .. }), "{e}");
    assert!(e.to_string().contains("undeclared") && e.to_string().contains("sm_80"), "{e}");
}

/// A machine without a driver or a device gets an error that says so, and no panic.
#[test]
fn without_a_device_the_user_is_told_what_is_missing() {
    match (available(), Device::open(0, Cache::none())) {
        (Ok(devices), _) => assert!(!devices.is_empty() && devices.iter().all(|d| d.memory > 0)),
        (Err(e), Err(open)) => {
            assert!(e.to_string().contains("CUDA") || e.to_string().contains("NVRTC"), "{e}");
            assert!(!matches!(open, CudaError::NotCuda | CudaError::Unbound { .. }), "{open}");
        }
        (Err(e), Ok(_)) => panic!("opened, though: {e}"),
    }
}

#[test]
fn more_memory_than_there_is_is_refused_before_it_is_taken() {
    let Some(device) = device() else { return };
    let e = DeviceBuffer::zeroed(device, 1 << 50).err().unwrap();
    assert!(matches!(e, CudaError::OutOfMemory { .. }), "{e}");
}

/// `DELTASCOPE_VARIANTS=mul_mat/tensor,moe_down` limits the suite while a kernel is written.
fn wanted(v: &dyn Variant) -> bool {
    let full = format!("{}/{}", v.spec().op, v.spec().name);
    std::env::var("DELTASCOPE_VARIANTS").map_or(true, |list| list.split(',').any(|one| full.starts_with(one)))
}

#[test]
fn every_cuda_variant_passes_its_ops_suite() {
    if device().is_none() {
        return;
    }
    let mut failures = Vec::new();
    for op in ops::all() {
        for v in ops::variants(op).iter().filter(|v| v.spec().backend == Backend::Cuda && wanted(**v)) {
            // Twice, for results that do not repeat.
            let report = suite_on(Backend::Cuda, *v, &[1, 1], 7);
            println!("{op} {}: {} runs, worst {:e}", v.spec().name, report.runs, report.worst.relative);
            if report.runs == 0 {
                failures.push(format!("{op}: nothing ran: {:?}", report.declined));
            }
            failures.extend(report.failures.iter().take(3).map(|f| format!("{op} {}: {f:?}", v.spec().name)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Lowerings serve every backend: their parts need kernels here too, so that the history can be chosen.
#[test]
fn lowerings_pass_their_suites_on_cuda() {
    if device().is_none() {
        return;
    }
    let mut failures = Vec::new();
    for op in ops::all() {
        let lowerings = ops::variants(op).iter().filter(|v| matches!(v.body(), Body::Lowering(_)));
        for v in lowerings.filter(|v| v.serves(Backend::Cuda) && wanted(**v)) {
            let report = suite_on(Backend::Cuda, *v, &[1, 1], 7);
            println!("{op} {}: {} runs, worst {:e}", v.spec().name, report.runs, report.worst.relative);
            if report.runs == 0 {
                failures.push(format!("{op}: nothing ran: {:?}", report.declined));
            }
            failures.extend(report.failures.iter().take(3).map(|f| format!("{op} {}: {f:?}", v.spec().name)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
