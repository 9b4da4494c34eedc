//! What the files of a version in Hugging Face's layout say of the model: `config.json`, and where
//! sentence-transformers made it, `modules.json` and what that names.
//!
//! Pure: texts in, a [`Description`] out. Every number is held against a limit before anything is
//! made of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::kernels::Activation;
use crate::error::{Error, Result, quoted};
use crate::model::transformer::{Pooling, TransformerOptions};

pub const CONFIG: &str = "config.json";
pub const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const MODULES: &str = "modules.json";
const POOLING: &str = "1_Pooling/config.json";
const SENTENCE: &str = "sentence_bert_config.json";

/// What is read beside the weights, where it is there.
pub const BESIDE: &[&str] = &[CONFIG, TOKENIZER, TOKENIZER_CONFIG, MODULES, POOLING, SENTENCE];

/// Files of a version by their names.
pub type Files = BTreeMap<String, Bytes>;

/// An architecture.
#[derive(Clone, Debug, PartialEq)]
pub enum Family {
    Bert,
    Roberta,
    DistilBert,
    ModernBert(Rotations),
    Vit(Image),
}

/// How ModernBERT's layers see positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotations {
    pub theta_all: f32,
    pub theta_near: f32,
    /// How far away a token may be that a layer sees which does not see all.
    pub window: usize,
    /// Whether each layer sees all.
    all: Vec<bool>,
    /// What a classifier looks at.
    pub pooling: Pooling,
}

impl Rotations {
    pub fn sees_all(&self, layer: usize) -> bool {
        self.all.get(layer).copied().unwrap_or(true)
    }
}

/// What a vision transformer sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Of both sides, in pixels.
    pub size: usize,
    pub patch: usize,
    pub channels: usize,
}

impl Image {
    pub fn patches(self) -> usize {
        (self.size / self.patch) * (self.size / self.patch)
    }
}

/// What the model was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    Embedding {
        pooling: Pooling,
        normalize: bool,
    },
    /// One answer for a text.
    Sequence(Answers),
    /// One class for each token.
    Token(Vec<String>),
}

/// What a classifier's numbers mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// One of these.
    One(Vec<String>),
    /// Any of these, each for itself.
    Many(Vec<String>),
    /// Numbers that are no classes.
    Scores(usize),
}

/// A model, as its files describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    pub family: Family,
    pub task: Task,
    pub vocabulary: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    /// Extent of the layer between.
    pub wide: usize,
    pub activation: Activation,
    pub positions: usize,
    pub segments: usize,
    pub epsilon: f32,
    /// Added to every position: RoBERTa counts from behind its padding token's id.
    pub position_offset: u32,
    /// Tokens of a sequence, special ones included.
    pub tokens_max: usize,
    /// Whether the text is put into lower case before anything else.
    pub lower_case: bool,
}

impl Description {
    pub fn read(files: &Files, options: &TransformerOptions) -> Result<Self> {
        let config: Config = parse(files, CONFIG)?.ok_or_else(|| {
            Error::invalid(format!(
                "candle can not load the model: expected {CONFIG} beside the weights, as Hugging \
                 Face's libraries save it"
            ))
        })?;
        let family = family(&config)?;
        let count = |name: &str, value: Option<usize>, most: usize| match value {
            Some(value) if (1..=most).contains(&value) => Ok(value),
            _ => Err(wrong(&format!("{name}: expected 1 to {most}"))),
        };
        let hidden = count("hidden_size", config.hidden_size, 1 << 14)?;
        let heads = count("num_attention_heads", config.num_attention_heads, 1 << 10)?;
        if !hidden.is_multiple_of(heads) {
            return Err(wrong("hidden_size: expected a multiple of num_attention_heads"));
        }
        if config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(wrong("position_embedding_type: expected \"absolute\""));
        }
        // A picture's positions are its patches, and its words none.
        let (positions, vocabulary) = match &family {
            Family::Vit(image) => (image.patches() + 1, 1),
            _ => (
                count("max_position_embeddings", config.max_position_embeddings, 1 << 17)?,
                count("vocab_size", config.vocab_size, 1 << 22)?,
            ),
        };
        let segments = match family {
            Family::DistilBert | Family::ModernBert(_) | Family::Vit(_) => 0,
            _ => count("type_vocab_size", config.type_vocab_size.or(Some(2)), 1 << 10)?,
        };
        let position_offset = match family {
            Family::Roberta => config.pad_token_id.unwrap_or(1).saturating_add(1),
            _ => 0,
        };
        let room = positions
            .checked_sub(position_offset as usize)
            .filter(|&room| room > 0)
            .ok_or_else(|| wrong("max_position_embeddings: expected more than pad_token_id + 1"))?;
        let sentence: Sentence = parse(files, SENTENCE)?.unwrap_or_default();
        // Without a limit of their own, tokenizers are saved with 10^30.
        let tokenizer: TokenizerConfig = parse(files, TOKENIZER_CONFIG)?.unwrap_or_default();
        let declared = tokenizer.model_max_length.filter(|most| (1.0..1e9).contains(most));
        let limits = [sentence.max_seq_length, declared.map(|most| most as usize)];
        let tokens_max = limits.into_iter().flatten().fold(room, usize::min);
        if let Some(asked) = options.tokens_max.filter(|&asked| asked > room) {
            return Err(Error::invalid(format!(
                "transformer.tokens_max is {asked}, but the model was made for {room} tokens"
            )));
        }
        let task = task(&config, files, options)?;
        if matches!((&family, &task), (Family::Vit(_), Task::Token(_))) {
            return Err(wrong("architectures: a picture has no tokens to classify"));
        }
        if matches!(family, Family::ModernBert(_)) && !(hidden / heads).is_multiple_of(2) {
            return Err(wrong("hidden_size: expected an even share for each attention head"));
        }
        Ok(Self {
            task,
            family,
            vocabulary,
            hidden,
            layers: count("num_hidden_layers", config.num_hidden_layers, 1 << 8)?,
            heads,
            wide: count("intermediate_size", config.intermediate_size, 1 << 16)?,
            activation: activation(config.hidden_act.as_deref().unwrap_or("gelu"))?,
            positions,
            segments,
            epsilon: config.layer_norm_eps.or(config.norm_eps).unwrap_or(1e-12),
            position_offset,
            tokens_max: options.tokens_max.unwrap_or(tokens_max),
            lower_case: sentence.do_lower_case,
        })
    }
}

