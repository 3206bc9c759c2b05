//! The `openai` analyzer against a server that behaves well and badly.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use opid::interrupt::Interrupt;
use opid::recipe;
use opid::skill::analyzer::{Analyses, Analyzer, StepContext, StopError};
use opid::skill::openai::{ApiKey, OpenAi, OpenAiError};
use opid_lm::storage::Disk;
use serde_json::json;

use crate::server::{Answer, Server, completion, says};
use crate::{all, episode, episodes};

const KEY: &str = "sk-very-secret-0123456789";
const GOOD: &str = r#"{"episode_summary": "s", "episode_skill": "look around", "step_skills": [{"step": 1, "skill": "open it"}]}"#;

/// Settings for a server, that wait little and keep nothing.
fn settings(server: &Server) -> recipe::OpenAi {
    recipe::OpenAi {
        base_url: server.base_url.clone(),
        model: "m".into(),
        timeout_seconds: 5.0,
        retries: 2,
        retry_seconds: 0.01,
        cache: String::new(),
        ..recipe::OpenAi::default()
    }
}

fn open(settings: &recipe::OpenAi) -> OpenAi {
    OpenAi::with_key(settings, 5, None, Arc::new(Disk), ApiKey::new(KEY).expect("a key"))
        .expect("an analyzer")
}

fn run(settings: &recipe::OpenAi, n: usize) -> Result<Analyses, StopError> {
    let result = open(settings).analyze(StepContext::stored(1), &all(&episodes(n)));
    let shown = format!("{result:?} {:?}", open(settings));
    assert!(!shown.contains(KEY), "the key is shown: {shown}");
    result
}

fn ok(settings: &recipe::OpenAi, n: usize) -> Analyses {
    run(settings, n).expect("no reason to stop")
}

/// The failures of one episode, as one text.
fn failure(settings: &recipe::OpenAi) -> (String, Analyses) {
    let analyses = ok(settings, 1);
    let error = analyses.results[0].as_ref().expect_err("a failure");
    (format!("{}: {error}", error.cause()), analyses)
}

#[test]
fn episodes_are_asked_about_together_and_answered_in_order() {
    let (now, most) = (AtomicUsize::new(0), std::sync::Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let server = Server::start(move |_, request| {
        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        now.fetch_sub(1, Ordering::SeqCst);
        let at = request.message().find("desk").expect("an episode");
        let name: String = request.message()[at..].chars().take_while(|c| c.is_alphanumeric()).collect();
        says(&json!({ "episode_summary": "", "episode_skill": name, "step_skills": [] }).to_string())
    });
    let settings = recipe::OpenAi { concurrency: 4, ..settings(&server) };
    let Analyses { results, usage } = ok(&settings, 12);
    for (i, result) in results.iter().enumerate() {
        assert_eq!(result.as_ref().expect("skills").episode_skill, format!("desk{i}"));
    }
    let most = most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most} requests at once");
    assert_eq!((usage.requests, usage.input_tokens, usage.output_tokens), (12, 12_000, 600));
    let request = &server.requests()[0];
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.authorization.as_deref(), Some(&*format!("Bearer {KEY}")));
    assert_eq!(request.body["model"], "m");
    assert_eq!(request.body["response_format"]["type"], "json_schema");
    assert!(request.message().contains("put a mug in shelf."), "{}", request.message());
}

#[test]
fn equal_episodes_are_one_question() {
    let server = Server::start(|_, _| says(GOOD));
    let twins = [episode(0, 0, "desk"), episode(0, 1, "desk"), episode(1, 0, "shelf")];
    let Analyses { results, usage } =
        open(&settings(&server)).analyze(StepContext::stored(1), &all(&twins)).expect("skills");
    assert!(results.iter().all(Result::is_ok));
    assert_eq!((usage.requests, usage.shared, server.requests().len()), (2, 1, 2));
}

