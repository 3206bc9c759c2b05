//! The method: rollouts, skills, algorithms, training and evaluation of language-model agents.

pub mod action;
pub mod advantage;
pub mod algo;
pub mod bench;
pub mod demonstration;
pub mod dialogue;
pub mod evaluate;
pub mod layout;
pub mod loss;
pub mod metrics;
pub mod packing;
pub mod passage;
pub mod policy;
pub mod probe;
pub mod prompt;
pub mod recipe;
pub mod record;
pub mod rollout;
pub mod run;
pub mod sft;
pub mod skill;
pub mod tasks;
pub mod train;
pub mod trajectory;
pub mod update;
pub mod warm_start;
