//! `moe_down`: the weighted sum of `W_down[id] h` over a token's experts. Activations `[F, n_used, T]`, ids and weights
//! `[n_used, T]`, weight `[F, N, experts]`; the result is `[N, T]`.

use super::{check_experts, check_ids, columns_per_expert, cuda, expert_bytes, grouped, id_of, staged};
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::ops::mul_mat::{dot, weight_row};
use crate::ops::multiply::{
    Columns, Deal, Dequant, Dot, Experts, Gemm, GemmAmx, GemmRows8, Multiply, Piece, Rows8, Weight, group_once,
};
use crate::ops::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::variant::{Body, Form, Kernel, Reason, Spec, Tunables};
use crate::{Backend, Call, Cost, DType, Instance, Layout, Op, Params, Variant};
use std::marker::PhantomData;
use std::ops::Range;

/// The definition.
pub struct MoeDown;

static REFERENCE: Reference = Reference::new(Op::MoeDown, &MoeDown);
static ROWS8: Down<Rows8> = Down::new();
static GEMM_AMX: Down<GemmAmx> = Down::new();
static GEMM_ROWS8: Down<GemmRows8> = Down::new();
static GEMM: Down<Gemm> = Down::new();
static DOT: Down<Dot> = Down::new();
static DEQUANT: Down<Dequant> = Down::new();
static VARIANTS: &[&dyn Variant] =
    &[&grouped::DOWN, &staged::DOWN, &cuda::DOWN, &GEMM_AMX, &ROWS8, &GEMM_ROWS8, &GEMM, &DOT, &DEQUANT, &REFERENCE];

