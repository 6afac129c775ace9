//! Chat templates: messages to the text that the model was trained to continue.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::gguf::{Metadata, MetadataError};

/// What Qwen's templates reduce to without tools; for files that hold no template.
const CHATML: &str = "{% for m in messages %}\
    {{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' }}\
    {% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// Steps of the template engine, which also charges for the bytes that it makes. A long conversation takes thousands;
/// a template that loops without end, or doubles a string again and again, is stopped.
const FUEL: u64 = 10_000_000;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    /// What templates call it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into() }
    }
}

/// A template that cannot be used, or that refused the messages.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ChatError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("chat template, line {line}: {message}")]
    Template { line: usize, message: String },
}

impl From<Error> for ChatError {
    fn from(e: Error) -> ChatError {
        let message = match (e.kind(), e.detail()) {
            (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
            (kind, Some(detail)) => format!("{kind}: {detail}"),
            (kind, None) => kind.to_string(),
        };
        // A syntax error in the first line and an error without a line are told alike.
        ChatError::Template { line: e.line().unwrap_or(1), message }
    }
}

/// A model's chat template, known to parse.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// The file's template, or ChatML if it has none.
    pub fn from_metadata(metadata: &Metadata) -> Result<ChatTemplate, ChatError> {
        let tokens = metadata.find::<&[String]>("tokenizer.ggml.tokens")?.unwrap_or_default();
        let token = |key: &str| -> Result<String, MetadataError> {
            let id = metadata.find::<u32>(key)?;
            Ok(id.and_then(|id| tokens.get(id as usize)).cloned().unwrap_or_default())
        };
        let template = ChatTemplate {
            source: metadata.find::<&str>("tokenizer.chat_template")?.unwrap_or(CHATML).to_owned(),
            bos: token("tokenizer.ggml.bos_token_id")?,
            eos: token("tokenizer.ggml.eos_token_id")?,
        };
        environment()?.template_from_str(&template.source)?;
        Ok(template)
    }

    /// The template's source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text, to be encoded with control tokens parsed. With `add_generation_prompt` it ends where
    /// the assistant is to go on.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        let env = environment()?;
        let message = |m: &Message| context! { role => m.role.name(), content => m.content.as_str() };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let template = env.template_from_str(&self.source)?;
        Ok(template.render(context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        })?)
    }
}

/// Jinja as Hugging Face transformers sets it up, with Python's methods on strings, lists and dictionaries.
fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_fuel(Some(FUEL));
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::GgufFile;

    fn template(source: &str) -> Result<ChatTemplate, ChatError> {
        ChatTemplate::from_metadata(&Metadata::from_iter([("tokenizer.chat_template", source)]))
    }

    fn hello() -> Vec<Message> {
        vec![Message::new(Role::System, "Be brief."), Message::new(Role::User, "Hi <there> & \"you\"")]
    }

    const CHATML_HELLO: &str =
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <there> & \"you\"<|im_end|>\n";

    #[test]
    fn without_a_template_chatml_is_used() {
        let t = ChatTemplate::from_metadata(&Metadata::default()).unwrap();
        assert_eq!(t.render(&hello(), false).unwrap(), CHATML_HELLO);
        assert_eq!(t.render(&hello(), true).unwrap(), format!("{CHATML_HELLO}<|im_start|>assistant\n"));
    }

    #[test]
    fn templates_of_files() {
        let at = |path: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            ChatTemplate::from_metadata(GgufFile::open(path).unwrap().metadata()).unwrap()
        };
        let demo = at("assets/deltascope-demo-q4_k_m.gguf").render(&hello(), true).unwrap();
        assert_eq!(demo, format!("{CHATML_HELLO}<|im_start|>assistant\n"));
        let qwen2 = at("tests/data/vocab/ggml-vocab-qwen2.gguf").render(&hello()[1..], false).unwrap();
        assert!(qwen2.starts_with("<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHi"));
    }

    #[test]
    fn what_real_templates_lean_on() {
        let t = template(
            "{%- if tools %}tools{% endif %}\n\
             {%- set ns = namespace(last=0) %}\n\
             {%- macro body(m) %}{{ m.content.strip().split('</think>')[-1].lstrip('\\n') }}{% endmacro %}\n\
             {%- for message in messages %}\n\
             {%- if message.content is string and message['role'].startswith('user') %}\n\
             {%- set ns.last = loop.index0 %}\n\
             {%- endif %}\n\
             {{- message.role + ':' + body(message) }}\n\
             {% endfor %}\n\
             {{- messages[::-1][0].role ~ ns.last ~ (enable_thinking is defined) }}",
        )
        .unwrap();
        let messages = [Message::new(Role::User, " a "), Message::new(Role::Assistant, "<think>x</think>\n\nb")];
        assert_eq!(t.render(&messages, false).unwrap(), "user:a\nassistant:b\nassistant0False");
    }

    #[test]
    fn errors_name_the_line() {
        let syntax = template("a\nb\n{% if %}").unwrap_err();
        assert!(syntax.to_string().starts_with("chat template, line 3: syntax error"), "{syntax}");
        let t = template("{% for m in messages %}\n{{ raise_exception('no ' ~ m.role) }}{% endfor %}").unwrap();
        let refused = t.render(&hello(), false).unwrap_err();
        assert_eq!(refused.to_string(), "chat template, line 2: invalid operation: no system");
        assert!(template("{{ nothing() }}").unwrap().render(&hello(), false).is_err());
    }

    #[test]
    fn a_template_that_takes_all_time_or_memory_is_stopped() {
        let loops = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}";
        let doubled = format!("{{% set x = 'abcdefgh' %}}{}", "{% set x = x ~ x %}".repeat(60));
        for source in [loops, &doubled] {
            let error = template(source).unwrap().render(&[], false).unwrap_err();
            assert!(error.to_string().contains("too many steps"), "{error}");
        }
    }
}
