//! Round trips through the writer, and files that are wrong in one place each.

use std::fs;

use deltascope_kernels::DType;

use super::*;

fn written(fill: impl FnOnce(&mut GgufWriter)) -> Vec<u8> {
    let mut w = GgufWriter::new();
    fill(&mut w);
    let mut out = w.start(Vec::new()).unwrap();
    let mut byte = 0u8;
    while let Some((_, _, left)) = out.pending() {
        byte = byte.wrapping_add(1);
        out.write(&vec![byte; left]).unwrap();
    }
    out.finish().unwrap()
}

fn two_tensors() -> Vec<u8> {
    written(|w| {
        w.set("general.architecture", "test").set("n", 5u32);
        w.tensor("a", DType::F32, &[3, 2]).unwrap();
        w.tensor("b", DType::Q4_K, &[256, 2]).unwrap();
    })
}

fn fault(bytes: &[u8]) -> Fault {
    GgufFile::from_bytes(bytes).expect_err("the file is wrong").fault
}

/// Replaces the last occurrence of `from`: the tensor table comes after the metadata.
fn patch(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).rposition(|w| w == from).expect("the pattern is there");
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn every_value_type_survives() {
    let nested = Array::Array(vec![Array::U8(vec![1]), Array::Array(vec![Array::String(vec!["x".into()])])]);
    let values = vec![
        Value::U8(1),
        Value::I8(-2),
        Value::U16(3),
        Value::I16(-4),
        Value::U32(5),
        Value::I32(-6),
        Value::F32(0.5),
        Value::Bool(true),
        Value::String("grün".into()),
        Value::U64(1 << 40),
        Value::I64(-(1 << 40)),
        Value::F64(0.25),
        Value::Array(Array::I8(vec![-1])),
        Value::Array(Array::U16(vec![1, 2])),
        Value::Array(Array::I16(vec![-1])),
        Value::Array(Array::U32(vec![])),
        Value::Array(Array::I32(vec![-1, 1])),
        Value::Array(Array::F32(vec![1.5])),
        Value::Array(Array::Bool(vec![true, false])),
        Value::Array(Array::U64(vec![1])),
        Value::Array(Array::I64(vec![-1])),
        Value::Array(Array::F64(vec![2.5])),
        Value::Array(nested),
    ];
    let bytes = written(|w| {
        for (i, v) in values.iter().enumerate() {
            w.set(&format!("k{i}"), v.clone());
        }
    });
    let file = GgufFile::from_bytes(&bytes).unwrap();
    for (i, v) in values.iter().enumerate() {
        assert_eq!(file.metadata().value(&format!("k{i}")), Some(v));
    }
}

#[test]
fn tensors_have_their_own_bytes() {
    let file = GgufFile::from_bytes(&two_tensors()).unwrap();
    let (a, b) = (file.tensor("a").unwrap(), file.tensor("b").unwrap());
    assert_eq!((a.dtype(), a.ne(), a.dims()), (DType::F32, [3, 2, 1, 1], &[3, 2][..]));
    assert_eq!(a.data().len(), 24);
    assert_eq!((b.data().len(), b.row_bytes()), (288, 144));
    assert!(a.data().iter().all(|x| *x == a.data()[0]) && b.data().iter().all(|x| *x == b.data()[0]));
    assert_ne!(a.data()[0], b.data()[0]);
    assert!(a.data().as_ptr().addr().is_multiple_of(32) && b.data().as_ptr().addr().is_multiple_of(32));
    assert!(file.tensor("c").is_none());
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = two_tensors();
    for n in 0..bytes.len() - 16 {
        assert!(GgufFile::from_bytes(&bytes[..n]).is_err(), "{n} bytes of {} were accepted", bytes.len());
    }
}

#[test]
fn headers() {
    let mut bytes = two_tensors();
    assert!(matches!(fault(b"ELF!"), Fault::Magic { .. }));
    assert!(matches!(fault(b""), Fault::Magic { .. }));
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert!(matches!(fault(&bytes), Fault::BigEndian));
    bytes[4..8].copy_from_slice(&1u32.to_le_bytes());
    assert!(matches!(fault(&bytes), Fault::Version(1)));
    bytes[4..8].copy_from_slice(&2u32.to_le_bytes());
    assert_eq!(GgufFile::from_bytes(&bytes).unwrap().version(), 2);
}

#[test]
fn counts_that_cannot_fit_are_refused_before_anything_is_reserved() {
    for (at, n) in [(8, u64::MAX), (8, 1 << 40), (16, u64::MAX), (16, 1 << 40)] {
        let mut bytes = two_tensors();
        bytes[at..at + 8].copy_from_slice(&n.to_le_bytes());
        assert!(GgufFile::from_bytes(&bytes).is_err());
    }
    let array = written(|w| {
        w.set("k", vec![7i32; 3]);
    });
    let huge = patch(array, &3u64.to_le_bytes(), &(u64::MAX / 2).to_le_bytes());
    assert!(matches!(fault(&huge), Fault::Count { .. }));
}

#[test]
fn deep_nesting_is_refused() {
    let mut nested = Array::U8(vec![1]);
    for _ in 0..20 {
        nested = Array::Array(vec![nested]);
    }
    let bytes = written(|w| {
        w.set("k", nested);
    });
    assert!(matches!(fault(&bytes), Fault::Depth { .. }));
}

