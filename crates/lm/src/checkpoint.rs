//! Weights on disk: safetensors folders in the Hugging Face layout, read and written.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, View};
use serde_json::Value;

use crate::config::ModelConfig;
use crate::error::{LoadError, read_json, read_text};
use crate::parameters::{Parameters, Tensor};
use crate::storage::{Storage, replace};

const SINGLE_FILE: &str = "model.safetensors";
const INDEX_FILE: &str = "model.safetensors.index.json";

/// Where one tensor lies.
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

/// One mapped safetensors file.
struct Shard {
    path: PathBuf,
    map: Mmap,
}

/// The weights of a checkpoint folder, mapped but not yet read.
pub struct Weights {
    folder: PathBuf,
    shards: Vec<Shard>,
    entries: BTreeMap<String, Entry>,
}

impl Weights {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// Only the headers are read. The files must not be changed while the value lives.
    pub fn open(folder: &Path) -> Result<Weights, LoadError> {
        let mut weights = Weights { folder: folder.to_owned(), shards: Vec::new(), entries: BTreeMap::new() };
        let index_path = folder.join(INDEX_FILE);
        if folder.join(SINGLE_FILE).exists() {
            weights.add_shard(&folder.join(SINGLE_FILE))?;
        } else if index_path.exists() {
            weights.add_indexed_shards(&index_path)?;
        } else {
            return Err(LoadError::NoWeights { path: folder.to_owned() });
        }
        Ok(weights)
    }

    fn add_indexed_shards(&mut self, index_path: &Path) -> Result<(), LoadError> {
        let malformed = |reason: String| LoadError::Malformed { path: index_path.to_owned(), reason };
        let index = read_json(index_path)?;
        let map =
            index["weight_map"].as_object().ok_or_else(|| malformed("weight_map is missing".to_owned()))?;
        let mut files = BTreeMap::<&str, Vec<&str>>::new();
        for (name, file) in map {
            let file = file.as_str().filter(|file| Path::new(file).components().count() == 1);
            let file = file.ok_or_else(|| malformed(format!("weight_map gives no file name for {name}")))?;
            files.entry(file).or_default().push(name);
        }
        for (file, names) in files {
            self.add_shard(&self.folder.join(file))?;
            let shard = self.shards.len() - 1;
            for name in names {
                if self.entries.get(name).is_none_or(|entry| entry.shard != shard) {
                    return Err(malformed(format!("{name} should be in {file}, but is not")));
                }
            }
        }
        Ok(())
    }

    fn add_shard(&mut self, path: &Path) -> Result<(), LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let malformed = |reason: String| LoadError::Malformed { path: path.to_owned(), reason };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is read-only; like every reader of a checkpoint we rely on nobody
        // truncating the file while a run uses it, which the doc comment of `open` says.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header, metadata): (usize, Metadata) =
            SafeTensors::read_metadata(&map).map_err(|error| malformed(error.to_string()))?;
        // The data follows the length of the header (8 bytes) and the header itself.
        let start = 8 + header;
        for (name, info) in metadata.tensors() {
            let bytes = start + info.data_offsets.0..start + info.data_offsets.1;
            let entry =
                Entry { shard: self.shards.len(), dtype: info.dtype, shape: info.shape.clone(), bytes };
            if self.entries.insert(name.clone(), entry).is_some() {
                return Err(malformed(format!("{name} is in two shards")));
            }
        }
        self.shards.push(Shard { path: path.to_owned(), map });
        Ok(())
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The number formats of all tensors, each once.
    pub fn dtypes(&self) -> Vec<String> {
        let names = self.entries.values().map(|entry| format!("{:?}", entry.dtype).to_lowercase());
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Result<&[usize], LoadError> {
        Ok(&self.entry(name)?.shape)
    }

    /// Checks that the tensors are those of the architecture, with its shapes.
    ///
    /// A stored `lm_head.weight` beside tied embeddings is let pass, as transformers does.
    pub fn check(&self, config: &ModelConfig) -> Result<(), LoadError> {
        let expected = Parameters::new(config).tensors;
        for Tensor { name, shape, .. } in &expected {
            let found = self.shape(name)?;
            if found != shape {
                return Err(LoadError::Shape {
                    path: self.folder.clone(),
                    name: name.clone(),
                    found: found.to_vec(),
                    expected: shape.clone(),
                });
            }
        }
        let known: std::collections::HashSet<&str> =
            expected.iter().map(|tensor| tensor.name.as_str()).collect();
        match self.names().find(|name| !known.contains(name) && *name != "lm_head.weight") {
            Some(name) => {
                Err(LoadError::UnexpectedTensor { path: self.folder.clone(), name: name.to_owned() })
            }
            None => Ok(()),
        }
    }

    /// A tensor as f32, row-major, with its shape.
    pub fn tensor_f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), LoadError> {
        let shape = self.entry(name)?.shape.clone();
        let mut values = vec![0.0; shape.iter().product()];
        self.read_into(name, &shape, &mut values)?;
        Ok((shape, values))
    }

