//! Memory: what a run needs at the least, what there is, and what the process has.

use std::fs;

use opid_lm::config::ModelConfig;
use opid_lm::optimizer::MomentFormat;
use opid_lm::parameters::Parameters;
use serde::Serialize;

use crate::recipe::{Recipe, Teacher};

/// Memory of this process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Most that was resident.
    pub peak: u64,
}

impl Memory {
    /// What the system says; only Linux does.
    pub fn now() -> Option<Memory> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(Memory { resident: kibibytes(&status, "VmRSS:")?, peak: kibibytes(&status, "VmHWM:")? })
    }
}

/// A run that this machine has no memory for.
#[derive(Debug, thiserror::Error)]
#[error(
    "this run needs at least {} of memory ({}), and {} are there ({}): use a smaller model{}, or a machine with more",
    human(*.needed), list(parts), human(*.available), .limit, .advice
)]
pub struct MemoryError {
    needed: u64,
    parts: Vec<(&'static str, u64)>,
    available: u64,
    limit: &'static str,
    advice: String,
}

/// Refuses a run whose weights, gradient and moments alone are more than the memory that is left: the system would end
/// it, hours into it or before its first step. Asked before weights are read; buffers, and keys and values, come on top.
///
/// # Errors
/// They are.
pub fn check(config: &ModelConfig, recipe: &Recipe) -> Result<(), MemoryError> {
    match available() {
        Some((available, limit)) => fits(config, recipe, available, limit),
        None => Ok(()),
    }
}

fn fits(
    config: &ModelConfig,
    recipe: &Recipe,
    available: u64,
    limit: &'static str,
) -> Result<(), MemoryError> {
    let parts = parts(Parameters::new(config).len as u64, recipe);
    let needed = parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
    if needed <= available {
        return Ok(());
    }
    let mut advice = String::new();
    if recipe.optimizer.moments == MomentFormat::F32 {
        advice.push_str(", optimizer.moments = \"bf16\"");
    }
    if recipe.loss.kl > 0.0 && !(recipe.algorithm.teaches(&recipe.skill)) {
        advice.push_str(", loss.kl = 0 (no reference)");
    }
    Err(MemoryError { needed, parts, available, limit, advice })
}

/// What a run of a model with so many parameters holds all the time, in bytes.
fn parts(parameters: u64, recipe: &Recipe) -> Vec<(&'static str, u64)> {
    let teacher = recipe.algorithm.teaches(&recipe.skill).then_some(recipe.skill.teacher);
    let moments = match recipe.optimizer.moments {
        MomentFormat::F32 => 8,
        MomentFormat::Bf16 => 4,
    };
    let mut parts = vec![("weights", 4 * parameters), ("gradient", 4 * parameters)];
    parts.push(("moments", moments * parameters));
    if recipe.loss.kl > 0.0 || teacher == Some(Teacher::Reference) {
        parts.push(("reference", 4 * parameters));
    }
    if teacher == Some(Teacher::Average) {
        parts.push(("average", 4 * parameters));
    }
    parts
}

/// Bytes that this process can still get, and what limits them: the machine, its group, or the process.
fn available() -> Option<(u64, &'static str)> {
    let machine = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:");
    let group = || {
        let read = |name: &str| {
            fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok()
        };
        Some(read("memory.max")?.saturating_sub(read("memory.current")?))
    };
    let process = || {
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        let most: u64 = line.split_whitespace().next()?.parse().ok()?;
        let used = kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
        Some(most.saturating_sub(used))
    };
    let limits = [
        (machine, "what the machine has left"),
        (group(), "the limit of the control group"),
        (process(), "the limit of the process, ulimit -v"),
    ];
    limits.into_iter().filter_map(|(bytes, what)| Some((bytes?, what))).min()
}

/// The number of a line such as `VmRSS:   123 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Bytes for people.
pub fn human(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..=9_999_999_999 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn list(parts: &[(&'static str, u64)]) -> String {
    let parts = parts.iter().map(|(what, bytes)| format!("{what} {}", human(*bytes)));
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_its_parts() {
        let recipe = Recipe::parse("[algorithm]\nname = \"grpo\"", "test").expect("a recipe");
        let config = serde_json::json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "vocab_size": 1000, "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 32, "rms_norm_eps": 1e-6, "rope_theta": 1e4, "max_position_embeddings": 100,
            "hidden_act": "silu", "tie_word_embeddings": true, "eos_token_id": 0,
        });
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.json"), config.to_string()).expect("a file");
        let config = ModelConfig::from_folder(folder.path()).expect("a configuration");
        let bytes = 4 * Parameters::new(&config).len as u64;
        // Weights, gradient, two moments and the reference.
        assert!(fits(&config, &recipe, 5 * bytes, "the machine").is_ok());
        let error = fits(&config, &recipe, 5 * bytes - 1, "the machine").expect_err("too little").to_string();
        for said in ["moments", "reference", "the machine", "bf16", "loss.kl = 0"] {
            assert!(error.contains(said), "{error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_what_there_is() {
        let memory = Memory::now().expect("memory");
        assert!(memory.resident > 1 << 20 && memory.peak >= memory.resident / 2, "{memory:?}");
        assert!(available().is_some_and(|(bytes, _)| bytes > 1 << 20));
    }
}
