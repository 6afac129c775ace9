use super::{Level, Task, dispatch, dot, exp, max, sigmoid, silu, softplus, sum, sum_squares};
use crate::cpu::Isa;

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Sigmoid,
    Silu,
    Softplus,
}

struct Map<'a>(Function, &'a [f32], &'a mut [f32]);

impl Task for Map<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        // Not through a `Fn`: its call would not be compiled for the level.
        macro_rules! each {
            ($f:ident) => {
                for (x, y) in self.1.iter().zip(self.2) {
                    *y = $f::<L>(*x);
                }
            };
        }
        match self.0 {
            Function::Exp => each!(exp),
            Function::Sigmoid => each!(sigmoid),
            Function::Silu => each!(silu),
            Function::Softplus => each!(softplus),
        }
    }
}

fn map(isa: Isa, f: Function, x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    dispatch(isa, Map(f, x, &mut y));
    y
}

/// The definition in F64.
fn exact(f: Function, x: f64) -> f64 {
    match f {
        Function::Exp => x.exp(),
        Function::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Function::Silu => x / (1.0 + (-x).exp()),
        Function::Softplus => x.exp().ln_1p(),
    }
}

#[test]
fn functions_are_close_to_their_definitions_at_every_level() {
    let x: Vec<f32> = (-870_000..880_000).map(|i| i as f32 * 1e-4).collect();
    for &isa in Isa::available() {
        for f in [Function::Exp, Function::Sigmoid, Function::Silu, Function::Softplus] {
            let y = map(isa, f, &x);
            for (&x, &y) in x.iter().zip(&y) {
                let want = exact(f, f64::from(x));
                // A product with a power of two rounds once more where it leaves the normal numbers.
                let error = (f64::from(y) - want).abs() / want.abs().max(f64::from(f32::MIN_POSITIVE));
                let bound = if matches!(f, Function::Exp) { 2e-7 } else { 4e-7 };
                assert!(error < bound, "{isa} {f:?}({x}) = {y:e}, not {want:e}: {error:e}");
            }
        }
    }
}

#[test]
fn ends_of_the_range_and_nan() {
    let x = [f32::NEG_INFINITY, -200.0, -104.5, 88.8, 200.0, f32::INFINITY, f32::NAN, 0.0, -0.0];
    for &isa in Isa::available() {
        let e = map(isa, Function::Exp, &x);
        assert_eq!(&e[..6], &[0.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY, f32::INFINITY], "{isa}");
        assert!(e[6].is_nan());
        assert_eq!(&e[7..], &[1.0, 1.0]);
        let s = map(isa, Function::Sigmoid, &x);
        assert_eq!(&s[..6], &[0.0, 0.0, 0.0, 1.0, 1.0, 1.0], "{isa}");
        assert!(s[6].is_nan());
        let p = map(isa, Function::Softplus, &x);
        assert_eq!(&p[..6], &[0.0, 0.0, 0.0, 88.8, 200.0, f32::INFINITY], "{isa}");
        assert!(p[6].is_nan());
        assert!(map(isa, Function::Silu, &x)[6].is_nan());
    }
}

struct Reductions<'a>(&'a [f32]);

impl Task for Reductions<'_> {
    type Output = [f32; 4];

    #[inline(always)]
    fn run<L: Level>(self) -> [f32; 4] {
        [sum::<L>(self.0), sum_squares::<L>(self.0), dot::<L>(self.0, self.0), max::<L>(self.0)]
    }
}

#[test]
fn reductions_of_any_length() {
    for &isa in Isa::available() {
        for n in 0..100 {
            // Integers: every order gives the same sum.
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 19) as f32 - 9.0).collect();
            let [s, q, d, m] = dispatch(isa, Reductions(&x));
            assert_eq!(s, x.iter().sum::<f32>());
            assert_eq!(q, x.iter().map(|v| v * v).sum::<f32>());
            assert_eq!(d, q);
            assert_eq!(m, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
