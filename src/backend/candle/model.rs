//! A transformer as the server sees it: what it takes and gives, and the way of a request through
//! tokens, passes and heads back to tensors.

use std::sync::Arc;

use rayon::ThreadPool;

use super::description::{Answers, Description, Family, Image, TOKENIZER, Task};
use super::encoder::{self, Encoder};
use super::entities::{argmax, entities, softmax};
use super::heads::Head;
use super::modern::Modern;
use super::pack::{Sequence, pack, unpad};
use super::text::{Texts, Tokenized};
use super::vision::Vision;
use super::weights::{Weights, open};
use super::{Executable, ModelSource, device};
use crate::backend::{Session, one_line};
use crate::error::{Error, Result};
use crate::infer::TokenCount;
use crate::model::device::Device;
use crate::model::transformer::{TokenInput, TransformerOptions};
use crate::model::{Signature, TensorSpec};
use crate::tensor::{self, DType, Dim, Shape, Tensor, strings};

pub struct Model {
    signature: Signature,
    labels: Vec<(String, Vec<String>)>,
    device: Device,
    shared: Arc<Shared>,
}

/// One architecture with its weights.
enum Body {
    Bert(Encoder),
    Modern(Modern),
    Vision(Vision),
}

/// What all sessions compute with.
struct Shared {
    description: Description,
    encoder: Body,
    head: Head,
    /// Set where requests hold text.
    texts: Option<Texts>,
    tokens_per_pass: usize,
    pool: Arc<ThreadPool>,
}

impl Model {
    pub fn load(source: &ModelSource<'_>, pool: Arc<ThreadPool>) -> Result<Self> {
        let options = &source.manifest.transformer;
        let description = Description::read(source.beside, options)?;
        let file = open(source.bytes)?;
        let (place, device) = device::open(source.id, &source.manifest.engine)?;
        let weights = Weights::new(&file, &place);
        let input = match (&description.family, options.input) {
            (Family::Vit(image), _) => Input::Pixels(*image),
            (_, Some(TokenInput::Text)) => Input::Text,
            (_, Some(TokenInput::Tokens)) => Input::Tokens,
            (_, None) if source.beside.contains_key(TOKENIZER) => Input::Text,
            (_, None) => Input::Tokens,
        };
        let texts = match input {
            Input::Text => Some(Texts::load(source.beside, &description, options.truncate)?),
            Input::Tokens | Input::Pixels(_) => None,
        };
        let bert = |names| Encoder::load(&weights, &description, names).map(Body::Bert);
        let encoder = match &description.family {
            Family::Bert => bert(&encoder::BERT)?,
            Family::Roberta => bert(&encoder::ROBERTA)?,
            Family::DistilBert => bert(&encoder::DISTILBERT)?,
            Family::ModernBert(rotations) => {
                Body::Modern(Modern::load(&weights, &description, rotations)?)
            }
            Family::Vit(image) => Body::Vision(Vision::load(&weights, &description, *image)?),
        };
        let head = Head::load(&weights, &description)?;
        let tokens_per_pass =
            options.tokens_per_pass.unwrap_or(TransformerOptions::TOKENS_PER_PASS);
        let (signature, labels) = signature(&description, input);
        let shared = Shared { description, encoder, head, texts, tokens_per_pass, pool };
        Ok(Self { signature, labels, device, shared: Arc::new(shared) })
    }
}

/// What a request holds.
#[derive(Clone, Copy, PartialEq)]
enum Input {
    Text,
    Tokens,
    Pixels(Image),
}

fn signature(description: &Description, input: Input) -> (Signature, Vec<(String, Vec<String>)>) {
    let spec = |name: &str, dtype, rest: &[Dim]| TensorSpec {
        name: name.to_owned(),
        dtype,
        dims: std::iter::once(Dim::Any).chain(rest.iter().copied()).collect(),
    };
    let is_text = input == Input::Text;
    let inputs = match input {
        Input::Text => vec![spec("text", DType::Bytes, &[])],
        Input::Tokens => {
            let tokens = |name| spec(name, DType::I64, &[Dim::Any]);
            vec![tokens("input_ids"), tokens("attention_mask")]
        }
        Input::Pixels(Image { size, channels, .. }) => {
            let dims = [channels, size, size].map(Dim::Fixed);
            vec![spec("pixel_values", DType::F32, &dims)]
        }
    };
    let mut named = Vec::new();
    let mut classes = |name: &str, labels: &[String]| {
        named.push((name.to_owned(), labels.to_vec()));
        spec(name, DType::F32, &[Dim::Fixed(labels.len())])
    };
    let mut outputs = match &description.task {
        Task::Embedding { .. } => {
            vec![spec("embedding", DType::F32, &[Dim::Fixed(description.hidden)])]
        }
        Task::Sequence(Answers::One(labels)) => {
            vec![spec("label", DType::Bytes, &[]), classes("probabilities", labels)]
        }
        Task::Sequence(Answers::Many(labels)) => vec![classes("probabilities", labels)],
        Task::Sequence(Answers::Scores(count)) => {
            vec![spec("scores", DType::F32, &[Dim::Fixed(*count)])]
        }
        Task::Token(_) if is_text => vec![spec("entities", DType::Bytes, &[])],
        Task::Token(labels) => {
            vec![spec("logits", DType::F32, &[Dim::Any, Dim::Fixed(labels.len())])]
        }
    };
    if is_text {
        outputs.push(spec("token_count", DType::I32, &[]));
    }
    (Signature { inputs, outputs }, named)
}

