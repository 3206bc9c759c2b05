//! Where the agent acts.

use std::path::PathBuf;

use opid_env::catalog::ENDLESS;
use opid_env::search::library::SearchConfig;
use opid_env::search::observation;
use opid_env::search::world::WorldConfig;
use opid_env::webshop::{Manner, Protocol, ShopConfig, Similarity, Speaker, Style};
use opid_retrieval::http::Form;
use serde::{Deserialize, Serialize};

/// Where the agent acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// `household` (generated games, needs no data), `alfworld` (games under `$ALFWORLD_DATA`), `webshop` (products
    /// under `$WEBSHOP_DATA`, or generated ones) or `search` (questions and passages from files, or of a made-up world).
    pub name: String,
    /// Split whose tasks are trained on.
    pub split: String,
    /// An episode ends after this many actions.
    pub max_turns: usize,
    /// `household`: fewest and most receptacles of a room; 0 and 0 make rooms of real size.
    pub receptacles: (usize, usize),
    /// Kinds of task to use (for example `pick_and_place_simple`); empty uses all.
    pub kinds: Vec<String>,
    /// Share of the training split's tasks that are trained on, the same ones for every seed; of an endless
    /// split, which has no shares, only 1.
    pub fraction: f64,
    /// `search`: questions, and what is searched.
    pub search: Search,
    /// `webshop`: which shop.
    pub shop: Shop,
    /// Number, from 0, of the first task that is trained on after those of a `[warm_start]`: for a policy that was made
    /// from the tasks before it.
    pub first_task: usize,
}

impl Environment {
    /// Whether its splits have no end, so that they cannot be played as a whole.
    pub fn is_endless(&self) -> bool {
        let drawn = self.name == "webshop" && self.shop.protocol == Protocol::Reference;
        drawn || ENDLESS.contains(&self.name.as_str())
    }

    /// A setting that cannot be used, by its key, and why.
    pub(super) fn fault(&self) -> Option<Fault> {
        let fraction = self.fraction;
        first([
            (self.max_turns == 0, "environment.max_turns", "an episode needs at least one turn"),
            (
                !(fraction > 0.0 && fraction <= 1.0),
                "environment.fraction",
                "it is a share of the tasks: use a value above 0 and at most 1",
            ),
            (
                fraction < 1.0 && self.is_endless(),
                "environment.fraction",
                "this environment makes games without end: only 1 has a meaning",
            ),
        ])
        .or_else(|| self.search.fault())
    }
}

/// Which shop an agent buys in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shop {
    /// Folder of the products (`items_shuffle_1000.json` and `items_ins_v2_1000.json`, or without `_1000`); empty takes
    /// `$WEBSHOP_DATA`, and without that products are made up.
    pub data: String,
    /// Whether the set of all products is taken where the folder also has that of 1,000.
    pub all: bool,
    /// Products of a shop that is made up; 0 refuses to make any up.
    pub products: usize,
    /// `fixed` (one order of the goals, of which the first are tested on) or `reference` (an order for every worker, as
    /// the reference has it: goals for tests turn up in training).
    pub protocol: Protocol,
    /// Whether instructions are those that people wrote (1,000 products have 13).
    pub human: bool,
    /// Whether goals are left out that not even their own product meets in full.
    pub attainable: bool,
    /// How pages are written: `text` (one line) or `rich` (a line a part, with buttons marked).
    pub page: Style,
    /// Whether the page of a product's attributes can be opened.
    pub attributes: bool,
    /// How a purchase's texts are compared with the goal's: `blocks` (thefuzz 0.19 with difflib, as the original pins) or
    /// `subsequence` (thefuzz from 0.20 on, with RapidFuzz).
    pub similarity: Similarity,
}

impl Shop {
    /// The settings as the environment takes them.
    pub fn config(&self) -> ShopConfig {
        ShopConfig {
            data: (!self.data.is_empty()).then(|| PathBuf::from(&self.data)),
            all: self.all,
            products: self.products,
            protocol: self.protocol,
            speaker: if self.human { Speaker::Human } else { Speaker::Made },
            attainable: self.attainable,
            manner: Manner {
                style: self.page,
                shows_attributes: self.attributes,
                similarity: self.similarity,
            },
        }
    }
}

