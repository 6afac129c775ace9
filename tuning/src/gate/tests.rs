use super::*;
use crate::demo;
use deltascope_kernels::{Backend, Buffer, Op, ops};

#[test]
fn live_inputs_pass_and_a_wrong_result_is_refused() {
    let (mut engine, workload) = demo::engine();
    let info = engine.plan_info(Phase::Decode).unwrap();
    let nodes: Vec<usize> = (0..info.nodes.len())
        .filter(|&i| info.nodes[i].op == Op::GatedDeltaNet || info.nodes[i].op == Op::RmsNorm)
        .collect();
    let picked = representatives(&info, &nodes);
    assert!(!picked.is_empty() && picked.len() < nodes.len(), "layers share their shapes");
    let position = engine.position(0);
    for &i in &picked {
        let node = &info.nodes[i];
        let gate = Gate::at(&mut engine, workload.batch(0).unwrap(), &node.name, Phase::Decode).unwrap();
        assert_eq!(engine.position(0), position, "a gate leaves no trace");
        let stack = engine.stack().clone();
        let defaults = Tunables::defaults(node.variant.spec().tunables);
        let checked = gate.check(&mut engine, node.variant, &defaults, &stack).unwrap();
        assert!(checked.passed());

        // What a variant with a slip in one element would leave behind.
        let mut wrong = check::run_reference(engine.pool(), node.op, node.inst.params, &gate.tap.inputs).unwrap();
        assert!(gate.judge(&wrong, 0.0).is_ok(), "the reference agrees with itself to the bit");
        let out = &mut wrong.outputs[0];
        let mut values: Vec<f32> = out.data.as_f32().to_vec();
        values[0] += 1.0 + values[0].abs();
        out.data = Buffer::from_f32(&values);
        match gate.judge(&wrong, 1e-3) {
            Err(Refusal::Wrong(c)) => assert!(c.against_reference.relative > 1e-3 && c.node == node.name),
            other => panic!("{}: {other:?}", node.name),
        }
    }
}

#[test]
fn a_variant_of_another_op_is_no_candidate() {
    let (mut engine, workload) = demo::engine();
    let gate = Gate::at(&mut engine, workload.batch(0).unwrap(), "output.norm", Phase::Decode).unwrap();
    let scale = ops::variant(Op::Scale, Backend::Cpu, "reference").unwrap();
    let stack = engine.stack().clone();
    let found = gate.check(&mut engine, scale, &Tunables::defaults(&[]), &stack);
    assert!(matches!(found, Err(Refusal::Unsupported(_))), "{found:?}");
    let batch = workload.batch(0).unwrap();
    assert!(Gate::at(&mut engine, batch, "no_such_node", Phase::Decode).is_err());
}

#[test]
fn the_suite_of_a_good_variant_passes() {
    suite(ops::variant(Op::Scale, Backend::Cpu, "blocked").unwrap()).unwrap();
}
