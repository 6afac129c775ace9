//! The machine at hand, as profiles record it.

use deltascope_kernels::cpu::{Isa, Topology};
use deltascope_kernels::cuda::DeviceInfo;
use deltascope_model::Engine;
use deltascope_profiles::{Gpu, Machine};

/// The machine at hand, without its GPUs: finding them takes the driver a while.
pub fn machine() -> Machine {
    describe(&Topology::detect(), Isa::detect())
}

/// The machine at hand with the GPU that an engine runs on, if it does.
pub fn of_engine(engine: &Engine) -> Machine {
    Machine { gpus: engine.device().map(gpu).into_iter().collect(), ..machine() }
}

/// The GPUs of this machine, in the driver's order; none where there is no driver.
pub fn gpus() -> Vec<Gpu> {
    DeviceInfo::all().unwrap_or_default().iter().map(gpu).collect()
}

/// A GPU as profiles record it.
pub fn gpu(d: &DeviceInfo) -> Gpu {
    let (major, minor) = d.compute_capability;
    Gpu {
        name: d.name.clone(),
        compute_capability: Some(format!("{major}.{minor}")),
        memory_gib: Some((d.memory as f64 / (1u64 << 30) as f64).ceil() as u32),
        driver: Some(format!("CUDA {}.{}", d.driver / 1000, d.driver % 1000 / 10)),
    }
}

fn describe(t: &Topology, isa: Isa) -> Machine {
    let features: &[&str] = match isa {
        Isa::Scalar => &[],
        Isa::Avx2(_) => &["avx2", "fma", "f16c"],
        Isa::Avx512Vnni(_) => &["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"],
        Isa::Amx(_) => &[
            "avx2",
            "fma",
            "f16c",
            "avx512f",
            "avx512bw",
            "avx512dq",
            "avx512vl",
            "avx512vnni",
            "amx_tile",
            "amx_int8",
        ],
    };
    Machine {
        cpu: Some(t.brand.clone()).filter(|b| !b.is_empty()),
        isa: features.iter().map(|&f| f.to_owned()).collect(),
        cores: u32::try_from(t.threads()).ok(),
        // Firmware keeps some of the memory for itself: 31.3 GiB are the 32 that were bought.
        memory_gib: (t.memory > 0).then(|| (t.memory as f64 / (1u64 << 30) as f64).ceil() as u32),
        gpus: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_say_is_left_out() {
        let m = describe(&Topology::default(), Isa::Scalar);
        assert_eq!((m.cpu, m.isa.len(), m.cores, m.memory_gib), (None, 0, Some(1), None));
        let t = Topology { brand: "Some CPU".into(), cpus: vec![0, 1], memory: 31 << 30, ..Topology::default() };
        let m = describe(&t, Isa::Scalar);
        assert_eq!((m.cpu.as_deref(), m.cores, m.memory_gib), (Some("Some CPU"), Some(2), Some(31)));
    }

    #[test]
    fn this_machine_fits_itself() {
        let profile = deltascope_profiles::Profile { machine: Some(machine()), ..Default::default() };
        assert!(profile.fit(&machine(), &deltascope_profiles::ModelId::default(), "0").is_empty());
    }
}
