//! The method: rollouts, skills, algorithms, training and evaluation of language-model agents.

pub mod algo;
pub mod loss;
pub mod skill;
