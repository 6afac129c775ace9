//! The commands, by running the program.

#![allow(clippy::unwrap_used)] // a test says what is wrong by panicking

use std::path::Path;
use std::process::{Command, Output};

fn deltascope(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_deltascope"))
        .args(args)
        // A profile of the user's must not change what the tests see.
        .env("XDG_CONFIG_HOME", home.path())
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn ok(args: &[&str]) -> String {
    let out = deltascope(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn fails(args: &[&str]) -> String {
    let out = deltascope(args);
    assert!(!out.status.success(), "{args:?} succeeded");
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

#[test]
fn bench_prints_the_columns_of_llama_bench() {
    let tests = ["bench", "-p", "16", "-n", "4", "-pg", "8,2", "-d", "0,32"];
    let json = ok(&[&tests[..], &["-r", "2", "-t", "1", "-ub", "8", "-o", "json"]].concat());
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let names: Vec<&str> = rows.iter().map(|r| r["test"].as_str().unwrap()).collect();
    assert_eq!(names, ["pp16", "tg4", "pp8+tg2", "pp16 @ d32", "tg4 @ d32", "pp8+tg2 @ d32"]);
    for r in &rows {
        let samples: Vec<f64> = r["samples_ts"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
        assert_eq!(samples.len(), 2);
        let mean = samples.iter().sum::<f64>() / 2.0;
        assert!((r["avg_ts"].as_f64().unwrap() - mean).abs() < 1e-6 * mean);
        assert!(r["stddev_ts"].as_f64().unwrap() >= 0.0);
        assert_eq!((r["n_threads"].as_u64(), r["n_ubatch"].as_u64()), (Some(1), Some(8)));
        assert_eq!(r["backend"], "CPU");
    }
    let table = ok(&["bench", "-p", "8", "-n", "0", "-r", "1"]);
    assert!(table.starts_with("| model") && table.contains("| pp8 "), "{table}");
}

#[test]
fn a_profile_changes_what_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    std::fs::write(&file, "schema = 1\n[[choice]]\nop = \"gated_delta_net\"\nvariant = \"lowered_recurrent\"\n")
        .unwrap();
    let table = |extra: &[&str]| {
        let args = [&["profile", "-n", "4", "-o", "json"], extra].concat();
        serde_json::from_str::<Vec<serde_json::Value>>(&ok(&args)).unwrap()
    };
    let variant = |rows: &[serde_json::Value]| {
        rows.iter().find(|r| r["name"] == "gated_delta_net").unwrap()["variants"].as_str().unwrap().to_owned()
    };
    assert_eq!(variant(&table(&[])), "fused_inplace");
    assert_eq!(variant(&table(&["--profile", path(&file)])), "lowered_recurrent");
    assert_eq!(variant(&table(&["--profile", "preset:history/0-start"])), "lowered_recurrent");
    let merged = ok(&["export", "--profile", path(&file)]);
    assert!(merged.contains("lowered_recurrent"), "{merged}");
}

#[test]
fn times_by_cupti_are_refused_where_the_processor_runs() {
    for timing in [&["--timing", "cupti"][..], &["--timeline", "never-written.csv"]] {
        let said = fails(&[&["profile", "-n", "1", "-t", "1", "--backend", "cpu"], timing].concat());
        assert!(said.contains("CUPTI sees a GPU's kernels"), "{said}");
    }
    assert!(!Path::new("never-written.csv").exists());
}

#[test]
fn profile_accounts_for_the_wall_time_and_writes_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.json");
    let text = ok(&["profile", "-n", "8", "-t", "2", "--group", "node", "--chrome-trace", path(&trace)]);
    for want in ["residual", "recording costs", "barrier wait", "blk.0.ffn"] {
        assert!(text.contains(want), "no `{want}` in {text}");
    }
    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let mut last = [0.0f64; 2];
    for e in events.iter().filter(|e| e["ph"] == "X") {
        // Slices of one worker's track follow each other.
        let (tid, ts) = (e["tid"].as_u64().unwrap() as usize, e["ts"].as_f64().unwrap());
        assert!(ts + 0.01 >= last[tid], "slices overlap on track {tid}");
        last[tid] = ts + e["dur"].as_f64().unwrap();
    }
    // On a busy machine a worker may come too late for the run, and the other does all the work.
    assert!(last.iter().any(|&end| end > 0.0), "no worker has slices");
}

#[test]
fn logits_are_a_row_for_each_id() {
    let dir = tempfile::tempdir().unwrap();
    let (ids, a, b) = (dir.path().join("ids"), dir.path().join("a"), dir.path().join("b"));
    let bytes: Vec<u8> = [5i32, 300, 17, 4000, 9].iter().flat_map(|i| i.to_le_bytes()).collect();
    std::fs::write(&ids, bytes).unwrap();
    let write = |prefill: &str, threads: &str, out: &Path| {
        ok(&["logits", "--ids", path(&ids), "--prefill", prefill, "--out", path(out), "-t", threads, "-ub", "2"]);
        std::fs::read(out).unwrap()
    };
    let first = write("3", "1", &a);
    assert_eq!(first.len(), 5 * 4096 * 4);
    assert!(write("3", "2", &b) == first, "two threads give other bits than one");
    let error = fails(&["logits", "--ids", path(&ids), "--prefill", "6", "--out", path(&a)]);
    assert!(error.contains("more than the 5 ids"), "{error}");
    std::fs::write(&ids, [0, 0, 255, 255]).unwrap();
    let error = fails(&["logits", "--ids", path(&ids), "--out", path(&a)]);
    assert!(error.contains("index 0") && error.contains("vocabulary"), "{error}");
}

#[test]
fn perplexity_of_the_demo_model_is_that_of_a_trained_one() {
    let text = ok(&["perplexity", "--chunks", "4"]);
    let ppl: f64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    // The whole text has 13.80, as llama.cpp finds too; its first windows are easy. An untrained model has 4096.
    assert!((ppl / 2.776 - 1.0).abs() < 0.02, "{text}");
    assert!(text.contains("4 windows of 512 tokens, 1020 scored"), "{text}");
}

#[test]
fn run_streams_text() {
    let args = ["run", "-p", "The borrow checker ensures that", "-n", "12", "-t", "1"];
    let text = ok(&args);
    assert!(text.starts_with("The borrow checker ensures that"), "{text}");
    assert!(text.trim().len() > 45, "{text}");
    assert_eq!(ok(&args), text, "greedy text repeats");
    assert!(!ok(&["run", "--chat", "-p", "Hello", "-n", "4", "--temp", "0.8", "--seed", "3"]).trim().is_empty());
}

#[test]
fn without_a_terminal_the_workbench_is_a_report() {
    let text = ok(&["-t", "1"]);
    for want in ["t/s", "gated_delta_net", "residual", "The borrow checker"] {
        assert!(text.contains(want), "no `{want}` in {text}");
    }
}

#[test]
fn tune_searches_writes_a_profile_and_goes_on_from_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (profile, journal) = (dir.path().join("tuned.toml"), dir.path().join("journal.jsonl"));
    let start = ["--profile", "preset:history/0-start", "-t", "1"];
    let search = ["--op", "sum_rows,gated_delta_net", "--rounds", "6", "-r", "1", "--journal", path(&journal)];
    let out = deltascope(&[&["tune", "-o", "json", "-w", path(&profile)], &start[..], &search].concat());
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.success(), "{said}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&out.stdout).unwrap();
    let delta: Vec<_> = rows.iter().filter(|r| r["op"] == "gated_delta_net").collect();
    let with = |verdict: &str| delta.iter().filter(|r| r["verdict"] == verdict).count();
    assert_eq!((with("in force"), with("won")), (1, 1), "{delta:#?}");
    for r in rows.iter().filter(|r| r["ratio"].is_number()) {
        let [lo, ratio, hi] = ["ratio_lo", "ratio", "ratio_hi"].map(|k| r[k].as_f64().unwrap());
        assert!(0.0 < lo && lo <= ratio && ratio <= hi, "{r}");
        assert!(r["rounds"].as_u64().unwrap() > 0, "{r}");
    }
    assert!(rows.iter().filter(|r| r["verdict"] == "dropped").all(|r| r["reason"].is_string()));

    // The diff was shown, and what was written is loaded and used.
    assert!(said.contains("+ gated_delta_net (cpu, decode"), "{said}");
    let on_top = ["--profile", "preset:history/0-start", "--profile", path(&profile)];
    let table = ok(&[&["profile", "-n", "4", "-o", "json", "-t", "1"], &on_top[..]].concat());
    let table: Vec<serde_json::Value> = serde_json::from_str(&table).unwrap();
    let used = table.iter().find(|r| r["name"] == "gated_delta_net").unwrap();
    let won = delta.iter().find(|r| r["verdict"] == "won").unwrap();
    assert!(won["candidate"].as_str().unwrap().starts_with(used["variants"].as_str().unwrap()), "{won} {used}");

    // Again, and no candidate is measured in more rounds than were asked for: they are in the journal.
    ok(&[&["tune"], &start[..], &search].concat());
    let mut rounds = std::collections::HashMap::<String, usize>::new();
    for line in std::fs::read_to_string(&journal).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        *rounds.entry(line["key"].to_string()).or_default() += usize::from(line["event"] == "measured");
    }
    assert_eq!(rounds.values().max(), Some(&6));

    assert!(fails(&["tune", "--op", "skale"]).contains("no op `skale`"));
    assert!(fails(&["tune", "--op", "scale", "--rounds", "3"]).contains("--rounds 6"));
    assert!(fails(&["tune", "--op", "solve_tri"]).contains("solve_tri"));
}

#[cfg(unix)]
#[test]
fn an_interrupted_search_keeps_its_measurements_and_claims_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (profile, journal) = (dir.path().join("tuned.toml"), dir.path().join("journal.jsonl"));
    let home = tempfile::tempdir().unwrap();
    let args = ["tune", "--op", "gated_delta_net", "--profile", "preset:history/0-start", "-t", "1"];
    let child = Command::new(env!("CARGO_BIN_EXE_deltascope"))
        .args(args)
        .args(["--rounds", "100000", "--journal", path(&journal), "-w", path(&profile)])
        .env("XDG_CONFIG_HOME", home.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(&journal).map_or(0, |t| t.lines().count());
    while lines() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.contains("in force") && text.contains("goes on from"), "{text}");
    assert!(lines() > 0 && !profile.exists());
}

