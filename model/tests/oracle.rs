//! The engine against Hugging Face transformers in fp32, on two random models in F32: logits of prefill and decode for
//! every ubatch and preset, the same bits for every number of threads, and layer outputs to name the first that differs.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use deltascope_model::qwen3next::Logits;
use deltascope_model::{Batch, Engine, Model, Options};
use deltascope_profiles::{Origin, Preset, Stack, presets};
use std::collections::HashMap;
use std::sync::Arc;

/// llama.cpp reaches this on these files.
const TOLERANCE: f64 = 4e-5;
const MODELS: [&str; 2] = ["oracle-small", "oracle-heads"];

/// A tensor of the reference: rows of F32.
struct Rows {
    width: usize,
    data: Vec<f32>,
}

/// Reads a safetensors file: 8 bytes of header length, a JSON header, data.
struct Reference {
    bytes: Vec<u8>,
    header: HashMap<String, serde_json::Value>,
    data: usize,
}

impl Reference {
    fn open(name: &str) -> Reference {
        let bytes = std::fs::read(path(name, "safetensors")).unwrap();
        let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
        Reference { bytes, header, data: 8 + n }
    }

    fn raw(&self, key: &str) -> (&str, &[u8], Vec<usize>) {
        let entry = &self.header[key];
        let number = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
        let range = entry["data_offsets"].as_array().unwrap();
        let (from, to) = (self.data + number(&range[0]), self.data + number(&range[1]));
        let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
        (entry["dtype"].as_str().unwrap(), &self.bytes[from..to], shape)
    }

    fn rows(&self, key: &str) -> Rows {
        let (dtype, bytes, shape) = self.raw(key);
        assert_eq!(dtype, "F32", "{key}");
        let data = bytes.as_chunks::<4>().0.iter().map(|&w| f32::from_le_bytes(w)).collect();
        Rows { width: *shape.last().unwrap(), data }
    }

    fn ids(&self) -> Vec<u32> {
        let (dtype, bytes, _) = self.raw("ids");
        match dtype {
            "I32" => bytes.as_chunks::<4>().0.iter().map(|&w| i32::from_le_bytes(w) as u32).collect(),
            "I64" => bytes.as_chunks::<8>().0.iter().map(|&w| i64::from_le_bytes(w) as u32).collect(),
            other => panic!("ids are {other}"),
        }
    }
}

fn path(name: &str, extension: &str) -> String {
    format!("{}/tests/data/oracle/{name}.{extension}", env!("CARGO_MANIFEST_DIR"))
}

fn engine(name: &str, stack: Stack, threads: usize) -> Engine {
    let model = Arc::new(Model::open(path(name, "gguf")).unwrap());
    let options = Options { n_ctx: 512, threads_decode: threads, threads_prefill: threads, ..Options::default() };
    Engine::new(model, stack, options).unwrap()
}

/// Logits of all ids: the first `prefill` in ubatches, the rest one by one.
fn logits(e: &mut Engine, ids: &[u32], prefill: usize, ubatch: usize) -> Vec<f32> {
    e.reset(0).unwrap();
    let mut out = Vec::new();
    for tokens in ids[..prefill].chunks(ubatch).chain(ids[prefill..].chunks(1)) {
        out.extend_from_slice(e.eval(Batch { tokens, slot: 0, n_seqs: 1, logits: Logits::All }).unwrap());
    }
    out
}

/// ‖a − b‖ / ‖b‖; infinite if the lengths differ.
fn relative(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let square = |x: f64| x * x;
    let (d, n) = a
        .iter()
        .zip(b)
        .fold((0.0, 0.0), |(d, n), (&x, &y)| (d + square(f64::from(x) - f64::from(y)), n + square(f64::from(y))));
    (d / n).sqrt()
}

fn expected(r: &Reference) -> (Vec<f32>, usize) {
    let (p, d) = (r.rows("prefill.logits"), r.rows("decode.logits"));
    let prefill = p.data.len() / p.width;
    ([p.data, d.data].concat(), prefill)
}

