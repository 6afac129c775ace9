//! Logits to a token: greedy, or drawn after top-k, top-p and min-p, in this order, and temperature last.

mod rng;

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::gguf::{Metadata, MetadataError};
use rng::Rng;

/// How to choose. [`SamplingParams::default`] is greedy.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Logits are divided by it; 0 takes the most probable token and ignores all else.
    pub temperature: f32,
    /// Keep the `top_k` most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most probable tokens that make up this much; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this share as probable as the most probable; 0 keeps all.
    pub min_p: f32,
    /// Equal seeds and logits give equal tokens.
    pub seed: u64,
}

impl Default for SamplingParams {
    fn default() -> SamplingParams {
        SamplingParams { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

/// A parameter that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SamplingError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("{name} is {value}; {min} to {max} is wanted")]
    Range { name: &'static str, value: f32, min: f32, max: f32 },
}

impl SamplingParams {
    /// What the model's authors recommend, where the file says so, and greedy where it says nothing.
    pub fn from_metadata(metadata: &Metadata) -> Result<SamplingParams, SamplingError> {
        let float = |key: &str, default: f32| metadata.find::<f32>(key).map(|x| x.unwrap_or(default));
        let default = SamplingParams::default();
        let params = SamplingParams {
            temperature: float("general.sampling.temp", default.temperature)?,
            top_k: metadata.find::<i32>("general.sampling.top_k")?.map_or(0, |k| usize::try_from(k).unwrap_or(0)),
            top_p: float("general.sampling.top_p", default.top_p)?,
            min_p: float("general.sampling.min_p", default.min_p)?,
            seed: default.seed,
        };
        params.validate()?;
        Ok(params)
    }

    /// Checks the ranges; no NaN is in any.
    pub fn validate(&self) -> Result<(), SamplingError> {
        for (name, value, min, max) in [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top-p", self.top_p, 0.0, 1.0),
            ("min-p", self.min_p, 0.0, 1.0),
        ] {
            if !(min..=max).contains(&value) {
                return Err(SamplingError::Range { name, value, min, max });
            }
        }
        Ok(())
    }
}

/// What a sampler chooses by.
#[derive(Clone, Copy, Debug)]
pub enum Scores<'a> {
    /// The logits of the whole vocabulary.
    All(&'a [f32]),
    /// Tokens with the largest logits, the largest first and of equals the lower id, NaN last: at least as many as
    /// [`Sampler::wants`], or all there are.
    Top(&'a [(u32, f32)]),
}

/// Sampling among more than these looks at all logits.
const MOST_CANDIDATES: usize = 64;

/// Chooses tokens, one after another.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: Rng,
    /// Kept from call to call: the vocabulary is large.
    candidates: Vec<(f32, u32)>,
    weights: Vec<f64>,
}

impl Sampler {
    /// A sampler at the start of its seed's sequence.
    pub fn new(params: SamplingParams) -> Result<Sampler, SamplingError> {
        params.validate()?;
        Ok(Sampler { rng: Rng::new(params.seed), params, candidates: Vec::new(), weights: Vec::new() })
    }

    /// The parameters.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Chooses by the logits of the whole vocabulary. A NaN is never chosen while any logit is a number; if none is,
    /// or there are no logits, the choice is token 0. Of equal logits the first token counts as the more probable.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        self.choose(Scores::All(logits))
    }

    /// How many of the largest logits the choice depends on; `None` if on more than are worth picking out.
    pub fn wants(&self) -> Option<usize> {
        match self.params.top_k {
            _ if self.params.temperature == 0.0 => Some(1),
            k => (1..=MOST_CANDIDATES).contains(&k).then_some(k),
        }
    }

    /// As [`Self::sample`], also by the largest logits alone: the choice is the same.
    pub fn choose(&mut self, scores: Scores<'_>) -> u32 {
        match scores {
            Scores::All(logits) if self.params.temperature == 0.0 => return argmax(logits),
            Scores::Top(top) if self.params.temperature == 0.0 => {
                return top.first().filter(|(_, x)| *x > f32::NEG_INFINITY).map_or(0, |(id, _)| *id);
            }
            Scores::All(logits) => self.keep_top_k(logits.iter().zip(0u32..).map(|(x, id)| (*x, id))),
            Scores::Top(top) => self.keep_top_k(top.iter().map(|(id, x)| (*x, *id))),
        }
        if self.candidates.is_empty() {
            return 0;
        }
        let p = &self.params;
        if p.top_p < 1.0 {
            softmax(&self.candidates, 1.0, &mut self.weights);
            let mut sum = 0.0;
            let enough = self.weights.iter().position(|w| {
                sum += w;
                sum >= f64::from(p.top_p)
            });
            self.candidates.truncate(enough.map_or(self.candidates.len(), |last| last + 1));
        }
        if p.min_p > 0.0 {
            let least = self.candidates[0].0 + p.min_p.ln();
            self.candidates.retain(|(logit, _)| *logit >= least);
        }
        softmax(&self.candidates, f64::from(p.temperature), &mut self.weights);
        let mut left = self.rng.unit();
        for (weight, (_, id)) in self.weights.iter().zip(&self.candidates) {
            left -= weight;
            if left < 0.0 {
                return *id;
            }
        }
        // Rounding left a little over.
        self.candidates[self.candidates.len() - 1].1
    }

    /// The candidates, the most probable first.
    fn keep_top_k(&mut self, logits: impl Iterator<Item = (f32, u32)>) {
        self.candidates.clear();
        // Adding zero makes −0 the same as 0.
        self.candidates.extend(logits.filter(|(x, _)| !x.is_nan()).map(|(x, id)| (x + 0.0, id)));
        let k = self.params.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k, descending);
            self.candidates.truncate(k);
        }
        self.candidates.sort_unstable_by(descending);
        // Infinities are brought to where differences are numbers; no finite logit is moved.
        self.candidates.iter_mut().for_each(|(x, _)| *x = x.clamp(f32::MIN, f32::MAX));
    }
}

/// The token with the largest logit, the first of equals; 0 if none is a number.
pub fn argmax(logits: &[f32]) -> u32 {
    let mut best = (f32::NEG_INFINITY, 0);
    for (x, id) in logits.iter().zip(0u32..) {
        if *x > best.0 {
            best = (*x, id);
        }
    }
    best.1
}

fn descending(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Probabilities of candidates in descending order.
fn softmax(candidates: &[(f32, u32)], temperature: f64, out: &mut Vec<f64>) {
    let max = candidates.first().map_or(0.0, |c| f64::from(c.0));
    out.clear();
    out.extend(candidates.iter().map(|(x, _)| ((f64::from(*x) - max) / temperature).exp()));
    let sum: f64 = out.iter().sum();
    out.iter_mut().for_each(|w| *w /= sum);
}