#[test]
fn episodes_that_were_told_of_early_are_one_question_with_those_told_of_late() {
    let server = Server::start(|_, _| says(GOOD));
    let analyzer = open(&settings(&server));
    let played = [episode(0, 0, "desk"), episode(0, 1, "shelf"), episode(1, 0, "desk")];
    for step in 1..3 {
        analyzer.prefetch(&played[2]).expect("no reason to stop");
        let early = analyzer.wait_for(&played[0]).expect("no reason to stop").expect("an answer alone");
        let Analyses { results, usage } =
            analyzer.analyze(StepContext::stored(step), &all(&played)).expect("skills");
        assert_eq!(results[0].as_ref().expect("skills"), &early.expect("skills"));
        assert_eq!((usage.requests, usage.shared), (2, 1), "each step asks anew");
    }
    let server = Server::start(|_, _| Answer::Status(401, "", "{}".into()));
    let analyzer = open(&settings(&server));
    analyzer.prefetch(&played[0]).expect("nobody knows yet");
    let error = analyzer.wait_for(&played[0]).expect_err("a reason to stop").to_string();
    assert!(error.contains("turns requests away"), "{error}");
}

#[test]
fn passing_trouble_is_waited_out() {
    let bad = |status| Answer::Status(status, "", json!({ "error": { "message": "trouble" } }).to_string());
    for trouble in [bad(500), bad(503), bad(429), bad(408), Answer::Cut, says_nothing_like_a_chat()] {
        let first = trouble.clone();
        let server = Server::start(move |n, _| if n == 0 { first.clone() } else { says(GOOD) });
        let Analyses { results, usage } = ok(&settings(&server), 1);
        let analysis = results[0].as_ref().unwrap_or_else(|error| panic!("{trouble:?}: {error}"));
        assert_eq!(analysis.episode_skill, "look around");
        assert_eq!(analysis.step_skills[&1], "open it");
        assert_eq!((usage.requests, usage.retries), (2, 1), "{trouble:?}");
    }
}

fn says_nothing_like_a_chat() -> Answer {
    Answer::Status(200, "", "<html>be right back</html>".into())
}

#[test]
fn lasting_trouble_is_named_and_counted() {
    let error = |text: &str| json!({ "error": { "message": text, "code": "c" } }).to_string();
    for (answer, retries, says) in [
        (
            Answer::Late(Duration::from_secs(3), completion(GOOD)),
            2,
            "timeout: the analyzer's endpoint did not answer within 0.2 s (3 attempts)",
        ),
        (
            Answer::Status(500, "", error("broken")),
            2,
            "server: the analyzer's endpoint failed with status 500: broken (c) (3 attempts)",
        ),
        (
            Answer::Status(429, "", error("slow down")),
            2,
            "busy: the analyzer's endpoint is busy: slow down (c) (3 attempts)",
        ),
        (Answer::Status(429, "retry-after: 3600\r\n", error("later")), 0, "3600 s, more than 120 s"),
        (Answer::Cut, 2, "connection: "),
        (Answer::Endless, 0, "too_large: "),
        (says_nothing_like_a_chat(), 2, "malformed: "),
        (Answer::Status(200, "", error("inner trouble")), 2, "inner trouble"),
        (Answer::Status(413, "", error("too long")), 0, "rejected: "),
        (Answer::Status(200, "", json!({ "choices": [] }).to_string()), 2, "no choice"),
        (
            Answer::Status(
                200,
                "",
                json!({ "choices": [{ "message": { "content": null, "refusal": "I won't" } }] }).to_string(),
            ),
            0,
            "refused: the analyzing model refused to answer: I won't",
        ),
    ] {
        let slow = if matches!(answer, Answer::Late(..)) { 0.2 } else { 5.0 };
        let given = answer.clone();
        let server = Server::start(move |_, _| given.clone());
        let settings = recipe::OpenAi { timeout_seconds: slow, ..settings(&server) };
        let (error, Analyses { usage, .. }) = failure(&settings);
        assert!(error.contains(says), "{answer:?}: {error}");
        assert_eq!(usage.retries, retries, "{answer:?}");
    }
    let server = Server::start(|_, _| says(GOOD));
    let gone = settings(&server);
    server.close();
    assert!(failure(&gone).0.starts_with("connection: "));
    let secure = recipe::OpenAi {
        base_url: Server::start(|_, _| says(GOOD)).base_url.replace("http:", "https:"),
        ..gone
    };
    assert!(failure(&secure).0.starts_with("connection: "));
}

