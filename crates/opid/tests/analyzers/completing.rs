//! Completing many prompts at once.

use std::convert::Infallible;
use std::ops::ControlFlow;

use opid::completion::{Completion, Correspondent, Settings, Tally, complete};
use opid::interrupt::Interrupt;
use opid_lm::sampling::Sampling;

use crate::respondent::untaught;

/// Asks some prompts, one after the other, and keeps what was written.
struct Collector {
    prompts: std::vec::IntoIter<Vec<u32>>,
    written: Vec<Completion>,
}

impl Correspondent for Collector {
    type Error = Infallible;

    fn open(&mut self) -> Result<Option<Vec<u32>>, Infallible> {
        Ok(self.prompts.next())
    }

    fn follow(&mut self, completion: Completion) -> Result<Option<Vec<u32>>, Infallible> {
        self.written.push(completion);
        Ok(self.prompts.next())
    }
}

/// Tokens without meaning; the same for the same key.
fn tokens(n: usize, key: u32) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 31 + key * 17) % 300).collect()
}

/// Prompts that begin alike in several ways; one correspondent has none, and two ask twice.
fn prompts() -> Vec<Vec<Vec<u32>>> {
    let join = |parts: &[&[u32]]| parts.concat();
    let (head, group) = (tokens(150, 0), tokens(60, 1));
    let first = join(&[&head, &group, &tokens(20, 2)]);
    vec![
        vec![first.clone(), join(&[&first, &tokens(9, 3)])],
        vec![join(&[&head, &group, &tokens(33, 4)])],
        vec![],
        vec![join(&[&head, &tokens(5, 5)])],
        vec![tokens(40, 6), tokens(7, 7), tokens(40, 6)],
        vec![first],
        vec![vec![9]],
    ]
}

fn settings() -> Settings {
    Settings {
        sampling: Sampling::default(),
        max_tokens: 10,
        ends: (0..40).collect(),
        concurrency: 4,
        interrupt: Interrupt::default(),
        keys: [1, 2, 3],
    }
}

fn written(settings: &Settings) -> (Vec<Vec<Completion>>, Tally) {
    let collector = |prompts: Vec<Vec<u32>>| Collector { prompts: prompts.into_iter(), written: Vec::new() };
    let mut collectors: Vec<Collector> = prompts().into_iter().map(collector).collect();
    let Ok(ControlFlow::Continue(tally)) = complete(&untaught().model, &mut collectors, settings) else {
        panic!("nobody asked for a stop")
    };
    (collectors.into_iter().map(|c| c.written).collect(), tally)
}

#[test]
fn what_is_written_depends_on_the_keys_alone() {
    let (all, tally) = written(&settings());
    let counts: Vec<usize> = all.iter().map(Vec::len).collect();
    assert_eq!(counts, [2, 1, 0, 1, 3, 1, 1]);
    let each = || all.iter().flatten();
    assert!(each().all(|c| c.tokens.len() <= 10 && c.ended != (c.tokens.len() == 10)), "{all:?}");
    assert!(each().any(|c| c.ended) && each().any(|c| !c.ended), "{all:?}");
    assert!(each().all(|c| c.tokens.iter().all(|token| *token >= 40)), "{all:?}");
    let sampled: usize = each().map(|c| c.tokens.len() + usize::from(c.ended)).sum();
    let asked: usize = prompts().iter().flatten().map(Vec::len).sum();
    assert_eq!(
        (tally.prompts, tally.prompt_tokens as usize, tally.sampled_tokens as usize),
        (9, asked, sampled)
    );

    for concurrency in [1, 2, 100] {
        assert_eq!(written(&Settings { concurrency, ..settings() }).0, all, "{concurrency} at once");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        assert_eq!(pool.install(|| written(&settings())), (all.clone(), tally), "{threads} threads");
    }
    for keys in [[0, 2, 3], [1, 0, 3], [1, 2, 0]] {
        assert_ne!(written(&Settings { keys, ..settings() }).0, all, "{keys:?}");
    }
}

#[test]
fn common_beginnings_are_computed_once() {
    // All at once: the head of three others, the group's tokens of two and what is left of an equal prompt; then
    // the first prompt as it is asked again. For a few tokens nobody waits.
    let tally = written(&Settings { concurrency: 100, ..settings() }).1;
    let shared = 150 + 210 + 229 + 230;
    assert!((shared - 16..=shared).contains(&tally.cached_tokens), "{tally:?}");
}

/// Asks the same prompt for ever, and for a stop with the first completion.
struct Hasty {
    prompt: Vec<u32>,
    written: usize,
    interrupt: Interrupt,
}

impl Correspondent for Hasty {
    type Error = Infallible;

    fn open(&mut self) -> Result<Option<Vec<u32>>, Infallible> {
        Ok(Some(self.prompt.clone()))
    }

    fn follow(&mut self, _completion: Completion) -> Result<Option<Vec<u32>>, Infallible> {
        self.written += 1;
        self.interrupt.set();
        self.open()
    }
}

#[test]
fn a_stop_is_heeded_after_the_present_pass() {
    let settings = Settings { ends: vec![], ..settings() };
    let hasty = |n, key| Hasty { prompt: tokens(n, key), written: 0, interrupt: settings.interrupt.clone() };
    // The long prompt takes some passes before its first token, so the short one is completed first.
    let mut both = [hasty(1, 1), hasty(400, 2)];
    let Ok(flow) = complete(&untaught().model, &mut both, &settings);
    assert!(flow.is_break());
    assert_eq!(both.each_ref().map(|one| one.written), [1, 0]);
    // One that was asked for before leaves nothing to do.
    let Ok(flow) = complete(&untaught().model, &mut both, &settings);
    assert!(flow.is_break());
    assert_eq!(both.map(|one| one.written), [1, 0]);
}