#[derive(Deserialize)]
struct Config {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    vocab_size: Option<usize>,
    #[serde(alias = "dim")]
    hidden_size: Option<usize>,
    #[serde(alias = "n_layers")]
    num_hidden_layers: Option<usize>,
    #[serde(alias = "n_heads")]
    num_attention_heads: Option<usize>,
    #[serde(alias = "hidden_dim")]
    intermediate_size: Option<usize>,
    #[serde(alias = "activation", alias = "hidden_activation")]
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f32>,
    norm_eps: Option<f32>,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    problem_type: Option<String>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    num_channels: Option<usize>,
    local_attention: Option<usize>,
    global_attn_every_n_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    global_rope_theta: Option<f32>,
    local_rope_theta: Option<f32>,
    rope_parameters: Option<BTreeMap<String, Rope>>,
    classifier_pooling: Option<Pooling>,
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f32>,
}

#[derive(Deserialize)]
struct Module {
    r#type: String,
    #[serde(default)]
    path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingConfig {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
    pooling_mode_lasttoken: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Sentence {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    model_max_length: Option<f64>,
}

fn parse<T: DeserializeOwned>(files: &Files, name: &str) -> Result<Option<T>> {
    let Some(bytes) = files.get(name) else { return Ok(None) };
    let parsed = serde_json::from_slice(bytes);
    parsed
        .map(Some)
        .map_err(|error| Error::invalid(format!("candle can not load the model: {name}: {error}")))
}

fn wrong(what: &str) -> Error {
    Error::invalid(format!("candle can not load the model: {CONFIG}: {what}"))
}

fn family(config: &Config) -> Result<Family> {
    const KNOWN: &str = "bert, roberta, xlm-roberta, camembert, distilbert, modernbert, vit";
    match config.model_type.as_deref() {
        Some("bert") => Ok(Family::Bert),
        Some("roberta" | "xlm-roberta" | "camembert") => Ok(Family::Roberta),
        Some("distilbert") => Ok(Family::DistilBert),
        Some("modernbert") => rotations(config).map(Family::ModernBert),
        Some("vit") => image(config).map(Family::Vit),
        Some(other) => Err(Error::unsupported(format!(
            "candle can not load the model: {CONFIG}: model_type '{}' is none of {KNOWN}; export \
             it to ONNX",
            quoted(other)
        ))),
        None => Err(wrong(&format!("model_type: expected one of {KNOWN}"))),
    }
}

/// As the configuration says it since 2025 (`layer_types`, `rope_parameters`), or before.
fn rotations(config: &Config) -> Result<Rotations> {
    let layers = config.num_hidden_layers.unwrap_or(0).min(1 << 8);
    let every = config.global_attn_every_n_layers.unwrap_or(3).max(1);
    let all = match &config.layer_types {
        Some(types) => types.iter().map(|kind| kind == "full_attention").collect(),
        None => (0..layers).map(|layer| layer % every == 0).collect(),
    };
    let theta = |kind: &str, old: Option<f32>, default: f32| {
        let new = config.rope_parameters.as_ref().and_then(|ropes| ropes.get(kind)?.rope_theta);
        let theta = new.or(old).unwrap_or(default);
        if theta.is_finite() && theta > 0.0 { Ok(theta) } else { Err(wrong("rope_theta")) }
    };
    Ok(Rotations {
        theta_all: theta("full_attention", config.global_rope_theta, 160_000.0)?,
        theta_near: theta("sliding_attention", config.local_rope_theta, 10_000.0)?,
        window: config.local_attention.unwrap_or(128) / 2,
        all,
        pooling: config.classifier_pooling.unwrap_or(Pooling::Cls),
    })
}

fn image(config: &Config) -> Result<Image> {
    let size = config.image_size.filter(|size| (1..=4096).contains(size));
    let size = size.ok_or_else(|| wrong("image_size: expected 1 to 4096"))?;
    let patch = config.patch_size.filter(|patch| *patch > 0 && size.is_multiple_of(*patch));
    let patch = patch.ok_or_else(|| wrong("patch_size: expected a divisor of image_size"))?;
    let channels = config.num_channels.unwrap_or(3);
    if !(1..=64).contains(&channels) {
        return Err(wrong("num_channels: expected 1 to 64"));
    }
    Ok(Image { size, patch, channels })
}

fn activation(name: &str) -> Result<Activation> {
    match name {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(Error::unsupported(format!(
            "candle can not load the model: {CONFIG}: activation '{}' is none of gelu, gelu_new, \
             relu",
            quoted(other)
        ))),
    }
}

/// What the model was made for, by the name of its class in Hugging Face's library.
fn task(config: &Config, files: &Files, options: &TransformerOptions) -> Result<Task> {
    let class = config.architectures.first().map_or("Model", String::as_str);
    let of_image = class.ends_with("ForImageClassification");
    if class.ends_with("ForSequenceClassification") || of_image {
        let labels = labels(config)?;
        return Ok(Task::Sequence(match config.problem_type.as_deref() {
            Some("multi_label_classification") => Answers::Many(labels),
            Some("regression") => Answers::Scores(labels.len()),
            None if labels.len() == 1 => Answers::Scores(1),
            _ => Answers::One(labels),
        }));
    }
    if class.ends_with("ForTokenClassification") {
        return labels(config).map(Task::Token);
    }
    // The head of a model that was trained to fill in words is of no use here; its encoder is.
    if class.ends_with("Model") || class.ends_with("ForMaskedLM") {
        return embedding(files, options);
    }
    Err(Error::unsupported(format!(
        "candle can not load the model: {CONFIG}: '{}' is none of ...Model, \
         ...ForSequenceClassification, ...ForTokenClassification, ...ForImageClassification",
        quoted(class)
    )))
}

/// Class names in the order of the model's numbers. A model without names has two classes, as in
/// the library that saved it.
fn labels(config: &Config) -> Result<Vec<String>> {
    const LABELS_MAX: usize = 1 << 16;
    if config.id2label.is_empty() {
        return Ok(vec!["LABEL_0".into(), "LABEL_1".into()]);
    }
    let count = config.id2label.len();
    let by_number = |index: usize| config.id2label.get(&index.to_string()).cloned();
    (0..count.min(LABELS_MAX + 1))
        .map(by_number)
        .collect::<Option<Vec<_>>>()
        .filter(|labels| labels.len() <= LABELS_MAX)
        .ok_or_else(|| wrong("id2label: expected names for 0, 1, 2... without a gap"))
}

fn embedding(files: &Files, options: &TransformerOptions) -> Result<Task> {
    let modules: Option<Vec<Module>> = parse(files, MODULES)?;
    let (mut pooling, mut normalize) = (Pooling::Mean, false);
    for module in modules.iter().flatten() {
        let kind = module.r#type.rsplit('.').next().unwrap_or_default();
        match kind {
            "Transformer" => {}
            "Normalize" => normalize = true,
            "Pooling" if module.path == "1_Pooling" => pooling = declared_pooling(files)?,
            _ => {
                return Err(Error::unsupported(format!(
                    "candle can not load the model: {MODULES}: module '{}' in '{}' is none of \
                     Transformer, Pooling in 1_Pooling, Normalize",
                    quoted(kind),
                    quoted(&module.path)
                )));
            }
        }
    }
    Ok(Task::Embedding {
        pooling: options.pooling.unwrap_or(pooling),
        normalize: options.normalize.unwrap_or(normalize),
    })
}

fn declared_pooling(files: &Files) -> Result<Pooling> {
    let config: PoolingConfig = parse(files, POOLING)?.unwrap_or_default();
    let others = config.pooling_mode_mean_sqrt_len_tokens
        || config.pooling_mode_weightedmean_tokens
        || config.pooling_mode_lasttoken;
    let modes = [
        (config.pooling_mode_cls_token, Pooling::Cls),
        (config.pooling_mode_mean_tokens, Pooling::Mean),
        (config.pooling_mode_max_tokens, Pooling::Max),
    ];
    let mut on = modes.into_iter().filter(|(on, _)| *on).map(|(_, pooling)| pooling);
    match (on.next(), on.next(), others) {
        (Some(pooling), None, false) => Ok(pooling),
        _ => Err(Error::unsupported(format!(
            "candle can not load the model: {POOLING}: expected exactly one of cls, mean and max"
        ))),
    }
}
