use super::*;
use crate::gguf::Value;
use proptest::collection;
use proptest::prelude::*;

fn sampler(change: impl FnOnce(&mut SamplingParams)) -> Sampler {
    let mut params = SamplingParams { temperature: 1.0, seed: 7, ..SamplingParams::default() };
    change(&mut params);
    Sampler::new(params).unwrap()
}

/// Shares of the tokens in many draws.
fn shares(mut s: Sampler, logits: &[f32]) -> Vec<f64> {
    const N: usize = 20_000;
    let mut counts = vec![0usize; logits.len()];
    for _ in 0..N {
        counts[s.sample(logits) as usize] += 1;
    }
    counts.into_iter().map(|n| n as f64 / N as f64).collect()
}

/// Logits of the probabilities 0.5, 0.25, 0.15, 0.1, shuffled.
fn logits() -> Vec<f32> {
    [0.15f32, 0.5, 0.1, 0.25].iter().map(|p| p.ln() + 3.0).collect()
}

#[track_caller]
fn assert_close(found: &[f64], wanted: &[f64]) {
    // Three standard deviations of a share in 20,000 draws are at most 0.0107; seeds are fixed.
    let close = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 0.0107 && (*b > 0.0 || *a == 0.0));
    assert!(close, "{found:?} is not {wanted:?}");
}

#[test]
fn draws_follow_the_distribution() {
    assert_close(&shares(sampler(|_| {}), &logits()), &[0.15, 0.5, 0.1, 0.25]);
}

#[test]
fn temperature_sharpens_and_flattens() {
    let squares = [0.0225, 0.25, 0.01, 0.0625].map(|p: f64| p / 0.345);
    assert_close(&shares(sampler(|p| p.temperature = 0.5), &logits()), &squares);
    let flat = shares(sampler(|p| p.temperature = 100.0), &logits());
    assert!(flat.iter().all(|p| (p - 0.25).abs() < 0.02), "{flat:?}");
}

#[test]
fn top_k_top_p_and_min_p_cut_the_tail() {
    assert_close(&shares(sampler(|p| p.top_k = 2), &logits()), &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]);
    assert_close(&shares(sampler(|p| p.top_k = 9), &logits()), &[0.15, 0.5, 0.1, 0.25]);
    assert_close(&shares(sampler(|p| p.top_p = 0.8), &logits()), &[1.0 / 6.0, 5.0 / 9.0, 0.0, 5.0 / 18.0]);
    assert_close(&shares(sampler(|p| p.top_p = 0.0), &logits()), &[0.0, 1.0, 0.0, 0.0]);
    assert_close(&shares(sampler(|p| p.min_p = 0.4), &logits()), &[0.0, 2.0 / 3.0, 0.0, 1.0 / 3.0]);
    // Of the two that top-k keeps, the first alone makes up 0.6.
    let both = sampler(|p| (p.top_k, p.top_p) = (2, 0.6));
    assert_close(&shares(both, &logits()), &[0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    let mut s = Sampler::new(SamplingParams::default()).unwrap();
    assert_eq!(s.sample(&[1.0, 3.0, 3.0, -2.0]), 1);
    assert_eq!(s.sample(&[f32::NAN, -5.0, f32::NAN, -4.0]), 3);
    assert_eq!(s.sample(&[f32::NEG_INFINITY, f32::INFINITY]), 1);
}

#[test]
fn what_is_no_number_is_never_drawn() {
    let shares = shares(sampler(|_| {}), &[f32::NAN, 0.0, f32::NEG_INFINITY, 0.0]);
    assert_close(&shares, &[0.0, 0.5, 0.0, 0.5]);
    let mut s = sampler(|p| (p.top_p, p.min_p) = (0.9, 0.1));
    assert_eq!(s.sample(&[1.0, f32::INFINITY, f32::NAN]), 1);
    assert_eq!(s.sample(&[f32::NAN; 3]), 0);
    assert_eq!(s.sample(&[]), 0);
    assert!(s.sample(&[f32::NEG_INFINITY; 2]) < 2);
}

#[test]
fn a_seed_names_a_sequence() {
    let draw = |seed| {
        let mut s = sampler(|p| p.seed = seed);
        (0..64).map(|_| s.sample(&logits())).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn parameters_are_checked_and_read() {
    let nan = SamplingParams { top_p: f32::NAN, ..SamplingParams::default() };
    assert_eq!(Sampler::new(nan).unwrap_err().to_string(), "top-p is NaN; 0 to 1 is wanted");
    assert!(SamplingParams { temperature: -1.0, ..SamplingParams::default() }.validate().is_err());
    let metadata = Metadata::from_iter([
        ("general.sampling.top_k", Value::I32(20)),
        ("general.sampling.top_p", Value::F32(0.8)),
        ("general.sampling.temp", Value::F32(0.7)),
    ]);
    let read = SamplingParams::from_metadata(&metadata).unwrap();
    assert_eq!((read.top_k, read.top_p, read.temperature, read.min_p), (20, 0.8, 0.7, 0.0));
    assert_eq!(SamplingParams::from_metadata(&Metadata::default()).unwrap(), SamplingParams::default());
}

/// Equal, infinite and no numbers.
const AWKWARD: &[f32] =
    &[0.0, -0.0, 1.0, 1.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN];

proptest! {
    #[test]
    fn the_largest_logits_are_enough(
        logits in collection::vec(prop_oneof![4 => -9.0..9.0f32, 1 => prop::sample::select(AWKWARD)], 1..300),
        temperature in prop_oneof![Just(0.0f32), 0.1..2.0f32],
        top_k in 1usize..=64,
        (top_p, min_p) in (0.0..1.0f32, 0.0..0.5f32),
        seed: u64,
    ) {
        let params = SamplingParams { temperature, top_k, top_p, min_p, seed };
        let (mut all, mut few) = (Sampler::new(params.clone()).unwrap(), Sampler::new(params).unwrap());
        let mut top: Vec<(u32, f32)> = logits.iter().enumerate().map(|(id, x)| (id as u32, *x)).collect();
        // The order of the op `candidates`; the sort keeps that of equals.
        top.sort_by(|(_, x), (_, y)| x.is_nan().cmp(&y.is_nan()).then(y.partial_cmp(x).unwrap_or(Ordering::Equal)));
        top.truncate(few.wants().unwrap());
        for _ in 0..4 {
            prop_assert_eq!(few.choose(Scores::Top(&top)), all.sample(&logits));
        }
    }
}
