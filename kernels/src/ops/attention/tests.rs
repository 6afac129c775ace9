use super::{Attention, seen};
use crate::Buffer;
use crate::check::{Tensor, compare, fill, run_on, run_reference, run_variant};
use crate::ops::{Fill, OpDef};
use crate::plan::Defaults;
use crate::pool::Pool;
use crate::{Backend, DType, Layout, Op, Params, Tunables, Variant};

#[test]
fn a_position_sees_itself_and_what_is_before_it() {
    assert_eq!(seen(0, 10), 1);
    assert_eq!(seen(9, 10), 10);
    assert_eq!(seen(10, 10), 10);
    assert_eq!(seen(i32::MAX, 10), 10);
    assert_eq!(seen(-1, 10), 0);
    assert_eq!(seen(i32::MIN, 10), 0);
}

/// q, caches that are NaN from `written` on, and positions.
fn inputs(dtype: DType, [hd, h, t, s]: [usize; 4], kv: usize, cells: usize, pos: &[i32]) -> Vec<Tensor> {
    let written = pos.iter().max().map_or(0, |&p| p as usize + 1);
    let cache = |seed| {
        let layout = Layout::contiguous(dtype, [hd, cells, kv, s]);
        let mut data = fill(&layout, Fill::Normal(1.0), seed);
        for row in 0..layout.rows() {
            if row % cells >= written {
                let at = row * layout.nb[1];
                data.bytes_mut()[at..at + layout.nb[1]].fill(0xff);
            }
        }
        Tensor { layout, data }
    };
    let q = Layout::f32([hd, h, t, s]);
    vec![
        Tensor { layout: q, data: fill(&q, Fill::Normal(1.0), 1) },
        cache(2),
        cache(3),
        Tensor { layout: Layout::i32([t, s, 1, 1]), data: Buffer::from_i32(pos) },
    ]
}

#[test]
fn cells_that_nobody_sees_may_hold_anything() {
    let params = Params::Softmax { scale: 0.1, causal: true };
    let mut pool = Pool::new(2);
    for (dtype, t, pos) in [
        (DType::F16, 1, vec![130]),
        (DType::F32, 1, vec![0]),
        (DType::F16, 5, vec![60, 61, 62, 63, 64]),
        (DType::F32, 40, (0..40).collect()),
    ] {
        let given = inputs(dtype, [64, 8, t, 1], 2, 1000, &pos);
        let want = run_reference(&mut pool, Op::Attention, params, &given).unwrap();
        assert!(want.outputs[0].data.as_f32().iter().all(|x| x.is_finite()));
        for v in Attention.variants().iter().filter(|v| v.spec().name == "flash") {
            let tunables = Tunables::defaults(v.spec().tunables);
            let got = run_variant(&mut pool, *v, &tunables, params, &given, None, &Defaults).unwrap();
            let d = compare(&want, &got);
            assert!(d.relative <= f64::from(v.spec().tolerance), "{dtype} {t}: {d:?}");
        }
    }
}

/// Large logits of both signs: the maximum rises and falls from block to block.
#[test]
fn large_logits_neither_overflow_nor_vanish() {
    let params = Params::Softmax { scale: 40.0, causal: true };
    let mut pool = Pool::new(2);
    let given = inputs(DType::F32, [32, 4, 3, 1], 1, 300, &[297, 298, 299]);
    let want = run_reference(&mut pool, Op::Attention, params, &given).unwrap();
    for &v in Attention.variants().iter().filter(|v| v.spec().backend == Backend::Cpu) {
        let tunables = Tunables::defaults(v.spec().tunables);
        let got = run_variant(&mut pool, v, &tunables, params, &given, None, &Defaults).unwrap();
        // The error of a logit near 1000 in F32 is 6e-5, and a weight's error is its logit's.
        let d = compare(&want, &got);
        assert!(d.relative < 2e-4, "{}: {d:?}", v.spec().name);
    }
}

/// NaN right behind the last cell that is seen, and maxima that rise from tile to tile.
#[test]
fn tensor_cores_take_no_unseen_cell_and_follow_rising_maxima() {
    if let Err(e) = crate::cuda::Device::first() {
        return println!("no GPU: skipped ({e})");
    }
    let (mut pool, v) = (Pool::new(1), &super::flash_tensor::FLASH_TENSOR);
    let tunables = Tunables::defaults(v.spec().tunables);
    // The error of a logit near 30 with a query of halves is 1e-2, and a weight's error is its logit's.
    for (head, scale, first, tolerance) in [(256, 0.06, 100, 2e-3), (64, 0.125, 0, 2e-3), (64, 1.0, 250, 2e-2)] {
        let params = Params::Softmax { scale, causal: true };
        let pos: Vec<i32> = (first..first + 20).collect();
        let given = inputs(DType::F16, [head, 4, 20, 1], 2, 300, &pos);
        let want = run_reference(&mut pool, Op::Attention, params, &given).unwrap();
        let got = run_on(Backend::Cuda, &mut pool, v, &tunables, params, &given, None, &Defaults).unwrap();
        let d = compare(&want, &got);
        assert!(d.relative < tolerance, "heads of {head}, scale {scale}: {d:?}");
    }
}

/// One row of queries a level, at heads that AVX-512, AVX2 and no vector divides.
#[test]
fn every_level_agrees_with_the_definition() {
    use super::cells::Cells;
    use super::tile::Tile;
    use crate::cpu::Isa;
    for (head, rows, cells) in [(48, 9, 131), (40, 4, 64), (7, 3, 70)] {
        let random = |n: usize, seed| fill(&Layout::f32([n, 1, 1, 1]), Fill::Normal(1.0), seed);
        let (q, k, v) = (random(head * rows, 1), random(head * cells, 2), random(head * cells, 3));
        let row = |x: &Buffer, i: usize| -> Vec<f64> {
            x.as_f32()[i * head..][..head].iter().map(|&x| f64::from(x)).collect()
        };
        for &isa in Isa::available() {
            let mut scratch = Buffer::zeroed(Tile::bytes(rows, head));
            let mut tile = Tile::new(scratch.bytes_mut(), rows, head);
            tile.q.copy_from_slice(q.as_f32());
            (0..rows).for_each(|r| tile.set_seen(r, cells - r));
            let [k_cells, v_cells] = [&k, &v].map(|x| Cells { ptr: x.as_ptr(), stride: head * 4, f16: false });
            // SAFETY: both buffers hold `cells` cells of `head` F32.
            unsafe { tile.attend(isa, k_cells, v_cells, 0, cells) };
            for r in 0..rows {
                let query = row(&q, r);
                let weights: Vec<f64> = (0..cells - r)
                    .map(|c| row(&k, c).iter().zip(&query).map(|(a, b)| a * b).sum::<f64>().exp())
                    .collect();
                let sum: f64 = weights.iter().sum();
                for i in 0..head {
                    let want: f64 = weights.iter().enumerate().map(|(c, w)| w * row(&v, c)[i]).sum::<f64>() / sum;
                    let got = f64::from(tile.acc[r * head + i] / tile.max_and_sum(r).1);
                    assert!((got - want).abs() < 1e-5, "{isa} head {head} row {r}: {got} is not {want}");
                }
            }
        }
    }
}
