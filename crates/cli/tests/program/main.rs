//! Tests of the commands through the real program.

mod analyzers;
mod experiments;
mod games;
mod lives;
mod methods;
mod pages;
mod recipes;
mod retrieval;
mod runs;
mod searching;
mod served;
#[expect(dead_code, reason = "here servers only answer well")]
#[path = "../../../opid/tests/analyzers/server.rs"]
mod server;
mod serving;
mod shop;
#[path = "../../../retrieval/tests/tiny/mod.rs"]
mod tiny;

use std::path::Path;

use assert_cmd::Command;

/// What a command left behind.
struct Result {
    success: bool,
    out: String,
    err: String,
}

impl Result {
    /// Standard output of a command that must have worked.
    fn ok(&self) -> &str {
        assert!(self.success, "{}\n{}", self.out, self.err);
        &self.out
    }

    /// Standard error of a command that must have been refused, without a panic.
    fn refused(&self) -> &str {
        assert!(!self.success, "{}", self.out);
        assert!(self.err.starts_with("error: ") && !self.err.contains("panicked"), "{}", self.err);
        &self.err
    }
}

/// Runs the program in a folder, with neither games of ALFWorld nor an endpoint in the environment.
fn opid(folder: &Path, args: &[&str]) -> Result {
    fed(folder, args, "")
}

/// The same with a text on its standard input.
fn fed(folder: &Path, args: &[&str], input: &str) -> Result {
    run(program(folder).args(args).write_stdin(input))
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_opid"));
    command.current_dir(folder);
    for name in ["ALFWORLD_DATA", "WEBSHOP_DATA", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"] {
        command.env_remove(name);
    }
    command
}

fn run(command: &mut Command) -> Result {
    let output = command.output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Result { success: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Every line as JSON.
fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}
