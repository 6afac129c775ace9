//! A model: the mapped file, what its metadata says, its tensors and its tokenizer. Shared by all engines that run it.

use crate::chat::ChatTemplate;
use crate::config::Config;
use crate::gguf::{GgufFile, TensorInfo};
use crate::qwen3next::WeightIds;
use crate::tokenizer::Tokenizer;
use crate::weights::Weights;
use deltascope_profiles::ModelId;
use std::path::Path;

/// A loaded model. Weights stay in the mapped file.
pub struct Model {
    /// Hyperparameters.
    pub config: Config,
    /// Tensors.
    pub weights: Weights,
    /// Vocabulary.
    pub tokenizer: Tokenizer,
    /// How messages become a prompt.
    pub chat: ChatTemplate,
    /// Numbers of the weights in graphs.
    pub weight_ids: WeightIds,
    /// What to call it: `general.name`, or the file's name.
    pub name: String,
    table: Vec<TensorInfo>,
    file: GgufFile,
}

/// Why a file cannot be run; each names the file's part at fault.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The container.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::GgufError),
    /// A hyperparameter.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A tensor.
    #[error(transparent)]
    Weights(#[from] crate::weights::WeightsError),
    /// The vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] crate::tokenizer::TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Chat(#[from] crate::chat::ChatError),
}

impl Model {
    /// Maps and checks a file (or the first of a split model).
    ///
    /// # Errors
    /// If it is no Qwen3-Next that can be run; nothing large has been allocated then.
    pub fn open(path: impl AsRef<Path>) -> Result<Model, LoadError> {
        let stem = path.as_ref().file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        Model::from_file(GgufFile::open(path)?, &stem)
    }

    /// A model from bytes in memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Model, LoadError> {
        Model::from_file(GgufFile::from_bytes(bytes)?, name)
    }

    fn from_file(file: GgufFile, fallback_name: &str) -> Result<Model, LoadError> {
        let config = Config::from_gguf(&file)?;
        let weights = Weights::resolve(&file, &config)?;
        let tokenizer = Tokenizer::from_metadata(file.metadata())?;
        let chat = ChatTemplate::from_metadata(file.metadata())?;
        let mut table: Vec<TensorInfo> = Vec::new();
        let mut weight_ids = WeightIds::new();
        for t in weights.tensors() {
            weight_ids.entry(t.name().to_owned()).or_insert_with(|| {
                table.push(t.clone());
                table.len() as u32 - 1
            });
        }
        let name = config.name.clone().unwrap_or_else(|| fallback_name.to_owned());
        Ok(Model { config, weights, tokenizer, chat, weight_ids, name, table, file })
    }

    /// The weight of a number.
    pub fn weight(&self, id: u32) -> Option<&TensorInfo> {
        self.table.get(id as usize)
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// What profiles compare: shape and types, not the weights' values.
    pub fn id(&self) -> ModelId {
        ModelId {
            arch: Some(crate::config::ARCHITECTURE.to_owned()),
            geometry: Some(self.weights.geometry().to_owned()),
            types: self.weights.types().into_iter().filter(|t| t.is_quantised()).map(|t| t.name().to_owned()).collect(),
            fingerprint: Some(self.weights.fingerprint()),
        }
    }

    /// Bytes of weights that a token of one sequence reads: every matrix once, of the experts those that are chosen,
    /// of the embedding one row.
    pub fn bytes_per_token(&self) -> f64 {
        let m = &self.config.moe;
        let share = m.n_used as f64 / m.n_expert as f64;
        let mut sum = 0.0;
        for t in &self.table {
            let bytes = t.data().len() as f64;
            sum += if t.name().ends_with("_exps.weight") {
                bytes * share
            } else if t.name() == self.weights.token_embd.name() && !self.weights.output_is_tied {
                t.row_bytes() as f64
            } else {
                bytes
            };
        }
        sum
    }
}