impl OpDef for MoeDown {
    fn op(&self) -> Op {
        Op::MoeDown
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["h", "ids", "weights", "down_exps"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (h, ids, weights, down) = (&inputs[0], &inputs[1], &inputs[2], &inputs[3]);
        ShapeError::unless_f32(&[*h, *weights])?;
        check_ids(ids, h.ne[2])?;
        let fits = h.ne[1] == ids.ne[0] && h.ne[3] == 1 && weights.ne == ids.ne;
        ShapeError::unless(fits, || format!("h {h}, ids {ids} and weights {weights} do not fit"))?;
        check_experts(down, h.ne[0], down.ne[1], down.ne[2])?;
        Ok(vec![Layout::f32([down.ne[1], h.ne[2], 1, 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let (h, ids, down, y) = (&inst.inputs[0], &inst.inputs[1], &inst.inputs[3], &inst.outputs[0]);
        let bytes = expert_bytes(down, ids) + (h.bytes() + 2 * ids.bytes() + y.bytes()) as f64;
        Cost { bytes, flops: 2.0 * h.elements() as f64 * down.ne[1] as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (h, ids, weights, down) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.inputs[3]);
        for t in 0..ids.ne(1) {
            for n in 0..down.ne(1) {
                let mut sum = 0.0;
                for u in 0..ids.ne(0) {
                    // SAFETY: the indices lie inside the tensors.
                    unsafe {
                        let row = weight_row(down, [n, id_of(ids, u, t, down.ne(2)), 0]);
                        let product = dot(&row, |f| h.get_f32([f, u, t, 0]));
                        sum += f64::from(weights.get_f32([u, t, 0, 0])) * f64::from(product);
                    }
                }
                // SAFETY: the index lies inside the result.
                unsafe { call.outputs[0].set_f32([n, t, 0, 0], sum as f32) };
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |dtype: DType, [f, n, experts]: [usize; 3], [used, tokens]: [usize; 2]| {
            let inputs = vec![
                Input::normal([f, used, tokens, 1]),
                Input::i32([used, tokens, 1, 1], Fill::DistinctIds(experts as i32)),
                Input::uniform([used, tokens, 1, 1], 0.05, 0.3),
                Input::weight(dtype, [f, n, experts, 1]),
            ];
            Case::new(format!("{dtype} {f}x{n} {used} of {experts} for {tokens}"), Params::None, inputs)
        };
        vec![
            case(DType::IQ4_XS, [256, 40, 12], [4, 1]),
            case(DType::Q4_K, [256, 24, 5], [3, 9]),
            case(DType::Q8_0, [32, 16, 2], [1, 60]),
            case(DType::Q6_K, [256, 136, 3], [2, 70]),
            case(DType::F32, [19, 7, 4], [2, 5]),
            case(DType::F32, [19, 7, 4], [3, 17]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// One way to multiply.
///
/// For few tokens workers share the rows of the result and take all experts' products for theirs, adding them up expert by
/// expert: no product is stored. For many they share the experts: each is read as it lies, its columns are prepared once, and
/// its products are stored, to be added up in the same order when all are there.
struct Down<M> {
    spec: Spec,
    multiply: PhantomData<M>,
}

impl<M: Multiply> Down<M> {
    const fn new() -> Self {
        let (name, summary, tolerance) = (M::NAME, M::SUMMARY, M::TOLERANCE);
        let tunables = const { &[M::ROWS] };
        let spec = Spec { op: Op::MoeDown, name, revision: 1, backend: Backend::Cpu, summary, tunables, tolerance };
        Down { spec, multiply: PhantomData }
    }
}

impl<M: Multiply> Variant for Down<M> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of the result must be contiguous".into())?;
        M::supports(&inst.inputs[3])
    }

    fn here(&self) -> Result<(), Reason> {
        M::here()
    }

    fn preferred(&self, inst: &Instance) -> bool {
        M::preferred(&inst.inputs[3], columns_per_expert(&inst.inputs[3], &inst.inputs[1]))
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Most sums that a worker holds at a time: a quarter of a usual second cache level.
const SUMS: usize = 32 << 10;

/// Rows of the result that a worker takes at a time, a multiple of `task`: many for a token, so that it reads long
/// stretches of each expert, fewer for a prompt, whose sums must stay in cache.
fn block(task: usize, rows: usize, tokens: usize) -> usize {
    (SUMS / tokens.max(1) / task * task).clamp(task, rows.next_multiple_of(task).max(task))
}

/// Bytes of `n` f32 in scratch.
fn floats(n: usize) -> usize {
    (4 * n).next_multiple_of(64)
}

/// The first `n` f32 of scratch that is aligned to 64, and the rest, aligned so too.
fn take_f32(scratch: &mut [u8], n: usize) -> (&mut [f32], &mut [u8]) {
    let (own, rest) = scratch.split_at_mut(floats(n));
    debug_assert!(own.as_ptr().cast::<f32>().is_aligned());
    // SAFETY: aligned, long enough, and every bit pattern is an f32.
    (unsafe { std::slice::from_raw_parts_mut(own.as_mut_ptr().cast::<f32>(), n) }, rest)
}

impl<M: Multiply> Kernel for Down<M> {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        match index {
            0 => M::activation_form(&inst.inputs[3], &inst.inputs[0]),
            3 => M::weight_form(&inst.inputs[3]),
            _ => Form::AsIs,
        }
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let (ids, down) = (&inst.inputs[1], &inst.inputs[3]);
        let tasks = down.ne[1].div_ceil(tunables.get(0).next_multiple_of(M::GROUP));
        if group_once(ids) { tasks * ids.elements().min(down.ne[2]) } else { tasks }
    }

    fn scratch(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let (ids, down) = (&inst.inputs[1], &inst.inputs[3]);
        if group_once(ids) {
            return M::scratch(down);
        }
        let block = block(tunables.get(0).next_multiple_of(M::GROUP), down.ne[1], ids.ne[1]);
        Experts::scratch(ids, down.ne[2]) + floats(ids.elements()) + floats(block * ids.ne[1]) + M::scratch(down)
    }

    fn shared_scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let (ids, down) = (&inst.inputs[1], &inst.inputs[3]);
        if group_once(ids) { Experts::scratch(ids, down.ne[2]) + floats(ids.elements() * down.ne[1]) } else { 0 }
    }

    fn phases(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        if group_once(&inst.inputs[1]) { 3 } else { 1 }
    }

    /// A piece of many tokens prepares the columns of the experts that it has, which are few.
    fn divisible(&self, inst: &Instance) -> bool {
        group_once(&inst.inputs[1])
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (ids, experts) = (&call.inputs[1], call.inputs[3].ne(2));
        if !group_once(&ids.layout) {
            // SAFETY: the contract is the same.
            return unsafe { by_rows::<M>(call) };
        }
        // SAFETY: the contract is the same; the shared scratch has the experts, then the products, as phases go by.
        unsafe {
            let products = call.shared.add(Experts::scratch(&ids.layout, experts)).cast::<f32>();
            match call.phase {
                0 if call.ith == 0 => Experts::group_for_all(ids, experts, call.shared),
                0 => {}
                1 => by_expert::<M>(call, &Experts::grouped(&ids.layout, experts, call.shared), products),
                _ => sum_up(call, &Experts::grouped(&ids.layout, experts, call.shared), products),
            }
        }
    }
}

/// Products of a part of the experts, all rows of a slot side by side, slots in their order by expert.
///
/// # Safety
/// As [`Kernel::run`]; the slots are grouped, and `products` has room for all.
unsafe fn by_expert<M: Multiply>(call: &mut Call<'_>, experts: &Experts<'_>, products: *mut f32) {
    let (h, ids, down) = (&call.inputs[0], &call.inputs[1], &call.inputs[3]);
    let n = down.ne(1);
    let task = call.tunables.get(0).next_multiple_of(M::GROUP);
    let deal = Deal { rows: n, task, fixed: M::FIXED, ith: call.ith, nth: call.nth };
    // SAFETY: h has a row for each slot.
    let all = unsafe { Columns::planes(h, 0, ids.ne(1), 0) };
    for Piece { expert, rows, slots } in experts.share(deal) {
        let columns = all.indexed(&experts.slots[slots.clone()]);
        // SAFETY: expert, rows and columns exist; no other part has these rows of this expert.
        unsafe {
            let w = Weight::of(down, expert, 0);
            M::rows(&w, rows, &columns, 0..slots.len(), call.scratch, &mut |i, row, some| {
                let to = products.add((slots.start + i) * n + row);
                std::ptr::copy_nonoverlapping(some.as_ptr(), to, some.len());
            });
        }
    }
}

/// The weighted sums of a part of the tokens, expert by expert.
///
/// # Safety
/// As [`Kernel::run`]; all products are there.
unsafe fn sum_up(call: &mut Call<'_>, experts: &Experts<'_>, products: *const f32) {
    let (ids, weights, y) = (&call.inputs[1], &call.inputs[2], &call.outputs[0]);
    let (used, n, isa) = (ids.ne(0), y.ne(0), Isa::detect());
    for t in call.share(ids.ne(1)) {
        // SAFETY: row t exists, its elements are contiguous, and it is this part's.
        let sums = unsafe { std::slice::from_raw_parts_mut(y.row_ptr(t, 0, 0).cast::<f32>(), n) };
        sums.fill(0.0);
        let mut next = 0;
        for _ in 0..used {
            // Few, and rising places are rising experts.
            let places = experts.places[used * t..][..used].iter().enumerate();
            let Some((u, &place)) = places.filter(|&(_, &p)| p >= next).min_by_key(|&(_, &p)| p) else { break };
            next = place + 1;
            // SAFETY: each slot has a weight and products.
            unsafe {
                let products = std::slice::from_raw_parts(products.add(place as usize * n), n);
                dispatch(isa, AddWeighted { sums, products, weight: weights.get_f32([u, t, 0, 0]) });
            }
        }
    }
}

/// `sums += weight * products`.
struct AddWeighted<'a> {
    sums: &'a mut [f32],
    products: &'a [f32],
    weight: f32,
}

impl Task for AddWeighted<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        for (sum, product) in self.sums.iter_mut().zip(self.products) {
            *sum += self.weight * product;
        }
    }
}

/// The weighted sums of a part of the rows.
///
/// # Safety
/// As [`Kernel::run`].
unsafe fn by_rows<M: Multiply>(call: &mut Call<'_>) {
    let (h, ids, weights, down) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.inputs[3]);
    let (y, n, used, tokens) = (&call.outputs[0], down.ne(1), ids.ne(0), ids.ne(1));
    let task = call.tunables.get(0).next_multiple_of(M::GROUP);
    let block = block(task, n, tokens);
    let mine = call.share(n.div_ceil(task));
    // SAFETY: ids are live.
    let (experts, rest) = unsafe { Experts::group(ids, down.ne(2), call.scratch) };
    // SAFETY: h has a row for each slot.
    let all = unsafe { Columns::planes(h, 0, tokens, 0) };
    let (weight, rest) = take_f32(rest, ids.layout.elements());
    let (sums, rest) = take_f32(rest, block * tokens);
    // Weights in the order of the slots, so that the inner loop neither divides nor looks for them.
    for (weight, &slot) in weight.iter_mut().zip(experts.slots) {
        // SAFETY: each slot has a weight.
        *weight = unsafe { weights.get_f32([slot as usize % used, slot as usize / used, 0, 0]) };
    }
    let end = (mine.end * task).min(n);
    for first in (mine.start * task..end).step_by(block) {
        let rows: Range<usize> = first..end.min(first + block);
        let width = rows.len();
        sums[..width * tokens].fill(0.0);
        for (expert, slots) in experts.iter() {
            let columns = all.indexed(&experts.slots[slots.clone()]);
            let (weight, token) = (&weight[slots.clone()], &experts.tokens[slots.clone()]);
            // SAFETY: expert, rows and columns exist.
            unsafe {
                let w = Weight::of(down, expert, 0);
                M::rows(&w, rows.clone(), &columns, 0..slots.len(), rest, &mut |i, row, products| {
                    let sums = &mut sums[token[i] as usize * width + row - first..][..products.len()];
                    for (sum, product) in sums.iter_mut().zip(products) {
                        *sum += weight[i] * product;
                    }
                });
            }
        }
        for (t, sums) in sums[..width * tokens].chunks_exact(width).enumerate() {
            // SAFETY: row t exists, its elements are contiguous, and these are this worker's.
            unsafe {
                let to = y.row_ptr(t, 0, 0).cast::<f32>().add(first);
                std::ptr::copy_nonoverlapping(sums.as_ptr(), to, width);
            }
        }
    }
}
