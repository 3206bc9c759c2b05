//! What a run shows in the terminal: a live view while it works, a line for every result.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use opid::metrics::StepMetrics;
use opid::probe::Probe;
use opid::recipe::{Recipe, ShownSkills};
use opid::skill::analyzer::{Usage, describe};
use opid::train::{Event, Outcome};

use crate::live::Live;

/// Writes a line to standard output, above what is live. Whoever watched may have gone; the run goes on.
macro_rules! say {
    ($display:ident, $($what:tt)*) => {{
        $display.live.above(|| {
            let _ = writeln!(std::io::stdout(), $($what)*);
        });
    }};
}

/// Shows events of a run.
pub struct Display {
    live: Live,
    started: Instant,
    /// Start of the first training step, for the time left.
    training: Option<Instant>,
}

impl Display {
    /// A display on standard error (what is live) and standard output (results).
    pub fn new() -> Self {
        Display { live: Live::new(), started: Instant::now(), training: None }
    }

    /// Says what is about to run.
    pub fn begin(&mut self, recipe: &Recipe, folder: &Path) {
        let algorithm = recipe.algorithm.method().title();
        say!(
            self,
            "{algorithm} on {} ({} x {} episodes a step, {} steps), seed {}, in {}",
            recipe.environment.name,
            recipe.rollout.groups,
            recipe.rollout.group_size,
            recipe.steps,
            recipe.seed,
            folder.display()
        );
    }

    /// Shows one event.
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Resumed { step, passed_over } => {
                for (later, fault) in passed_over {
                    say!(self, "the checkpoint of step {later} is passed over: {fault}");
                }
                say!(self, "going on after step {step}");
            }
            Event::Policy { parameters, vocabulary, taught } => {
                say!(self, "policy: {:.2} M parameters, vocabulary {vocabulary}", parameters as f64 / 1e6);
                if taught > 0 {
                    say!(self, "going on after {taught} updates of the warm start");
                }
            }
            Event::WarmStart(p) => {
                let what = format!("warm start, stage {}", p.stage + 1);
                self.live.advance(&what, p.update, p.updates, &format!("loss {:.3}", p.loss));
                if p.update == p.updates {
                    say!(self, "warm start, stage {}: loss {:.3} ({})", p.stage + 1, p.loss, self.elapsed());
                    self.prompts_cut(p.truncated_prompts);
                    if let Some((few, all)) = p.alphabet.filter(|(few, all)| few < all) {
                        say!(
                            self,
                            "    copying is not learnt: it is still practised with {few} of {all} tokens; give the stage more updates"
                        );
                    }
                }
            }
            Event::Probe(probe) => self.probe(probe),
            Event::Sampling { purpose, done, total } => {
                self.live.advance(purpose, done as u64, total as u64, "");
            }
            Event::Evaluation(e) => {
                self.live.rest();
                let r = &e.report;
                say!(
                    self,
                    "evaluation after {} steps, {} {} games, T {}{}: success {}{} ({:.1} turns, {:.1} % invalid)",
                    e.step,
                    r.overall.tasks,
                    e.split,
                    e.temperature,
                    shown(e.skills),
                    rate(&r.overall),
                    score(r),
                    r.turns,
                    100.0 * r.invalid
                );
                let kinds = r.kinds.iter().map(|(kind, k)| format!("{kind} {}/{}", k.won, k.tasks));
                say!(self, "    {}", kinds.collect::<Vec<_>>().join(", "));
                self.prompts_cut(r.truncated_prompts);
            }
            Event::Step(metrics, steps) => self.step(metrics, steps),
        }
    }

    /// Says what the run came to.
    pub fn finish(&mut self, outcome: &Outcome) {
        self.live.end();
        for (before, after) in outcome.before.iter().zip(&outcome.after) {
            say!(
                self,
                "T {}{}: success {}{} -> {}{} on {} {} games",
                before.temperature,
                shown(before.skills),
                rate(&before.report.overall),
                score(&before.report),
                rate(&after.report.overall),
                score(&after.report),
                after.report.overall.tasks,
                after.split
            );
        }
        say!(self, "policy saved in {} ({} in all)", outcome.checkpoint.display(), self.elapsed());
    }

    fn probe(&mut self, p: &Probe) {
        self.live.rest();
        say!(
            self,
            "starting policy at T 1: success {} plain, {} with a workflow skill, {} with an avoidance skill",
            rate(&p.plain),
            rate(&p.workflow),
            rate(&p.avoidance)
        );
        self.prompts_cut(p.truncated_prompts);
    }

    fn step(&mut self, m: &StepMetrics, steps: u64) {
        self.live.rest();
        let start = *self.training.get_or_insert_with(Instant::now);
        let left = (m.step > 1).then(|| {
            let each = start.elapsed().as_secs_f64() / (m.step - 1) as f64;
            Duration::from_secs_f64(each * steps.saturating_sub(m.step) as f64)
        });
        self.live.step(m, steps, left);
        let left = left.map_or(String::new(), |left| format!(", {} left", duration(left)));
        let partly = match (m.score - m.success).abs() < 1e-9 {
            true => String::new(),
            false => format!("  score {:.3}", m.score),
        };
        let (u, a, s) = (&m.update, &m.advantage, &m.seconds);
        say!(
            self,
            "step {:>3}/{steps}  success {:.3}{partly}  reward {:5.2}  turns {:4.1}  invalid {:.3}  |A| {:.2}/{:.2}/{:.2}  \
             kl {:.4}  entropy {:.3}  clip {:.3}  grad {:.2}  {:.0} tok/s  \
             [rollout {:.1}s reference {:.1}s analyzer wait {:.1}s re-score {:.1}s update {:.1}s]{left}",
            m.step,
            m.success,
            m.reward,
            m.turns,
            m.invalid,
            a.outcome_share,
            a.episode_skill_share,
            a.step_skill_share,
            u.kl,
            u.entropy,
            u.clip_fraction,
            u.grad_norm,
            m.tokens_per_second,
            s.rollout,
            s.reference,
            s.analyzer_wait,
            s.rescore,
            s.update,
        );
        if m.step == 1 {
            say!(self, "    (|A|: shares of episode outcome / episode skill / step skill)");
        }
        if m.skills.as_ref().is_some_and(|k| !k.scheduled) {
            say!(self, "    no skills at this step (skill.schedule): trained as GRPO");
        }
        if let Some(k) = &m.skills
            && (k.failed > 0 || k.too_long > 0 || k.shortened > 0)
        {
            say!(
                self,
                "    {} analyses failed{}, {} turns re-scored with less history, {} too long to re-score",
                k.failed,
                causes(&k.failures),
                k.shortened,
                k.too_long
            );
        }
        if let Some(line) = m.skills.as_ref().and_then(|k| usage(&k.analyzer)) {
            say!(self, "    {line}");
        }
        if m.crashed_episodes > 0 {
            say!(
                self,
                "    {} episodes dropped because their environment failed (it says why above)",
                m.crashed_episodes
            );
        }
        if s.saving > 0.02 * s.total() && s.saving > 1.0 {
            say!(self, "    {:.1} s of the step waited for files", s.saving);
        }
        for sign in &m.collapse {
            say!(self, "    sign of a collapse: {sign}");
        }
        if m.failed_lookups > 0 {
            say!(
                self,
                "    {} episodes with a search that failed because of the retriever",
                m.failed_lookups
            );
        }
        if m.truncated_responses > 0 || m.truncated_prompts > 0 || m.context_limited > 0 || u.skipped > 0 {
            say!(
                self,
                "    {} responses cut off, {} prompts cut, {} episodes out of context, {} updates skipped (not finite)",
                m.truncated_responses,
                m.truncated_prompts,
                m.context_limited,
                u.skipped
            );
        }
    }

    fn elapsed(&self) -> String {
        duration(self.started.elapsed())
    }

    /// Says how many prompts were too long, if any were.
    fn prompts_cut(&self, prompts: usize) {
        if prompts > 0 {
            say!(self, "    {prompts} prompts were longer than prompt.max_tokens and lost some of it");
        }
    }
}

