//! Where the agent acts.

use std::path::PathBuf;

use opid_env::catalog::ENDLESS;
use opid_env::search::library::SearchConfig;
use opid_env::search::observation;
use opid_env::search::world::WorldConfig;
use opid_env::webshop::{Manner, Protocol, ShopConfig, Speaker, Style};
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
    /// Products of a shop that is made up.
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
            manner: Manner { style: self.page, ..Manner::default() },
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
    /// With `questions`: the passages that are searched, a file of JSON lines with `id` and `contents`.
    pub corpus: String,
    /// Passages shown for a query.
    pub passages: usize,
    /// How they are shown: `plain`, or `json` as the reference does.
    pub style: observation::Style,
    /// Whether passages are shown and scored as they are, as by the reference: one that holds an answer block then
    /// answers for the agent.
    pub reference: bool,
    /// Scales the made-up world; 1 has 728 things.
    pub size: f64,
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
            passages: s.passages,
            style: s.style,
            reference: s.reference,
            turns: self.max_turns,
            ..SearchConfig::default()
        }
    }
}
