//! What a recipe resolves to where it says nothing.

use opid_env::search::observation;
use opid_env::webshop::{Manner, ShopConfig};
use opid_retrieval::encoder::EncoderOptions;
use opid_retrieval::http::HttpOptions;

use super::*;
use crate::skill::bank::BankSettings;
use crate::skill::critical::Selector;
use crate::skill::route::Routing;
use crate::skill::schedule::SkillSchedule;

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            name: "run".into(),
            seed: 0,
            steps: 30,
            environment: Environment::default(),
            policy: Policy::default(),
            prompt: Prompt::default(),
            rollout: Rollout::default(),
            reward: Reward::default(),
            algorithm: Algorithm::default(),
            advantage: Advantage::default(),
            skill: Skill::default(),
            loss: Loss::default(),
            optimizer: Optimizer::default(),
            evaluation: Evaluation::default(),
            checkpoint: Checkpoint::default(),
            log: Tracking::default(),
            warm_start: None,
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Environment {
            name: "household".into(),
            split: "train".into(),
            max_turns: 30,
            receptacles: (6, 9),
            kinds: Vec::new(),
            fraction: 1.0,
            search: Search::default(),
            shop: Shop::default(),
            first_task: 0,
        }
    }
}

impl Default for DenseFiles {
    fn default() -> Self {
        let EncoderOptions { max_tokens, query_prefix, .. } = EncoderOptions::default();
        DenseFiles { index: String::new(), encoder: String::new(), query_prefix, max_tokens }
    }
}

impl Default for RetrievalServers {
    fn default() -> Self {
        let HttpOptions { urls, form, batch, connections, timeout, attempts, .. } = HttpOptions::default();
        RetrievalServers { urls, form, batch, connections, timeout: timeout.as_secs_f64(), attempts }
    }
}

impl Default for Search {
    fn default() -> Self {
        Search {
            questions: String::new(),
            corpus: String::new(),
            retriever: RetrieverName::Bm25,
            dense: DenseFiles::default(),
            http: RetrievalServers::default(),
            max_failures: 0.1,
            passages: 3,
            style: observation::Style::Plain,
            reference: false,
            size: 1.0,
            worlds: 1,
        }
    }
}

impl Default for Shop {
    fn default() -> Self {
        let ShopConfig { all, products, protocol, attainable, manner, .. } = ShopConfig::default();
        let Manner { style: page, shows_attributes: attributes, similarity } = manner;
        Shop {
            data: String::new(),
            all,
            products,
            protocol,
            human: false,
            attainable,
            page,
            attributes,
            similarity,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            model: String::new(),
            thinking: false,
            max_context: 4096,
            precision: Precision::F32,
            save_dtype: StoredDtype::F32,
        }
    }
}

impl Default for Prompt {
    fn default() -> Self {
        Prompt {
            layout: Layout::Transcript,
            templates: "compact".into(),
            admissible: false,
            history: 5,
            max_tokens: 2048,
            truncation: Truncation::Left,
        }
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Rollout {
            groups: 16,
            group_size: 8,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            max_response_tokens: 24,
            concurrency: 128,
            max_crashes: 0.1,
            skills: ShownSkills::None,
        }
    }
}

impl Default for Reward {
    fn default() -> Self {
        Reward { win: 10.0, score: 0.0, invalid_penalty: 0.1, invalid_means: InvalidMeans::Format }
    }
}

impl Default for Advantage {
    fn default() -> Self {
        Advantage { normalize_std: true, statistics: GroupStatistics::Trajectory }
    }
}

impl Default for Skill {
    fn default() -> Self {
        Skill {
            analyzer: AnalyzerName::Hindsight,
            teacher: Teacher::Policy,
            teacher_decay: 0.9,
            routing: Routing::CriticalFirst,
            episode_weight: 0.1,
            step_weight: 0.1,
            clip: 2.0,
            normalize: false,
            critical_steps: Selector::Analyzer,
            schedule: SkillSchedule::default(),
            max_step_skills: 5,
            max_failures: 0.2,
            min_coverage: 0.01,
            min_step_coverage: 0.0,
            min_advantage_share: 0.0,
            replay: String::new(),
            bank: BankSettings::default(),
            noise: SkillNoise::default(),
            openai: OpenAi::default(),
            policy: SkillPolicy::default(),
        }
    }
}

impl Default for Loss {
    fn default() -> Self {
        Loss {
            policy: 1.0,
            ratio: Ratio::Token,
            aggregation: Aggregation::TokenMean,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: 3.0,
            kl: 0.01,
            entropy: 0.0,
        }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Optimizer {
            learning_rate: 3e-4,
            warmup_steps: 0,
            schedule: Schedule::Constant,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            moments: MomentFormat::F32,
            grad_clip: 1.0,
            mini_batches: 2,
            max_skipped: 10,
            micro_batch_tokens: 4096,
            recompute: false,
        }
    }
}

impl Default for Evaluation {
    fn default() -> Self {
        Evaluation {
            every: 0,
            split: "valid_seen".into(),
            games: 100,
            temperatures: vec![1.0, 0.4],
            skills: vec![ShownSkills::None],
        }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Checkpoint { every: 10, keep: 2, keep_best: 0, trajectories_every: 1 }
    }
}

impl Default for Tracking {
    fn default() -> Self {
        Tracking { tensorboard: false, mlflow: String::new(), mlflow_experiment: "opid".into() }
    }
}

impl Default for WarmStart {
    fn default() -> Self {
        WarmStart {
            vocab_size: 768,
            spaces: Spaces::Joined,
            whole_names: false,
            hidden_size: 128,
            intermediate_size: 384,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            head_dim: 32,
            stages: vec![Stage::default()],
            probe_games: 200,
            min_skill_gain: 0.15,
        }
    }
}

impl Default for Stage {
    fn default() -> Self {
        Stage {
            updates: 1000,
            episodes: 8,
            copying: 0,
            learning_rate: 3e-3,
            warmup: 100,
            observation_weight: 0.1,
            noise: Noise::default(),
            imitate_noise: false,
            episode_skills: 0.5,
            step_skills: 1.0,
        }
    }
}