/// Failures by cause, in brackets.
pub fn causes(failures: &BTreeMap<&'static str, usize>) -> String {
    if failures.is_empty() { String::new() } else { format!(" ({})", describe(failures)) }
}

/// What an analyzer took, if it took anything.
pub fn usage(u: &Usage) -> Option<String> {
    let counts = [
        (u.requests, "requests"),
        (u.cache_hits, "replies from the cache"),
        (u.shared, "episodes like another"),
        (u.retries, "repeated"),
        (u.refused_settings, "settings refused"),
        (u.corrections, "replies corrected"),
        (u.unmetered, "replies without token counts"),
        (u.shortened, "episodes shortened"),
        (u.dropped, "skills dropped"),
        (u.shuffled, "skills exchanged"),
        (u.corrupted, "skills corrupted"),
    ];
    let counted = counts.iter().filter(|(n, _)| *n > 0);
    let mut parts: Vec<String> = counted.map(|(n, what)| format!("{n} {what}")).collect();
    if u.requests > 0 {
        let shared = match u.cached_tokens {
            0 => String::new(),
            n => format!(" ({n} of them shared)"),
        };
        parts.push(format!("{} tokens in{shared}, {} out", u.input_tokens, u.output_tokens));
    }
    parts.extend((u.cost > 0.0).then(|| format!("cost {:.4}", u.cost)));
    parts.extend((u.span >= 1.0).then(|| format!("{:.0} s from first question to last answer", u.span)));
    parts.extend((u.waited >= 1.0).then(|| format!("{:.0} s waited before repetitions", u.waited)));
    (!parts.is_empty()).then(|| format!("analyzer: {}", parts.join(", ")))
}

/// Minutes and seconds.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    if s < 60 { format!("{s} s") } else { format!("{} min {:02} s", s / 60, s % 60) }
}

/// A success rate and its interval.
pub fn rate(r: &opid::evaluate::Rate) -> String {
    format!("{:.3} [{:.3}, {:.3}]", r.success, r.low, r.high)
}

/// The mean score, where tasks can be solved in part.
pub fn score(r: &opid::evaluate::Report) -> String {
    match (r.score - r.overall.success).abs() < 1e-9 {
        true => String::new(),
        false => format!(", score {:.3}", r.score),
    }
}

/// Says which skills the policy is shown, if any.
pub fn shown(skills: ShownSkills) -> &'static str {
    match skills {
        ShownSkills::None => "",
        ShownSkills::Bank => ", with skills of the bank",
    }
}
