//! `conv_shift`: the state of [`ssm_conv`](super::ssm_conv) moves on by a run's tokens: of state and x end to end, the
//! last columns stay.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | x | `[C, T, S]` | raw inputs |
//! | state | `[C, K-1, S]` | oldest first; updated |

mod blocks;

use super::{Case, Input, OpDef, Reference, ShapeError};
use crate::{Call, Cost, Instance, Layout, Op, Params, Variant};

/// The definition.
pub struct ConvShift;

static REFERENCE: Reference = Reference::new(Op::ConvShift, &ConvShift);
static VARIANTS: &[&dyn Variant] = &[&blocks::BLOCKS, &REFERENCE];

/// Numbers of input tensors.
const X: usize = 0;
const STATE: usize = 1;

impl OpDef for ConvShift {
    fn op(&self) -> Op {
        Op::ConvShift
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "state"]
    }

    fn updates(&self) -> &'static [usize] {
        &[STATE]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        ShapeError::unless_f32(inputs)?;
        let ([c, _, s, one], state) = (inputs[X].ne, inputs[STATE].ne);
        ShapeError::unless(one == 1 && state == [c, state[1], s, 1], || {
            format!("state is {state:?} for x {:?}", inputs[X].ne)
        })?;
        Ok(Vec::new())
    }

    /// The columns that are moved, read and written.
    fn cost(&self, inst: &Instance) -> Cost {
        Cost { bytes: 2.0 * inst.inputs[STATE].bytes() as f64, flops: 0.0 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, state) = (&call.inputs[X], &call.inputs[STATE]);
        let ([channels, tokens, sequences, _], past) = (x.layout.ne, state.ne(1));
        for s in 0..sequences {
            for k in 0..past {
                for c in 0..channels {
                    let from = tokens + k;
                    // Columns only move towards lower numbers: each is read before it is written.
                    // SAFETY: indices lie inside the layouts that `infer` checked.
                    unsafe {
                        let v = if from < past {
                            state.get_f32([c, from, s, 0])
                        } else {
                            x.get_f32([c, from - past, s, 0])
                        };
                        state.set_f32([c, k, s, 0], v);
                    }
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        // Fewer tokens than the state is long, as many, and more.
        [[3, 1100, 1, 1], [3, 36, 2, 2], [3, 19, 3, 1], [3, 8, 9, 2], [0, 8, 1, 1]]
            .into_iter()
            .map(|[past, c, t, s]| {
                let inputs = vec![Input::normal([c, t, s, 1]), Input::normal([c, past, s, 1])];
                Case::new(format!("{past} columns, {c} channels, {t} tokens, {s} sequences"), Params::None, inputs)
            })
            .collect()
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}
