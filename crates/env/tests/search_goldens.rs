//! Search QA against recordings of the Python original, in `$OPID_SHARED` or in `shared` beside the workspace;
//! where they are missing, each trial is reported as ignored.

use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use opid_env::environment::Task;
use opid_env::search::answer::{blocks, exact_match, holds, last, normalize};
use opid_env::search::dataset::read;
use opid_env::search::library::{Questions, SearchConfig};
use opid_env::search::observation::{Style, information, listing, tool_json};
use serde_json::Value;

/// The folder of the recordings.
fn folder() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    std::env::var_os("OPID_SHARED").map_or(beside, PathBuf::from).join("goldens/search")
}

fn main() {
    let arguments = Arguments::from_args();
    type Check = fn(&Value) -> Result<Option<&'static str>, String>;
    let checks: [(&str, Check); 5] = [
        ("em_normalize", normalized),
        ("em_check", matched),
        ("extract_answer", extracted),
        ("score", scored),
        ("observations", observed),
    ];
    let trial = |(file, check): (&'static str, Check)| {
        let path = folder().join(format!("{file}.jsonl"));
        let absent = !path.exists();
        Trial::test(file, move || compare(&path, check)).with_ignored_flag(absent)
    };
    let mut trials: Vec<Trial> = checks.into_iter().map(trial).collect();
    for file in ["raw_search_r1_sample", "opid_test_sample"] {
        let path = folder().join(format!("{file}.parquet"));
        let absent = !path.exists();
        trials.push(Trial::test(file, move || tabled(&path)).with_ignored_flag(absent));
    }
    for (name, questions, count) in [
        ("hotpot100", "hotpot100_questions", 100),
        ("musique100", "musique100_questions", 100),
        ("2wiki", "2wiki_questions_matched", 1417),
    ] {
        let absent = !data().join(format!("{name}_corpus.jsonl")).exists();
        let trial = move || opened(name, questions, count);
        trials.push(Trial::test(format!("data::{name}"), trial).with_ignored_flag(absent));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// The folder of real questions and passages.
fn data() -> PathBuf {
    folder().join("../../data/search")
}

/// Real questions and passages are one environment, in which an episode is played with the question as its query.
fn opened(name: &str, questions: &str, count: usize) -> Result<(), Failed> {
    let place = tempfile::tempdir()?;
    std::fs::copy(data().join(format!("{questions}.jsonl")), place.path().join("test.jsonl"))?;
    let config = SearchConfig {
        questions: Some(place.path().to_owned()),
        corpus: Some(data().join(format!("{name}_corpus.jsonl"))),
        ..SearchConfig::default()
    };
    let all = Questions::open(config, None)?;
    let all = all.split("test")?;
    same("questions", all.len(), count)?;
    let mut found = 0;
    for question in all {
        let mut episode = question.clone().start();
        let shown = episode.step(&format!("<search>{}</search>", question.text)).observation;
        found += usize::from(shown.contains("Doc 3: "));
        let told = episode.step(&format!("<answer>{}</answer>", question.answers[0]));
        same("won", (told.won, told.done), (true, true))?;
    }
    same("questions that find passages", found, count)?;
    Ok(())
}

/// Compares every line of a file; the first failures are shown.
fn compare(
    path: &std::path::Path,
    check: fn(&Value) -> Result<Option<&'static str>, String>,
) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let (mut failures, mut excluded, mut compared) = (Vec::new(), 0, 0);
    for (number, line) in text.lines().enumerate() {
        let case: Value = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
        match check(&case) {
            Ok(None) => compared += 1,
            Ok(Some(_)) => excluded += 1,
            Err(reason) => failures.push(format!("line {}: {reason}", number + 1)),
        }
    }
    println!("{}: {compared} cases compared, {excluded} excluded", path.display());
    if failures.is_empty() && compared > 0 {
        return Ok(());
    }
    failures.truncate(10);
    Err(format!("of {compared} and more cases: {}", failures.join("\n")).into())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, expected {expected:?}")),
    }
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_default()
}

/// One text, or several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn normalized(case: &Value) -> Result<Option<&'static str>, String> {
    same("normalized", normalize(text(case, "input")).as_str(), text(case, "normalized")).map(|()| None)
}

fn matched(case: &Value) -> Result<Option<&'static str>, String> {
    let known = texts(&case["golden"]);
    let prediction = text(case, "prediction");
    let flag = |key: &str| case[key] == 1 || case[key] == true || case[key] == 1.0;
    same("exact match", exact_match(prediction, known.iter().copied()), flag("em"))?;
    same("sub-match", holds(prediction, known.iter().copied()), flag("subem"))?;
    Ok(None)
}

fn extracted(case: &Value) -> Result<Option<&'static str>, String> {
    let input = text(case, "input");
    same("last block", last(input), case["opid"].as_str())?;
    let of_two = blocks(input, "answer").skip(1).last();
    same("last of two", of_two, case["search_r1_min2"].as_str())?;
    Ok(None)
}

fn scored(case: &Value) -> Result<Option<&'static str>, String> {
    let known = texts(&case["target"]);
    let answer = last(text(case, "solution"));
    let right = answer.is_some_and(|answer| exact_match(answer, known.iter().copied()));
    same("score", f64::from(u8::from(right)), case["opid_env"].as_f64().unwrap_or(-1.0))?;
    let formed = if right { 1.0 } else { answer.map_or(0.0, |_| 0.1) };
    same("score with a format", formed, case["opid_env_fmt0.1"].as_f64().unwrap_or(-1.0))?;
    let within = answer.is_some_and(|answer| holds(answer, known.iter().copied()));
    same("score by sub-match", f64::from(u8::from(within)), case["opid_subem"].as_f64().unwrap_or(-1.0))?;
    Ok(None)
}

/// Passages of a server's reply, where it is an ordinary one.
fn passages(case: &Value) -> Option<Vec<Vec<&str>>> {
    let lists = case["response"]["result"].as_array().filter(|_| case["status"] == 200)?;
    lists
        .iter()
        .map(|list| list.as_array()?.iter().map(|hit| hit["document"]["contents"].as_str()).collect())
        .collect()
}

fn observed(case: &Value) -> Result<Option<&'static str>, String> {
    let Some(lists) = passages(case) else { return Ok(Some("a reply without passages")) };
    let listed = match lists.is_empty() {
        true => "No search results found.".to_owned(),
        false => lists.iter().map(|list| listing(list.iter().copied())).collect::<Vec<_>>().join("\n---\n"),
    };
    same("tool", tool_json(&listed).as_str(), text(case, "tool_output"))?;
    let shown = information(&listed, Style::Json);
    same("observation", shown.as_str(), text(case, "observation_stripped"))?;
    Ok(None)
}

/// The published tables hold the same 90 questions.
fn tabled(path: &std::path::Path) -> Result<(), Failed> {
    let entries = read(path).map_err(|e| e.to_string())?;
    same("questions", entries.len(), 90)?;
    let other = read(&folder().join("raw_search_r1_sample.parquet")).map_err(|e| e.to_string())?;
    for (entry, other) in entries.iter().zip(&other) {
        same("question", &entry.question, &other.question)?;
        same("answers", &entry.answers, &other.answers)?;
        same("source", &entry.source, &other.source)?;
    }
    let mut sources: Vec<&str> = entries.iter().map(|e| e.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    println!("{}: {} questions of {sources:?}", path.display(), entries.len());
    Ok(())
}