#[test]
fn wrong_tensor_entries() {
    let entry = |ne: &[u64], id: u32, offset: u64| {
        let mut e = (ne.len() as u32).to_le_bytes().to_vec();
        ne.iter().for_each(|n| e.extend(n.to_le_bytes()));
        e.extend(id.to_le_bytes());
        e.extend(offset.to_le_bytes());
        e
    };
    let b = entry(&[256, 2], 12, 32);
    let with = |e: Vec<u8>| fault(&patch(two_tensors(), &b, &e));
    assert!(matches!(with(entry(&[256, 2], 16, 32)), Fault::UnknownType { name: "IQ2_XXS", .. }));
    assert!(matches!(with(entry(&[255, 2], 12, 32)), Fault::Row { .. }));
    assert!(matches!(with(entry(&[0, 2], 12, 32)), Fault::Shape { .. }));
    assert!(matches!(with(entry(&[256, 1 << 60], 12, 32)), Fault::Shape { .. }));
    assert!(matches!(with(entry(&[256, 1 << 50], 12, 32)), Fault::OutOfRange { .. }));
    assert!(matches!(with(entry(&[256, 2], 12, 33)), Fault::Misaligned { .. }));
    assert!(matches!(with(entry(&[256, 2], 12, 64)), Fault::OutOfRange { .. }));
    assert!(matches!(with(entry(&[256, 2], 12, u64::MAX - 31)), Fault::OutOfRange { .. }));
    assert!(matches!(with(entry(&[256, 2], 12, 0)), Fault::Overlap { .. }));
    let five = patch(two_tensors(), &b, &5u32.to_le_bytes());
    assert!(matches!(fault(&five), Fault::Dimensions { found: 5, .. }));
}

#[test]
fn duplicates() {
    let mut name = 1u64.to_le_bytes().to_vec();
    name.push(b'b');
    let mut same = 1u64.to_le_bytes().to_vec();
    same.push(b'a');
    assert!(matches!(fault(&patch(two_tensors(), &name, &same)), Fault::DuplicateTensor { .. }));
    let keys = written(|w| {
        w.set("k1", 1u32).set("k2", 2u32);
    });
    let error = GgufFile::from_bytes(&patch(keys, b"k2", b"k1")).unwrap_err();
    assert_eq!(error.to_string(), "<memory> at byte 42: key `k1` appears twice");
}

#[test]
fn strange_alignments_are_refused() {
    for n in [0u32, 1, 4, 24, 1 << 30] {
        let bytes = written(|w| {
            w.set("general.alignment", n);
        });
        assert!(matches!(fault(&bytes), Fault::Alignment(_)), "{n}");
    }
}

#[test]
fn split_models_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let part = |no: u16, name: &str| {
        written(|w| {
            w.set("split.no", no).set("split.count", 2u16).set("split.tensors.count", 2i32);
            w.tensor(name, DType::F32, &[8]).unwrap();
        })
    };
    let path = |no: usize| dir.path().join(format!("m-{no:05}-of-00002.gguf"));
    fs::write(path(1), part(0, "a")).unwrap();
    assert!(matches!(GgufFile::open(path(1)).unwrap_err().fault, Fault::Io(_)), "the second part is not there");
    fs::write(path(2), part(1, "b")).unwrap();
    let file = GgufFile::open(path(1)).unwrap();
    assert_eq!((file.parts(), file.tensors().len()), (2, 2));
    assert_eq!(file.data(file.tensor("b").unwrap()).len(), 32);

    let second = GgufFile::open(path(2)).unwrap_err();
    assert!(second.to_string().contains("m-00001-of-00002.gguf"), "{second}");
    fs::write(path(2), part(1, "a")).unwrap();
    assert!(matches!(GgufFile::open(path(1)).unwrap_err().fault, Fault::DuplicateTensor { .. }));
    fs::write(path(2), part(0, "b")).unwrap();
    assert!(matches!(GgufFile::open(path(1)).unwrap_err().fault, Fault::SplitMismatch { key: "split.no", .. }));
    assert!(matches!(fault(&part(0, "a")), Fault::SplitInMemory { count: 2 }));
}

#[test]
fn the_writer_checks_what_it_is_given() {
    let mut w = GgufWriter::new();
    w.tensor("a", DType::F32, &[2]).unwrap();
    assert!(matches!(w.tensor("a", DType::F32, &[2]), Err(WriteError::Duplicate(_))));
    assert!(matches!(w.tensor("b", DType::Q4_K, &[100]), Err(WriteError::Shape { .. })));
    assert!(matches!(w.tensor("b", DType::Q8_K, &[256]), Err(WriteError::Shape { .. })));
    let mut out = w.start(Vec::new()).unwrap();
    out.write(&[0; 4]).unwrap();
    assert!(matches!(out.write(&[0; 5]), Err(WriteError::Extra { extra: 1 })));
    let mut w = GgufWriter::new();
    w.tensor("a", DType::F32, &[2]).unwrap();
    assert!(matches!(w.start(Vec::new()).unwrap().finish(), Err(WriteError::Incomplete { missing: 8, .. })));
}