#[test]
fn check_holds_variants_against_the_reference() {
    let text = ok(&["check", "--op", "scale", "-t", "1,2"]);
    for variant in ["blocked", "rows", "serial", "reference"] {
        assert!(text.contains(variant), "{text}");
    }
    assert!(text.contains("4 variants, 0 failed"), "{text}");
    assert!(fails(&["check", "--op", "skale"]).contains("no op `skale`"));
    let list = ok(&["check", "--op", "gated_delta_net", "--backend", "cuda", "--list", "-o", "csv"]);
    let names: Vec<&str> = list.lines().skip(1).filter_map(|row| row.split(',').nth(1)).collect();
    assert!(names.contains(&"registers") && names.contains(&"lowered_recurrent"), "{list}");
    assert!(!names.contains(&"reference"), "{list}");
}

#[test]
fn synth_writes_models_that_run() {
    let dir = tempfile::tempdir().unwrap();
    let size = ["--layers", "4", "--experts", "4", "--used", "2", "--hidden", "256", "--moe-ff", "256"];
    let heads = ["--heads", "4", "--kv-heads", "2", "--head-dim", "64", "--delta-k-heads", "2", "--delta-v-heads", "4"];
    for mix in ["IQ4_XS", "q4_k_m", "Q8_0"] {
        let file = dir.path().join(format!("{mix}.gguf"));
        ok(&[&["synth", path(&file), "--type", mix], &size[..], &heads[..]].concat());
        let json = ok(&["bench", "-m", path(&file), "-p", "8", "-n", "2", "-r", "1", "-o", "jsonl"]);
        assert_eq!(json.lines().count(), 2, "{json}");
    }
    let error = fails(&["synth", path(&dir.path().join("x")), "--type", "Q4_K", "--hidden", "100"]);
    assert!(error.contains("whole blocks"), "{error}");
    let error = fails(&["synth", path(&dir.path().join("x")), "--experts", "4"]);
    assert!(error.contains("--used 10") && error.contains("--experts 4"), "{error}");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broken.gguf");
    assert!(fails(&["run", "-m", "no/such/file.gguf", "-p", "x"]).contains("no/such/file.gguf"));
    std::fs::write(&file, b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f").unwrap();
    assert!(fails(&["run", "-m", path(&file), "-p", "x"]).contains("broken.gguf"));
    let profile = dir.path().join("bad.toml");
    std::fs::write(&profile, "schema = 1\n[[choice]]\nop = \"scale\"\nphase = \"decoed\"\n").unwrap();
    let error = fails(&["bench", "--profile", path(&profile)]);
    assert!(error.contains("bad.toml:4") && error.contains("decode"), "{error}");
    assert!(fails(&["bench", "--profile", "preset:nothing"]).contains("nothing"));
    assert!(fails(&["bench", "-pg", "x"]).contains("PP,TG"));
    assert!(fails(&["bench", "--backend", "cuda"]).contains("CUDA"));
}

#[test]
fn help_completions_and_man_page_are_generated() {
    let help = ok(&["--help"]);
    for command in ["run", "bench", "profile", "logits", "perplexity", "tune", "check", "synth", "export", "doctor"] {
        assert!(help.contains(&format!("\n  {command} ")), "no `{command}` in {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(&["completions", shell]).contains("perplexity"));
    }
    assert!(ok(&["man"]).contains(".TH deltascope"));
    assert!(ok(&["doctor", "--quick"]).contains("kernels"));
}

#[test]
fn the_backend_is_said_and_a_machine_without_a_gpu_runs_on_its_processor() {
    let run = |args: &[&str], nvrtc: Option<&str>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_deltascope"));
        command.args(args);
        nvrtc.map(|path| command.env("DELTASCOPE_NVRTC", path));
        let out = command.output().unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (out.status.success(), text(&out.stdout), text(&out.stderr))
    };
    let doctor = run(&["doctor", "--quick"], None);
    let line = doctor.1.lines().find(|l| l.starts_with("gpu ")).unwrap();
    assert!(line.contains("compute capability") || line.contains("CUDA"), "{line}");
    // No GPU, or one without a compiler: either way asking for it is an error, and leaving it open is none.
    let bench = ["bench", "-p", "0", "-n", "2", "-r", "1", "-t", "1", "-o", "csv", "--backend"];
    let (ok, _, why) = run(&[&bench[..], &["cuda"]].concat(), Some("/nowhere/libnvrtc.so"));
    assert!(!ok && why.contains("--backend cpu"), "{why}");
    assert!(why.contains("no CUDA driver") || why.contains("no NVRTC") || why.contains("no device"), "{why}");
    let (ok, out, why) = run(&[&bench[..], &["auto"]].concat(), Some("/nowhere/libnvrtc.so"));
    assert!(ok && out.contains("CPU"), "{out}{why}");
}

#[test]
fn placements_are_read_refused_and_without_a_gpu_noted() {
    for (place, why) in [
        ("blk.*.ffn", "expected PATTERN=BACKEND"),
        ("blk.*.ffn=gpu", "unknown backend \"gpu\", did you mean \"cpu\"?"),
        ("output=cuda:1", "only the first GPU is used"),
    ] {
        let error = fails(&["bench", "-p", "0", "-n", "2", "--place", place]);
        assert!(error.contains(why), "{error}");
    }
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_deltascope"));
    command.args(["bench", "-p", "0", "-n", "2", "-r", "1", "-t", "1", "--backend", "cpu", "--place", "output=cuda"]);
    let out = command.env("DELTASCOPE_NVRTC", "/nowhere/libnvrtc.so").output().unwrap();
    let note = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && note.contains("the GPU is not used"), "{note}");
    // What is on the CPU already may be said to be there.
    let same = ok(&["profile", "--runs", "2", "-o", "json", "--backend", "cpu", "--place", "blk.*.ffn=cpu"]);
    let rows: serde_json::Value = serde_json::from_str(&same).unwrap();
    let mut rows = rows.as_array().unwrap().iter();
    assert!(rows.all(|r| r["backend"] == "cpu" && !r["name"].as_str().unwrap().starts_with("transfer")), "{same}");
}
