//! llama-bench's two-letter flags, which clap would read as two one-letter ones.

use std::ffi::OsString;

/// Replaces `-ub`, `-pg` and their kind by their long forms.
pub fn long_forms(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    args.into_iter()
        .map(|a| match a.to_str() {
            Some("-ub") => "--ubatch".into(),
            Some("-pg") => "--prompt-gen".into(),
            Some("-tb") => "--threads-prefill".into(),
            Some("-ctk" | "-ctv") => "--kv-type".into(),
            _ => a,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::long_forms;

    #[test]
    fn only_whole_flags_are_replaced() {
        let got = long_forms(["x", "-ub", "512", "-ubx", "-p"].map(Into::into));
        assert_eq!(got, ["x", "--ubatch", "512", "-ubx", "-p"]);
    }
}
