//! What holds for every profile and for every text.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not tests to clippy")]

use std::collections::BTreeMap;
use std::path::Path;

use deltascope_profiles::{
    Backend, Choice, Engine, Gpu, Machine, Measured, ModelId, Phase, Placement, Profile, Rule, SizeRange, Threads,
    TunableValue, diff, parse, to_json, to_markdown, to_toml, update,
};
use proptest::prelude::*;
use proptest::{collection, option, sample};

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_.:+-]{1,12}"
}

/// Free text: quotes, backslashes, signs of TOML and letters beyond ASCII, but not `"*"`, which is read as absence.
fn text() -> impl Strategy<Value = String> {
    "[ -~µ×é🦀]{2,20}"
}

fn range() -> impl Strategy<Value = Option<SizeRange>> {
    option::of((any::<u64>(), any::<u64>(), 0..4).prop_map(|(a, b, form)| match form {
        0 => SizeRange::exact(a),
        1 => SizeRange::at_least(a),
        2 => SizeRange::between(0, a).unwrap(),
        _ => SizeRange::between(a.min(b), a.max(b)).unwrap(),
    }))
}

fn rule() -> impl Strategy<Value = Rule> {
    let backend = prop_oneof![Just(Backend::Cpu), option::of(any::<u16>()).prop_map(Backend::Cuda)];
    let phase = option::of(sample::select(vec![Phase::Decode, Phase::Prefill]));
    let types = collection::vec(sample::select(vec!["Q4_K", "q6_k", "F32", "IQ4_XS"]), 0..3);
    let node = option::of("[a-z.*?]{1,12}".prop_map(|pattern| pattern.parse().unwrap()));
    let ranges = (range(), range(), range(), range());
    (name(), backend, phase, ranges, types, node).prop_map(|(op, backend, phase, ranges, types, node)| {
        let (elements, tokens, rows, cols) = ranges;
        let mut rule = Rule { op, backend, phase, elements, tokens, rows, cols, types: Vec::new(), node };
        rule.set_types(types);
        rule
    })
}

fn measured() -> impl Strategy<Value = Measured> {
    let time = || 0.0..1e12f64;
    (time(), time(), time(), 1u32.., option::of(0.0..=1.0f64), option::of(name()), option::of(time())).prop_map(
        |(median_us, a, b, samples, share, baseline, speedup)| Measured {
            median_us,
            ci95_us: [a.min(b), a.max(b)],
            samples,
            share,
            baseline,
            speedup,
        },
    )
}

fn choice() -> impl Strategy<Value = Choice> {
    let value = prop_oneof![any::<i64>().prop_map(TunableValue::Int), name().prop_map(TunableValue::Text)];
    let tunables = collection::btree_map(name(), value, 0..4);
    let ties = collection::vec(name(), 0..3);
    (rule(), name(), option::of(any::<u32>()), tunables, option::of(measured()), ties).prop_map(
        |(rule, variant, revision, tunables, measured, tied_with)| Choice {
            rule,
            variant,
            revision,
            tunables,
            measured,
            tied_with,
        },
    )
}

fn machine() -> impl Strategy<Value = Machine> {
    let gpu = (text(), option::of(text()), option::of(any::<u32>()), option::of(text())).prop_map(
        |(name, compute_capability, memory_gib, driver)| Gpu { name, compute_capability, memory_gib, driver },
    );
    let lists = (collection::vec(text(), 0..3), collection::vec(gpu, 0..3));
    (option::of(text()), lists, option::of(1u32..), option::of(any::<u32>()))
        .prop_map(|(cpu, (isa, gpus), cores, memory_gib)| Machine { cpu, isa, cores, memory_gib, gpus })
}

fn places() -> impl Strategy<Value = Vec<Placement>> {
    let backend = prop_oneof![Just(Backend::Cpu), option::of(any::<u16>()).prop_map(Backend::Cuda)];
    let one = ("[a-z.*?]{1,12}", backend);
    collection::vec(one, 0..4).prop_map(|places| {
        let unique: BTreeMap<String, Backend> = places.into_iter().collect();
        unique.into_iter().map(|(node, backend)| Placement { node: node.parse().unwrap(), backend }).collect()
    })
}

fn profile() -> impl Strategy<Value = Profile> {
    let model = (option::of(text()), option::of(text()), collection::vec(text(), 0..3), option::of(text()))
        .prop_map(|(arch, geometry, types, fingerprint)| ModelId { arch, geometry, types, fingerprint });
    let threads = (option::of(1..=4096u32), option::of(1..=4096u32));
    let engine = (option::of(text()), threads, option::of(1..=1_048_576u32), option::of(any::<bool>()));
    let engine = engine.prop_map(|(deltascope, (decode, prefill), ubatch, graphs)| {
        let threads = Threads { decode, prefill };
        Engine { deltascope, threads, ubatch, graphs }
    });
    let parts = (option::of(text()), option::of(machine()), option::of(model), engine);
    (parts, places(), collection::vec(choice(), 0..5)).prop_map(|((name, machine, model, engine), places, choices)| {
        let unique: BTreeMap<String, Choice> =
            choices.into_iter().map(|choice| (format!("{:?}", choice.rule), choice)).collect();
        Profile { name, machine, model, engine, places, choices: unique.into_values().collect(), ..Profile::default() }
    })
}

fn origin() -> &'static Path {
    Path::new("property.toml")
}

/// Texts that get past the first checks more often than random ones do.
fn almost_toml() -> impl Strategy<Value = String> {
    let key = "(schema|name|choice|place|machine|engine|op|phase|tokens|measured|tunables|isa|node|x)";
    let value =
        r#"([0-9-]{1,20}|"[a-z0-9.=*]{0,6}"|\[[0-9, ]{0,6}\]|\{ ?(op|block|share) = ("a"|1|nan) ?\}|1e999|true)"#;
    let line = format!(r"(\[{{0,2}}{key}\]{{0,2}}|{key} = {value}|{key}\.{key} = {value}|#.{{0,5}})");
    collection::vec(proptest::string::string_regex(&line).unwrap(), 0..12)
        .prop_map(|lines| format!("schema = 1\n{}", lines.join("\n")))
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(profile in profile()) {
        let text = to_toml(&profile);
        prop_assert_eq!(&parse(&text, origin()).map_err(|error| TestCaseError::fail(error.to_string()))?, &profile);
        prop_assert_eq!(to_toml(&profile), text.clone());
        prop_assert_eq!(update(&text, origin(), &profile).unwrap(), text);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&to_json(&profile).unwrap()).is_ok());
        // A line each, an empty one between places and choices, two of heading.
        let places = profile.places.len() + usize::from(!profile.places.is_empty());
        prop_assert_eq!(to_markdown(&profile).lines().count(), places + 2 + profile.choices.len());
    }

    #[test]
    fn any_file_can_be_brought_to_any_profile(before in profile(), after in profile()) {
        let text = update(&to_toml(&before), origin(), &after).unwrap();
        prop_assert_eq!(&parse(&text, origin()).unwrap(), &after);
        prop_assert_eq!(diff(&before, &after).is_empty(), before == after);
        prop_assert!(diff(&after, &after).is_empty());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&String::from_utf8_lossy(&bytes), origin());
    }

    #[test]
    fn almost_valid_text_never_panics_and_what_is_read_can_be_written(text in almost_toml()) {
        if let Ok(profile) = parse(&text, origin()) {
            prop_assert_eq!(&parse(&to_toml(&profile), origin()).unwrap(), &profile);
            prop_assert_eq!(update(&text, origin(), &profile).unwrap(), text);
        }
    }
}
