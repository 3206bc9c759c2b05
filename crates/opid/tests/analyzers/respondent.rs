//! Small language models for the `policy` analyzer: one that knows nothing, and one taught to reply.

use std::path::Path;
use std::sync::OnceLock;

use opid::chat::Chat;
use opid::packing::Packer;
use opid::skill::inquiry::{Inquiry, Reply};
use opid::trajectory::Trajectory;
use opid_env::random::Draw;
use opid_lm::chat::{ChatOptions, ChatTemplate};
use opid_lm::checkpoint::{StoredDtype, TextFiles};
use opid_lm::config::{Family, ModelConfig};
use opid_lm::graph::Workspace;
use opid_lm::kernels::head::{TokenGrad, TokenStats};
use opid_lm::model::Model;
use opid_lm::optimizer::{AdamW, AdamWConfig, global_norm};
use opid_lm::tokenizer::{Stretch, Tokenizer, Vocabulary};

use crate::episode;

/// Characters of an episode that a question shows: all of it.
pub const CHARACTERS: usize = 8000;
/// Step skills that a question asks for.
pub const MOST: usize = 5;

/// The episode whose question is first answered with nothing usable.
pub const STUBBORN: &str = "safe";
/// A reply that cannot be used.
const REFUSAL: &str = "I would rather not.";

/// A model and the way it is spoken to.
pub struct Respondent {
    pub model: Model,
    pub chat: Chat,
    pub text: TextFiles,
}

impl Respondent {
    /// Writes it as a Hugging Face folder.
    pub fn save(&self, folder: &Path) {
        self.model.save(folder, StoredDtype::F32, Some(&self.text)).expect("a model");
    }
}

/// The skill that the taught model writes about an episode.
pub fn skill(name: &str) -> String {
    format!("look at the {name} first")
}

/// The reply it gives where it gives a usable one; step 7 is none that it was shown.
fn reply(name: &str) -> String {
    format!(
        "{{\"episode_summary\": \"It went to the {name}.\", \"episode_skill\": \"{}\", \"step_skills\": \
         [{{\"step\": 1, \"skill\": \"open the {name}\"}}, {{\"step\": 7, \"skill\": \"wait\"}}]}}",
        skill(name)
    )
}

/// The messages it is taught to answer, and the replies.
fn lessons() -> Vec<(String, String)> {
    let inquiry = Inquiry::new(MOST, CHARACTERS);
    let question = |name: &str| inquiry.question(&episode(0, 0, name));
    let mut lessons: Vec<(String, String)> =
        ["desk", "shelf"].map(|name| (question(name).text, reply(name))).into();
    let stubborn = question(STUBBORN);
    let refusal = Reply { text: REFUSAL.to_owned(), cut_off: false };
    let error = inquiry.read(&stubborn, &refusal).expect_err("no answer");
    lessons.push((inquiry.correction(&stubborn, &refusal, &error), reply(STUBBORN)));
    lessons.push((stubborn.text, REFUSAL.to_owned()));
    lessons
}

/// A model of random weights that has the words of the lessons.
pub fn untaught() -> &'static Respondent {
    static MODEL: OnceLock<Respondent> = OnceLock::new();
    MODEL.get_or_init(|| {
        let texts = lessons()
            .into_iter()
            .flat_map(|(message, reply)| [message.clone(), message, reply.clone(), reply]);
        let special = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"];
        let vocabulary = Vocabulary { size: 1024, special: &special, ..Vocabulary::default() };
        let tokenizer = Tokenizer::train(texts, &vocabulary).expect("a tokenizer");
        let template = ChatTemplate::compact();
        let config = ModelConfig {
            family: Family::Qwen3,
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 48,
            intermediate_size: 96,
            num_layers: 1,
            num_heads: 2,
            num_kv_heads: 1,
            head_dim: 24,
            rope_theta: 10_000.0,
            rms_norm_eps: 1e-6,
            tie_word_embeddings: true,
            max_position_embeddings: 2048,
            eos_token_ids: vec![tokenizer.token_id("<|end|>").expect("a token")],
        };
        let model = Model::random(config, |i| Draw::new(&[1, i]).unit());
        let json = tokenizer.to_json().expect("a tokenizer");
        let text = TextFiles::new(json, template.source().to_owned(), "<|end|>", 2048);
        Respondent { model, chat: Chat::new(tokenizer, template), text }
    })
}

/// The same model after supervised training on the lessons.
pub fn taught() -> &'static Respondent {
    static MODEL: OnceLock<Respondent> = OnceLock::new();
    MODEL.get_or_init(|| {
        let Respondent { model, chat, text } = untaught();
        let mut model = model.clone();
        let frame = chat.opening(&ChatOptions::default()).expect("a frame");
        let end = chat.end_token(&ChatOptions::default()).expect("an end");
        let mut packer = Packer::new(usize::MAX);
        let mut targets = 0;
        for (message, reply) in lessons() {
            let message = [Stretch { text: &message, control: false }];
            let mut reply = chat.tokenizer().encode(&reply).expect("tokens");
            reply.push(end);
            let start = packer.start();
            let node = packer.extend(start, &chat.encode(&frame, &message).expect("tokens"));
            packer.score(node, &reply, targets..targets + reply.len());
            targets += reply.len();
        }
        let batch = &packer.finish()[0].batch;
        let mut optimizer = AdamW::new(model.len(), AdamWConfig { beta2: 0.99, ..AdamWConfig::default() });
        let mut workspace = Workspace::new(&model);
        let mut grad = vec![0.0; model.len()];
        let slope = |_: usize, _: TokenStats| TokenGrad { logprob: -1.0 / targets as f32, entropy: 0.0 };
        for update in 0..400 {
            grad.fill(0.0);
            let stats = workspace.forward_backward(&model, batch, 1.0, &slope, &mut grad);

            if stats.iter().all(|s| s.logprob > -0.2) {
                let chat = Chat::new(chat.tokenizer().clone(), ChatTemplate::compact());
                return Respondent { model, chat, text: text.clone() };
            }
            let scale = (1.0 / global_norm(&grad).max(1e-12)).min(1.0);
            let rate = 0.01 * ((update + 1) as f32 / 20.0).min(1.0);
            optimizer.step(&mut model.weights, &grad, rate, scale as f32);
        }
        panic!("the lessons are not learnt")
    })
}

/// An episode about each of some things.
pub fn about(names: &[&str]) -> Vec<Trajectory> {
    names.iter().enumerate().map(|(i, name)| episode(i / 2, i % 2, name)).collect()
}