#[test]
fn logits_agree_for_every_ubatch() {
    for name in MODELS {
        let r = Reference::open(name);
        let (want, prefill) = expected(&r);
        let mut e = engine(name, Stack::new(), 2);
        for ubatch in [1, 7, 64, 512] {
            let error = relative(&logits(&mut e, &r.ids(), prefill, ubatch), &want);
            assert!(error <= TOLERANCE, "{name}, ubatch {ubatch}: relative error {error:e}");
        }
    }
}

#[test]
fn logits_agree_under_every_preset() {
    for name in MODELS {
        let r = Reference::open(name);
        let (want, prefill) = expected(&r);
        for preset in presets() {
            let mut stack = Stack::new();
            stack.push(Origin::Preset(preset.name.into()), Preset::named(preset.name).unwrap().profile().unwrap());
            let mut e = engine(name, stack, 2);
            // The first preset has every op the old way; the others lie between it and the defaults.
            let ubatches: &[usize] = if preset.name == presets()[0].name { &[1, 7, 64, 512] } else { &[64] };
            for &ubatch in ubatches {
                let error = relative(&logits(&mut e, &r.ids(), prefill, ubatch), &want);
                assert!(error <= TOLERANCE, "{name}, {}, ubatch {ubatch}: relative error {error:e}", preset.name);
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for name in MODELS {
        let r = Reference::open(name);
        let (_, prefill) = expected(&r);
        let ids = r.ids();
        let mut first: Option<Vec<u32>> = None;
        for threads in [1, 2, 3, 4, 8] {
            let mut e = engine(name, Stack::new(), threads);
            let bits: Vec<u32> = logits(&mut e, &ids, prefill, 64).iter().map(|x| x.to_bits()).collect();
            match &first {
                None => first = Some(bits),
                Some(f) => assert!(*f == bits, "{name}: {threads} threads give other bits than one"),
            }
        }
    }
}

/// The outputs of each layer, in the order in which they are computed: the first that differs is where to look.
#[test]
fn layers_agree_one_by_one() {
    for name in MODELS {
        let r = Reference::open(name);
        let (_, prefill) = expected(&r);
        let mut e = engine(name, Stack::new(), 2);
        let model = Arc::clone(e.model());
        let n_layer = model.config.n_layer();
        let mut nodes: Vec<String> = Vec::new();
        for i in 0..n_layer {
            let mixer = match model.config.layers[i] {
                deltascope_model::config::LayerKind::Delta => "ssm_out",
                deltascope_model::config::LayerKind::Attention => "attn_output",
            };
            nodes.push(format!("blk.{i}.{mixer}"));
            if mixer == "ssm_out" {
                nodes.push(format!("blk.{i}.delta_net"));
            }
            nodes.push(format!("blk.{i}.ffn"));
            // What follows the layer adds its branches: its first output is what the layer hands on. Nobody reads the last sum
            // behind the norm, so that it is there only as long as the norm's step.
            nodes.push(if i + 1 < n_layer { format!("blk.{}.attn_in", i + 1) } else { "output.norm".into() });
        }
        let batch = Batch { tokens: &r.ids()[..prefill], slot: 0, n_seqs: 1, logits: Logits::All };
        let taps = e.eval_tapped(batch, &nodes).unwrap();
        assert_eq!(taps.len(), nodes.len());
        let find = |node: &str| taps.iter().find(|t| t.node == node).unwrap().result.outputs[0].data.as_f32();
        for i in 0..n_layer {
            let delta = model.config.layers[i] == deltascope_model::config::LayerKind::Delta;
            let mixer = if delta { "ssm_out" } else { "attn_output" };
            let out = if i + 1 < n_layer { format!("blk.{}.attn_in", i + 1) } else { "output.norm".into() };
            let mut checks = vec![("mixer", format!("blk.{i}.{mixer}")), ("ffn", format!("blk.{i}.ffn")), ("out", out)];
            if delta {
                checks.insert(0, ("gated_norm", format!("blk.{i}.delta_net")));
            }
            for (what, node) in checks {
                let key = format!("layer.{i}.{what}");
                if !r.header.contains_key(&key) {
                    continue;
                }
                let error = relative(find(&node), &r.rows(&key).data);
                assert!(error <= TOLERANCE, "{name}: {key} ({node}) is the first that differs: {error:e}");
            }
        }
    }
}