impl Executable for Model {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn labels(&self) -> &[(String, Vec<String>)] {
        &self.labels
    }

    fn device(&self) -> Device {
        self.device
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Instance { shared, tokens: TokenCount::default() }))
    }
}

struct Instance {
    shared: Arc<Shared>,
    tokens: TokenCount,
}

impl Session for Instance {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let Self { shared, tokens } = self;
        shared.pool.install(|| match (&shared.texts, inputs) {
            (None, [pixels]) => shared.run_pixels(pixels),
            (Some(texts), [text]) => shared.run_texts(&texts.tokenize(text)?, text, tokens),
            (None, [ids, mask]) => shared.run_tokens(ids, mask, tokens),
            _ => Err(Error::internal("the inputs are not those of the signature")),
        })
    }

    fn tokens(&self) -> TokenCount {
        self.tokens
    }
}

/// Rows of numbers, one for each sequence or token.
struct Rows {
    /// Of every sequence, in the order of the request.
    of: Vec<Vec<f32>>,
    columns: usize,
}

impl Shared {
    fn run_texts(
        &self,
        tokenized: &[Tokenized],
        texts: &Tensor,
        tokens: &mut TokenCount,
    ) -> Result<Vec<Tensor>> {
        let sequences: Vec<&Sequence> = tokenized.iter().map(|text| &text.sequence).collect();
        *tokens = count(&sequences);
        let rows = self.compute(&sequences)?;
        let mut outputs = match &self.description.task {
            Task::Token(labels) => {
                let texts = strings::elements(texts.data()).map(Option::unwrap_or_default);
                let texts = texts.map(|text| str::from_utf8(text).unwrap_or_default());
                let found = (tokenized.iter().zip(texts).zip(&rows.of))
                    .map(|((tokens, text), rows)| entities(text, &tokens.places, rows, labels));
                vec![words("entities", found)?]
            }
            _ => self.answers(rows)?,
        };
        let counts = sequences.iter().map(|sequence| sequence.ids.len());
        let counts: Vec<i32> =
            counts.map(|count| i32::try_from(count).unwrap_or(i32::MAX)).collect();
        outputs.push(numbers("token_count", DType::I32, &[counts.len()], counts)?);
        Ok(outputs)
    }

    fn run_pixels(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        let (Body::Vision(vision), count) = (&self.encoder, pixels.rows()) else {
            return Err(Error::internal("the model has no eyes"));
        };
        let columns = self.columns();
        if count == 0 {
            return self.answers(Rows { of: Vec::new(), columns });
        }
        let numbers = bytemuck::allocation::pod_collect_to_vec::<u8, f32>(pixels.data());
        let computed = vision
            .run(numbers, count)
            .and_then(|(pack, states)| self.head.run(&states, &pack)?.to_vec2::<f32>());
        self.answers(Rows { of: computed.map_err(failed)?, columns })
    }

    fn run_tokens(
        &self,
        ids: &Tensor,
        mask: &Tensor,
        tokens: &mut TokenCount,
    ) -> Result<Vec<Tensor>> {
        let (&[rows, columns], true) = (&**ids.shape(), ids.shape() == mask.shape()) else {
            return Err(Error::invalid(
                "inputs 'input_ids' and 'attention_mask': expected the same shape [rows, tokens]",
            ));
        };
        if columns > self.description.tokens_max {
            return Err(Error::invalid(format!(
                "input 'input_ids' has {columns} tokens, more than the {} that the model takes",
                self.description.tokens_max
            )));
        }
        let [id, let_through] = [ids, mask]
            .map(|tensor| bytemuck::allocation::pod_collect_to_vec::<u8, i64>(tensor.data()));
        let mut sequences = unpad(&id, &let_through, [rows, columns]).ok_or_else(|| {
            Error::invalid(
                "input 'attention_mask': expected 0 and 1, and where it is 1, 'input_ids' of 0 or \
                 more",
            )
        })?;
        let vocabulary = self.description.vocabulary;
        if sequences.iter().flat_map(|row| &row.ids).any(|&id| id as usize >= vocabulary) {
            return Err(Error::invalid(format!(
                "input 'input_ids': expected ids below {vocabulary}"
            )));
        }
        if self.description.family == Family::Roberta {
            // Its positions count what is no padding, wherever that stands.
            sequences.iter_mut().for_each(|row| *row = Sequence::new(std::mem::take(&mut row.ids)));
        }
        let sequences: Vec<&Sequence> = sequences.iter().collect();
        *tokens = count(&sequences);
        let computed = self.compute(&sequences)?;
        if !matches!(self.description.task, Task::Token(_)) {
            return self.answers(computed);
        }
        // Back to where the tokens stood; padding has no answer.
        let width = computed.columns;
        let mut logits = vec![0.0; rows * columns * width];
        for (row, found) in computed.of.iter().enumerate() {
            let places = (0..columns).filter(|place| let_through[row * columns + place] == 1);
            for (place, numbers) in places.zip(found.chunks(width)) {
                let start = (row * columns + place) * width;
                logits[start..start + width].copy_from_slice(numbers);
            }
        }
        Ok(vec![numbers("logits", DType::F32, &[rows, columns, width], logits)?])
    }

