//! The machine at hand, as profiles name it.

use deltascope_kernels::cpu::{Isa, Topology};
use deltascope_profiles::Machine;

/// Processor, features, cores and memory of this machine.
pub fn this_machine() -> Machine {
    describe(&Topology::detect(), Isa::detect())
}

fn describe(topology: &Topology, isa: Isa) -> Machine {
    let isa = match isa {
        Isa::Scalar => &[][..],
        Isa::Avx2(_) => &["avx2", "fma", "f16c"],
        Isa::Avx512Vnni(_) => &["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"],
    };
    Machine {
        cpu: (!topology.brand.is_empty()).then(|| topology.brand.clone()),
        isa: isa.iter().map(|s| (*s).to_owned()).collect(),
        cores: u32::try_from(topology.threads()).ok(),
        memory_gib: u32::try_from((topology.memory + (1 << 29)) >> 30).ok().filter(|&gib| gib > 0),
        gpus: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_say_is_left_out() {
        let nothing = describe(&Topology { cpus: vec![0, 1], ..Topology::default() }, Isa::Scalar);
        assert_eq!(nothing, Machine { cores: Some(2), ..Machine::default() });
        let some = Topology { brand: "EPYC".into(), memory: 24 << 30, cpus: vec![0], ..Topology::default() };
        let some = describe(&some, Isa::Scalar);
        assert_eq!((some.cpu.as_deref(), some.memory_gib), (Some("EPYC"), Some(24)));
    }
}
