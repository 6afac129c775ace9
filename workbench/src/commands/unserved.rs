//! Choices of a profile that nothing in this program can follow: a plan leaves them aside, so the user is told.

use deltascope_kernels::{Op, ops};
use deltascope_profiles::{Backend, Choice, Stack};

/// What to say of each such choice, with the profile that has it.
pub(super) fn unserved(stack: &Stack) -> Vec<String> {
    let layers = stack.layers().iter();
    layers.flat_map(|l| l.profile.choices.iter().filter_map(|c| Some(format!("{}: {}", l.origin, why(c)?)))).collect()
}

fn why(choice: &Choice) -> Option<String> {
    let (rule, name) = (&choice.rule, &choice.variant);
    let Some(op) = Op::from_name(&rule.op) else { return Some(format!("there is no op `{}`", rule.op)) };
    let on = match rule.backend {
        Backend::Cpu => deltascope_kernels::Backend::Cpu,
        Backend::Cuda(_) => deltascope_kernels::Backend::Cuda,
    };
    let mut named = ops::variants(op).iter().filter(|v| v.spec().name == name).peekable();
    let Some(first) = named.peek() else { return Some(format!("`{op}` has no variant `{name}`")) };
    let other = first.spec().backend;
    let none = !named.any(|v| v.serves(on));
    none.then(|| {
        format!(
            "`{op}` has a variant `{name}` on {other} alone, and the choice is for {on} (hint: backend = \"{other}\")"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltascope_profiles::{Origin, presets};
    use std::path::Path;

    fn said(text: &str) -> Vec<String> {
        let mut stack = Stack::new();
        stack.push(Origin::CommandLine, deltascope_profiles::parse(text, Path::new("test.toml")).unwrap());
        unserved(&stack)
    }

    #[test]
    fn names_that_nothing_serves_are_said() {
        let choice = |text: &str| said(&format!("schema = 1\n[[choice]]\n{text}"));
        assert!(choice("op = \"mul_mat\"\nvariant = \"rows8\"").is_empty());
        assert!(choice("op = \"delta_net\"\nvariant = \"lowered\"\nbackend = \"cuda\"").is_empty());
        assert_eq!(choice("op = \"mul_mat\"\nvariant = \"rows9\""), ["command line: `mul_mat` has no variant `rows9`"]);
        assert_eq!(choice("op = \"mulmat\"\nvariant = \"rows8\""), ["command line: there is no op `mulmat`"]);
        let wrong = choice("op = \"norm_mul_mat\"\nvariant = \"fused\"");
        assert!(wrong[0].contains("on cuda alone") && wrong[0].contains("backend = \"cuda\""), "{wrong:?}");
    }

    #[test]
    fn presets_name_what_is_there() {
        for preset in presets() {
            let mut stack = Stack::new();
            stack.push(Origin::Preset(preset.name.to_owned()), preset.profile().unwrap());
            assert_eq!(unserved(&stack), Vec::<String>::new());
        }
    }
}