#[test]
fn an_endpoint_may_ask_for_a_pause() {
    let date = || httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(2));
    let seconds = || "1".to_owned();
    for wait in [&seconds as &dyn Fn() -> String, &date] {
        let header: &'static str = format!("retry-after: {}\r\n", wait()).leak();
        let server = Server::start(move |n, _| match n {
            0 => Answer::Status(429, header, "{}".into()),
            _ => says(GOOD),
        });
        let start = Instant::now();
        let Analyses { results, usage } = ok(&settings(&server), 1);
        assert!(results[0].is_ok(), "{results:?}");
        let waited = start.elapsed().as_secs_f64();
        assert!((0.5..3.0).contains(&waited) && usage.waited > 0.5, "{header}: {waited} {}", usage.waited);
    }
}

#[test]
fn unusable_replies_are_asked_for_again() {
    for (first, cause) in [
        ("I cannot say.", "no_object"),
        ("{\"episode_skill\": \"look ar", "unreadable"),
        ("[1, 2, {\"a\": 3}]", "no_skill"),
        ("{\"episode_skill\": \"\"}", "no_skill"),
        ("{\"episode_skill\": null}", "no_skill"),
        ("<think>{\"episode_skill\": \"a draft\"}</think>", "no_object"),
        ("", "no_object"),
    ] {
        let server = Server::start(move |n, _| says(if n == 0 { first } else { GOOD }));
        let Analyses { results, usage } = ok(&settings(&server), 1);
        assert_eq!(results[0].as_ref().expect(first).episode_skill, "look around");
        assert_eq!((usage.requests, usage.corrections, usage.retries), (2, 1, 0));
        let [question, correction] = &server.requests()[..] else { panic!("two requests") };
        assert!(correction.message().starts_with(question.message()), "{}", correction.message());
        assert!(correction.message().contains(first), "{}", correction.message());

        let server = Server::start(move |_, _| says(first));
        let (error, analyses) = failure(&settings(&server));
        assert!(error.starts_with(cause), "{first}: {error}");
        assert_eq!(analyses.failures(), [(cause, 1)].into());
    }
}

#[test]
fn replies_come_in_many_shapes() {
    let message = |message: serde_json::Value| {
        Answer::Status(200, "", json!({ "choices": [{ "message": message }] }).to_string())
    };
    let unicode = "\u{1f642} regarde \u{e0} gauche, \u{770b}\u{4e00}\u{770b}";
    for (answer, skill) in [
        (
            message(
                json!({ "content": [{ "type": "text", "text": "{\"episode_skill\":" }, { "type": "text", "text": " \"a b\"}" }] }),
            ),
            "a b",
        ),
        (
            message(
                json!({ "reasoning_content": "{\"episode_skill\": \"draft\"}", "content": "{\"episode_skill\": \"final\"}" }),
            ),
            "final",
        ),
        (message(json!({ "content": format!("{{\"episode_skill\": \"{unicode}\"}}") })), unicode),
        (says("```json\n{'episode_skill': 'quoted', 'step_skills': {}}\n```"), "quoted"),
    ] {
        let given = answer.clone();
        let server = Server::start(move |_, _| given.clone());
        let Analyses { results, usage } = ok(&settings(&server), 1);
        assert_eq!(results[0].as_ref().expect("skills").episode_skill, skill);
        let unmetered = usize::from(!format!("{answer:?}").contains("prompt_tokens"));
        assert_eq!(usage.unmetered, unmetered, "{answer:?}");
        assert!(usage.input_tokens > 100, "{usage:?}");
    }
    let cut = json!({ "choices": [{ "message": { "content": "{\"episode_skill\": \"a" }, "finish_reason": "length" }] });
    let server = Server::start(move |_, _| Answer::Status(200, "", cut.to_string()));
    let (error, _) = failure(&settings(&server));
    assert!(error.starts_with("cut_off: ") && error.contains("max_reply_tokens"), "{error}");
}