    /// Reads a tensor of the given shape into `values`, row-major.
    ///
    /// Refuses a tensor of another shape; `values` must have room for exactly the shape's elements.
    pub fn read_into(&self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<(), LoadError> {
        let entry = self.entry(name)?;
        if entry.shape != shape || values.len() != shape.iter().product::<usize>() {
            return Err(LoadError::Shape {
                path: self.folder.clone(),
                name: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let shard = &self.shards[entry.shard];
        let bytes = &shard.map[entry.bytes.clone()];
        let pairs = bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match entry.dtype {
            Dtype::F32 => {
                for (value, b) in values.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Dtype::BF16 => {
                for (value, bits) in values.iter_mut().zip(pairs) {
                    *value = half::bf16::from_bits(bits).to_f32();
                }
            }
            Dtype::F16 => {
                for (value, bits) in values.iter_mut().zip(pairs) {
                    *value = half::f16::from_bits(bits).to_f32();
                }
            }
            other => {
                return Err(LoadError::Dtype {
                    path: shard.path.clone(),
                    name: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<&Entry, LoadError> {
        self.entries
            .get(name)
            .ok_or_else(|| LoadError::MissingTensor { path: self.folder.clone(), name: name.to_owned() })
    }
}

/// Number format of the weights that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoredDtype {
    /// Four bytes a weight, exact.
    F32,
    /// Two bytes a weight, rounded to nearest even.
    Bf16,
}

impl StoredDtype {
    /// The name that `config.json` uses.
    pub fn name(self) -> &'static str {
        match self {
            StoredDtype::F32 => "float32",
            StoredDtype::Bf16 => "bfloat16",
        }
    }
}

/// The text files that make a checkpoint folder usable for text: tokens and chat template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFiles {
    /// `tokenizer.json`.
    pub tokenizer: String,
    /// `tokenizer_config.json`.
    pub tokenizer_config: String,
    /// `chat_template.jinja`; absent when the template stands in `tokenizer_config.json` or there is none.
    pub chat_template: Option<String>,
}

impl TextFiles {
    /// Reads the files of a checkpoint folder as they are.
    pub fn from_folder(folder: &Path) -> Result<TextFiles, LoadError> {
        let template = folder.join("chat_template.jinja");
        Ok(TextFiles {
            tokenizer: read_text(&folder.join("tokenizer.json"))?,
            tokenizer_config: read_text(&folder.join("tokenizer_config.json"))?,
            chat_template: if template.exists() { Some(read_text(&template)?) } else { None },
        })
    }

    /// The files for a tokenizer of our own.
    ///
    /// `tokenizer` is the content of `tokenizer.json`, `end` the token that ends a turn (it is also
    /// the padding token), `max_length` the longest sequence in tokens.
    pub fn new(tokenizer: String, chat_template: String, end: &str, max_length: usize) -> TextFiles {
        let config = serde_json::json!({
            "clean_up_tokenization_spaces": false,
            "eos_token": end,
            "model_max_length": max_length,
            "pad_token": end,
            "tokenizer_class": "PreTrainedTokenizerFast",
        });
        TextFiles { tokenizer, tokenizer_config: pretty(&config), chat_template: Some(chat_template) }
    }
}

/// One tensor on its way to disk; converted only when its turn comes, so that a large model is
/// never held twice.
struct Outgoing<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
    dtype: StoredDtype,
}

impl View for &Outgoing<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = match self.dtype {
            StoredDtype::F32 => self.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            StoredDtype::Bf16 => {
                self.values.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
            }
        };
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        match self.dtype {
            StoredDtype::F32 => self.values.len() * 4,
            StoredDtype::Bf16 => self.values.len() * 2,
        }
    }
}

/// Writes a Hugging Face folder: `config.json`, `generation_config.json`, `model.safetensors` and,
/// with `text`, the tokenizer files. The folder is made if need be.
///
/// `tensors` must be exactly those of [`Parameters`] (any order), row-major. Each file is
/// written beside its place, synced and then moved there, so a crash never leaves half a file.
pub fn write_folder<'a>(
    storage: &dyn Storage,
    folder: &Path,
    config: &ModelConfig,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    dtype: StoredDtype,
    text: Option<&TextFiles>,
) -> Result<(), LoadError> {
    let mut given: HashMap<String, Outgoing<'a>> =
        tensors.into_iter().map(|(name, shape, values)| (name, Outgoing { shape, values, dtype })).collect();
    let mut outgoing = Vec::with_capacity(given.len());
    for Tensor { name, shape: expected, .. } in Parameters::new(config).tensors {
        let tensor = given
            .remove(&name)
            .ok_or_else(|| LoadError::MissingTensor { path: folder.to_owned(), name: name.clone() })?;
        if tensor.shape != expected || tensor.values.len() != expected.iter().product::<usize>() {
            return Err(LoadError::Shape { path: folder.to_owned(), name, found: tensor.shape, expected });
        }
        outgoing.push((name, tensor));
    }
    if let Some(name) = given.into_keys().next() {
        return Err(LoadError::UnexpectedTensor { path: folder.to_owned(), name });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LoadError::Write { path, source }
    };
    storage.make_folder(folder).map_err(failed(folder))?;
    let (config_json, generation) =
        (pretty(&config.to_json(dtype.name())), pretty(&config.generation_json()));
    let mut texts = vec![("config.json", &config_json), ("generation_config.json", &generation)];
    if let Some(text) = text {
        texts.push(("tokenizer.json", &text.tokenizer));
        texts.push(("tokenizer_config.json", &text.tokenizer_config));
        texts.extend(text.chat_template.iter().map(|template| ("chat_template.jinja", template)));
    }
    for (name, text) in texts {
        let path = folder.join(name);
        replace(storage, &path, &mut |path| std::fs::write(path, text)).map_err(failed(&path))?;
    }
    let path = folder.join(SINGLE_FILE);
    replace(storage, &path, &mut |path| {
        // transformers refuses a file whose metadata does not name the framework of the layout.
        write_tensors(path, outgoing.iter().map(|(name, tensor)| (name, tensor)), ("format", "pt"))
    })
    .map_err(failed(&path))
}

/// Writes a safetensors file with one line of metadata.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: impl IntoIterator<Item = (impl AsRef<str> + Ord + std::fmt::Display, impl View)>,
    (key, value): (&str, &str),
) -> std::io::Result<()> {
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|error| match error {
        SafeTensorError::IoError(error) => error,
        other => std::io::Error::other(other.to_string()),
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