/// Questions, and what is searched for their answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// Folder of questions, `SPLIT.jsonl` or `SPLIT.parquet` (as Search-R1 publishes them); empty makes up a world of
    /// things to ask about.
    pub questions: String,
    /// With `questions`, or a `dense` retriever: the passages, a file of JSON lines with `id` and `contents`.
    pub corpus: String,
    /// Who finds passages: `bm25` (by words, in process), `dense` (by vectors, in process) or `http` (a server such as
    /// that of `opid serve-retriever` or Search-R1).
    pub retriever: RetrieverName,
    /// `dense`: its files.
    pub dense: DenseFiles,
    /// `http`: which servers, and how they are asked.
    pub http: RetrievalServers,
    /// `http`: largest share of a step's episodes, or of an evaluation's, that may be shown an error instead of
    /// passages; above it the run stops.
    pub max_failures: f64,
    /// Passages shown for a query.
    pub passages: usize,
    /// How they are shown: `plain`, or `json` as the reference does.
    pub style: observation::Style,
    /// Whether passages are shown and scored as they are, as by the reference: one that holds an answer block then
    /// answers for the agent.
    pub reference: bool,
    /// Scales the made-up world; 1 has 728 things.
    pub size: f64,
    /// Made-up worlds that training asks about, each with pages of its own: the same words for names, other facts. With
    /// one, a policy learns the world by heart; with hundreds, it has to learn to read.
    pub worlds: usize,
}

/// A key, and why its setting cannot be used.
type Fault = (&'static str, &'static str);

/// The first fault that is there.
fn first<const N: usize>(faults: [(bool, &'static str, &'static str); N]) -> Option<Fault> {
    faults.into_iter().find(|(is_there, ..)| *is_there).map(|(_, key, reason)| (key, reason))
}

impl Search {
    /// A setting that cannot be used, by its key, and why.
    fn fault(&self) -> Option<Fault> {
        let (dense, http) = (&self.dense, &self.http);
        let (made_up, no_corpus) = (self.questions.is_empty(), self.corpus.is_empty());
        let needs_corpus = match self.retriever {
            RetrieverName::Bm25 => !made_up,
            RetrieverName::Dense => true,
            RetrieverName::Http => false,
        };
        first([
            (
                needs_corpus && no_corpus,
                "environment.search.corpus",
                "name the passages, a file of JSON lines with `id` and `contents`",
            ),
            (
                self.retriever == RetrieverName::Bm25 && made_up && !no_corpus,
                "environment.search.questions",
                "a corpus needs questions; leave both out for the made-up world",
            ),
            (
                self.retriever == RetrieverName::Http && !no_corpus,
                "environment.search.corpus",
                "the servers have their own passages: leave it out",
            ),
            (self.passages == 0, "environment.search.passages", "show at least 1 passage"),
            (
                !(self.size > 0.0 && self.size <= 100.0),
                "environment.search.size",
                "use a size above 0 and at most 100",
            ),
            (
                self.retriever == RetrieverName::Dense
                    && (dense.index.is_empty() || dense.encoder.is_empty()),
                "environment.search.dense",
                "name an index (opid index makes one) and the encoder that made it",
            ),
            (self.worlds == 0, "environment.search.worlds", "make up at least 1 world"),
            (
                self.worlds > 1 && !(made_up && self.retriever == RetrieverName::Bm25),
                "environment.search.worlds",
                "questions from files, and retrievers with passages of their own, know one world: use 1",
            ),
            (
                !(http.timeout > 0.0 && http.timeout <= 86_400.0),
                "environment.search.http.timeout",
                "use a number of seconds above 0",
            ),
            (
                !(0.0..=1.0).contains(&self.max_failures),
                "environment.search.max_failures",
                "it is a share: use a value from 0 to 1",
            ),
        ])
    }
}

/// Who finds passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrieverName {
    /// By their words, in process.
    Bm25,
    /// By vectors, in process.
    Dense,
    /// A server.
    Http,
}

/// What dense retrieval reads besides the corpus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenseFiles {
    /// Vectors of the passages in their order, of `opid index` or FAISS.
    pub index: String,
    /// Hugging Face folder of the encoder that made them.
    pub encoder: String,
    /// Put before every query; e5 needs `query: `.
    pub query_prefix: String,
    /// Longest query in tokens; the rest is left out.
    pub max_tokens: usize,
}

/// Servers that find passages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrievalServers {
    /// Addresses such as `http://127.0.0.1:8000/retrieve`; requests go round them.
    pub urls: Vec<String>,
    /// `batch` (`{"queries": [...]}`, as Search-R1) or `single` (`{"query": "..."}`, as the reference).
    pub form: Form,
    /// `batch`: most queries of a request.
    pub batch: usize,
    /// Most requests at a time.
    pub connections: usize,
    /// Seconds that a request may take.
    pub timeout: f64,
    /// How often a request is sent at the most; the wait before the second time is a second, before each further one
    /// twice as long.
    pub attempts: usize,
}

impl Environment {
    /// What `search` is opened with.
    pub fn search_config(&self) -> SearchConfig {
        let s = &self.search;
        let file = |name: &String| (!name.is_empty()).then(|| PathBuf::from(name));
        SearchConfig {
            questions: file(&s.questions),
            corpus: file(&s.corpus),
            world: WorldConfig { size: s.size, ..WorldConfig::default() },
            worlds: s.worlds,
            passages: s.passages,
            style: s.style,
            reference: s.reference,
            turns: self.max_turns,
            ..SearchConfig::default()
        }
    }
}