#[test]
fn settings_that_an_endpoint_refuses_are_left_out_and_remembered() {
    let server = Server::start(|_, request| {
        let refused =
            |what: &str| Answer::Status(400, "", json!({ "error": { "message": what } }).to_string());
        match &request.body {
            body if body.get("max_tokens").is_some() => {
                refused("use max_completion_tokens instead of max_tokens")
            }
            body if body.get("temperature").is_some() => refused("temperature is not supported"),
            body if body.get("response_format").is_some() => refused("bad request"),
            _ => says(GOOD),
        }
    });
    let settings = recipe::OpenAi { concurrency: 1, ..settings(&server) };
    let Analyses { results, usage } = ok(&settings, 3);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((usage.requests, usage.refused_settings, usage.retries), (7, 4, 0));
    assert!(server.requests().last().is_some_and(|r| r.body["max_completion_tokens"] == 4096));
}

#[test]
fn no_request_is_sent_to_who_turns_them_away() {
    for (status, says) in [(401, "OPENAI_API_KEY"), (404, "skill.openai.model"), (307, "status 307")] {
        let body =
            json!({ "error": { "message": format!("Incorrect API key provided: {KEY}.") } }).to_string();
        let server = Server::start(move |_, _| Answer::Status(status, "", body.clone()));
        let settings = recipe::OpenAi { concurrency: 1, ..settings(&server) };
        let error = run(&settings, 5).expect_err("a reason to stop").to_string();
        assert!(error.contains(says) && error.contains("[key]") && !error.contains(KEY), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    let body = json!({ "error": { "message": "You exceeded your quota.", "code": "insufficient_quota" } });
    let server = Server::start(move |_, _| Answer::Status(429, "", body.to_string()));
    let error = run(&settings(&server), 1).expect_err("a reason to stop").to_string();
    assert!(error.contains("credit"), "{error}");
    let official = recipe::OpenAi { base_url: recipe::DEFAULT_BASE_URL.into(), ..settings(&server) };
    let error = OpenAi::with_key(&official, 5, None, Arc::new(Disk), ApiKey::default())
        .expect_err("no key")
        .to_string();
    assert!(error.contains("set OPENAI_API_KEY"), "{error}");
    let error = ApiKey::new("sk secret").expect_err("a bad key").to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_budget_ends_the_asking() {
    let server = Server::start(|_, _| says(GOOD));
    let plain = settings(&server);
    for (settings, sent, says) in [
        (recipe::OpenAi { max_requests: 3, ..plain.clone() }, 3, "3 of 3 requests"),
        (recipe::OpenAi { max_tokens: 8000, ..plain.clone() }, 3, "of 8000 tokens"),
        (
            recipe::OpenAi { max_cost: 0.02, input_price: 1.0, output_price: 4.0, ..plain.clone() },
            2,
            "skill.openai.max_cost",
        ),
    ] {
        let before = server.requests().len();
        let error = run(&settings, 8).expect_err("a reason to stop").to_string();
        assert!(error.contains(says), "{error}");
        let requests = server.requests().len() - before;
        assert!(requests >= sent, "{requests} {error}");
    }
    let priced = recipe::OpenAi { input_price: 1.0, output_price: 4.0, max_cost: 1.0, ..plain };
    let cost = ok(&priced, 2).usage.cost;
    assert!((cost - 2.0 * (1000.0 + 4.0 * 50.0) / 1e6).abs() < 1e-12, "{cost}");
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => texts.extend(files(&path)),
            false => texts.push(std::fs::read_to_string(&path).expect("a file")),
        }
    }
    texts
}

#[test]
fn what_was_answered_once_is_not_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let echo = format!("{{\"episode_skill\": \"say {KEY}\"}}");
    let server = Server::start(move |n, _| says(if n == 0 { "nonsense" } else { &echo }));
    let cached =
        recipe::OpenAi { cache: folder.path().display().to_string(), concurrency: 1, ..settings(&server) };
    let first = ok(&cached, 3);
    assert_eq!((first.usage.requests, first.usage.cache_hits, first.usage.corrections), (4, 0, 1));
    let kept = files(folder.path());
    assert_eq!(kept.len(), 4);
    assert!(kept.iter().all(|text| !text.contains(KEY)), "{kept:?}");
    server.close();
    let second = ok(&cached, 3);
    assert_eq!((second.usage.requests, second.usage.cache_hits, second.usage.corrections), (0, 4, 1));
    let skills =
        |a: &Analyses| a.results.iter().map(|r| r.as_ref().expect("skills").clone()).collect::<Vec<_>>();
    assert_eq!(skills(&first), skills(&second));
    // Another model is another question.
    let other = recipe::OpenAi { model: "other".into(), retries: 0, ..cached.clone() };
    assert!(ok(&other, 1).results[0].is_err());
    // A damaged file is named.
    for entry in std::fs::read_dir(folder.path()).expect("a folder") {
        for file in std::fs::read_dir(entry.expect("an entry").path()).expect("a folder") {
            std::fs::write(file.expect("a file").path(), "{").expect("a file");
        }
    }
    let error = run(&cached, 1).expect_err("a reason to stop").to_string();
    assert!(error.contains("remove the file"), "{error}");
}

