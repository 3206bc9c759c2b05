//! The method: rollout, skills, algorithms, trainer, evaluation.