    /// The head's numbers for every sequence, in the order given. A sequence without tokens has
    /// zeros.
    fn compute(&self, sequences: &[&Sequence]) -> Result<Rows> {
        let columns = self.columns();
        let by_token = matches!(self.description.task, Task::Token(_));
        let empty = if by_token { Vec::new() } else { vec![0.0; columns] };
        let mut of = vec![empty; sequences.len()];
        for pack in pack(sequences, self.tokens_per_pass) {
            let states = match &self.encoder {
                Body::Bert(encoder) => encoder.run(&pack),
                Body::Modern(encoder) => encoder.run(&pack),
                Body::Vision(_) => return Err(Error::internal("a picture has no tokens")),
            };
            let computed = states.and_then(|states| self.head.run(&states, &pack));
            let numbers = computed.and_then(|tensor| tensor.flatten_all()?.to_vec1::<f32>());
            let numbers = numbers.map_err(failed)?;
            let spans = pack.spans().enumerate();
            for (&index, (place, span)) in pack.order.iter().zip(spans) {
                let rows = if by_token { span } else { place..place + 1 };
                of[index] = numbers[rows.start * columns..rows.end * columns].to_vec();
            }
        }
        Ok(Rows { of, columns })
    }

    /// Numbers of one sequence, or of one token.
    fn columns(&self) -> usize {
        match &self.description.task {
            Task::Embedding { .. } => self.description.hidden,
            Task::Sequence(answers) => answers.count(),
            Task::Token(labels) => labels.len(),
        }
    }

    fn answers(&self, rows: Rows) -> Result<Vec<Tensor>> {
        let Rows { of, columns } = rows;
        let shape = [of.len(), columns];
        match &self.description.task {
            Task::Sequence(Answers::One(labels)) => {
                let shares: Vec<Vec<f32>> = of.into_iter().map(softmax).collect();
                let best = shares.iter().map(|shares| labels[argmax(shares)].clone());
                let label = words("label", best)?;
                Ok(vec![label, numbers("probabilities", DType::F32, &shape, shares.concat())?])
            }
            Task::Sequence(Answers::Many(_)) => {
                let mut each = of.concat();
                each.iter_mut().for_each(|x| *x = 1.0 / (1.0 + (-*x).exp()));
                Ok(vec![numbers("probabilities", DType::F32, &shape, each)?])
            }
            Task::Sequence(Answers::Scores(_)) => {
                Ok(vec![numbers("scores", DType::F32, &shape, of.concat())?])
            }
            Task::Embedding { .. } => {
                Ok(vec![numbers("embedding", DType::F32, &shape, of.concat())?])
            }
            Task::Token(_) => Err(Error::internal("tokens have answers of their own")),
        }
    }
}

fn failed(error: candle_core::Error) -> Error {
    let detail = one_line(&error.to_string());
    Error::internal("the model failed on this input").with_detail(detail)
}

/// Nothing is padded here.
fn count(sequences: &[&Sequence]) -> TokenCount {
    let lengths = || sequences.iter().map(|sequence| sequence.ids.len());
    let given = lengths().sum::<usize>();
    let padded = lengths().max().unwrap_or(0) * sequences.len();
    TokenCount { given: given as u64, padding: 0, padding_spared: (padded - given) as u64 }
}

fn words(name: &str, words: impl Iterator<Item = String>) -> Result<Tensor> {
    let (mut data, mut count) = (Vec::new(), 0);
    for word in words {
        count += 1;
        if !strings::push(&mut data, word.as_bytes()) {
            return Err(Error::internal("the model answered with an endless string"));
        }
    }
    Tensor::new(name, DType::Bytes, Shape::new([count]), data.into())
}

fn numbers<T: bytemuck::NoUninit + Send>(
    name: &str,
    dtype: DType,
    shape: &[usize],
    data: Vec<T>,
) -> Result<Tensor> {
    Tensor::new(name, dtype, Shape::new(shape.iter().copied()), tensor::shared(data))
}