#[test]
fn two_hundred_and_fifty_six_requests_are_under_way_at_once() {
    const AT_ONCE: usize = 256;
    let arrived = AtomicUsize::new(0);
    let server = Server::start(move |_, request| {
        arrived.fetch_add(1, Ordering::SeqCst);
        // Nobody is answered before all are there.
        let start = Instant::now();
        while arrived.load(Ordering::SeqCst) < AT_ONCE && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let together = arrived.load(Ordering::SeqCst) >= AT_ONCE;
        let at = request.message().find("desk").expect("an episode");
        let name: String = request.message()[at..].chars().take_while(|c| c.is_alphanumeric()).collect();
        let skill = if together { name } else { "late".to_owned() };
        says(&json!({ "episode_summary": "", "episode_skill": skill, "step_skills": [] }).to_string())
    });
    let settings = recipe::OpenAi { concurrency: AT_ONCE, timeout_seconds: 60.0, ..settings(&server) };
    let Analyses { results, usage } = ok(&settings, 2 * AT_ONCE);
    for (i, result) in results.iter().enumerate() {
        assert_eq!(result.as_ref().expect("skills").episode_skill, format!("desk{i}"));
    }
    assert_eq!((usage.requests, usage.retries), (2 * AT_ONCE, 0));
}

#[test]
fn whoever_waits_for_an_endpoint_that_is_away_can_be_interrupted() {
    let server = Server::start(|_, _| Answer::Status(503, "retry-after: 100\r\n", "{}".into()));
    let settings = recipe::OpenAi { retries: 50, ..settings(&server) };
    let mut analyzer = open(&settings);
    let interrupt = Interrupt::default();
    analyzer.heed(&interrupt);
    let asked = episodes(3);
    let start = Instant::now();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        interrupt.set();
    });
    analyzer.prefetch(&asked[0]).expect("nothing is wrong");
    let error = analyzer.wait_for(&asked[0]).expect_err("an interrupt");
    assert!(matches!(error, StopError::OpenAi(OpenAiError::Interrupted)), "{error}");
    let error = analyzer.analyze(StepContext::stored(1), &all(&asked)).expect_err("an interrupt");
    assert!(matches!(error, StopError::OpenAi(OpenAiError::Interrupted)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    later.join().expect("a thread");
}
