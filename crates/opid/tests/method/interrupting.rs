//! A run that is asked to stop saves what it has learnt, and goes on from there bit for bit.

use std::fs;
use std::path::Path;

use opid::interrupt::Interrupt;
use opid::layout::Layout;
use opid::recipe::Recipe;
use opid::sft::{self, sft};
use opid::train::{Control, Event, TrainError, resume, train};

use crate::micro::{self, saved};
use crate::resuming::metrics;

fn recipe(start: &Path) -> Recipe {
    let mut recipe = saved(Layout::Transcript, start);
    recipe.evaluation.every = 2;
    (recipe.checkpoint.every, recipe.checkpoint.keep) = (0, 2);
    recipe
}

/// Trains, and asks for a stop when `at` says so; `run` is gone on with until it is done.
fn interrupted(recipe: &Recipe, run: &Path, at: impl Fn(&Event<'_>, usize) -> bool) -> Vec<Option<u64>> {
    let mut stops = Vec::new();
    loop {
        let interrupt = Interrupt::default();
        let control = Control { interrupt: interrupt.clone(), ..Control::default() };
        let observe = &mut |event: Event<'_>| {
            if at(&event, stops.len()) {
                interrupt.set();
            }
        };
        let result = match stops.is_empty() {
            true => train(recipe, run, &control, observe),
            false => resume(recipe, run, &control, observe),
        };
        match result {
            Ok(_) => return stops,
            Err(TrainError::Interrupted { saved, run: told }) => {
                assert_eq!(told, run);
                stops.push(saved);
            }
            Err(error) => panic!("{error}"),
        }
        assert!(stops.len() < 20, "{stops:?}");
    }
}

#[test]
fn what_is_learnt_is_saved_and_gone_on_with() {
    let place = tempfile::tempdir().expect("a folder");
    let recipe = recipe(&place.path().join("start"));
    let whole = place.path().join("whole");
    train(&recipe, &whole, &Control::default(), &mut |_| ()).expect("a run");
    let same = |run: &Path| {
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let [a, b] = [&whole, run].map(|run| fs::read(run.join("checkpoints/step_4").join(file)));
            assert!(a.expect("a file") == b.expect("a file"), "{file} of {} differs", run.display());
        }
        assert_eq!(metrics(&whole), metrics(run));
    };
    // After every step.
    let run = place.path().join("steps");
    let stops = interrupted(&recipe, &run, |event, _| matches!(event, Event::Step(..)));
    assert_eq!(stops, [Some(1), Some(2), Some(3), Some(4)][..stops.len()]);
    assert!(stops.len() >= 3, "{stops:?}");
    same(&run);
    // In the middle of the episodes of a step, which is begun anew, and then of an evaluation.
    let run = place.path().join("episodes");
    let stops = interrupted(&recipe, &run, |event, stops| match event {
        Event::Sampling { purpose: "rollout", done: 1, .. } => stops == 0,
        Event::Sampling { purpose: "evaluation", done: 1, .. } => stops == 1,
        Event::Step(metrics, _) => metrics.step == 3 && stops == 2,
        _ => false,
    });
    assert_eq!(stops, [Some(0), Some(2), Some(3)]);
    same(&run);
    let left: Vec<_> = fs::read_dir(run.join("checkpoints")).expect("a folder").collect();
    assert_eq!(left.len(), 3, "the start and the last two of three: {left:?}");
}

#[test]
fn a_warm_start_goes_on_where_it_was_stopped() {
    let place = tempfile::tempdir().expect("a folder");
    let mut recipe = micro::recipe(Layout::Transcript);
    let warm = recipe.warm_start.as_mut().expect("a warm start");
    (warm.probe_games, warm.min_skill_gain) = (0, 0.0);
    for stage in &mut warm.stages {
        (stage.updates, stage.episodes) = (4, 2);
    }
    warm.stages.push(warm.stages[0].clone());
    warm.stages[0].copying = 16;
    let updates: u64 = warm.stages.iter().map(|stage| stage.updates).sum();
    recipe.steps = 1;
    let file = |run: &Path, name: &str| fs::read(run.join(name)).expect("a file");
    // The warm start alone, stopped once in every stage and between the stages.
    let [whole, stopped] = ["whole", "stopped"].map(|name| place.path().join(name));
    sft(&recipe, None, &whole, &Control::default(), &mut |_| ()).expect("a policy");
    let mut stops = Vec::new();
    loop {
        let interrupt = Interrupt::default();
        let control = Control { interrupt: interrupt.clone(), ..Control::default() };
        let mut done = 0;
        let observe = &mut |event: Event<'_>| {
            if let Event::WarmStart(_) = event {
                done += 1;
                if done == 2 + stops.len() % 2 {
                    interrupt.set();
                }
            }
        };
        let result = match stops.is_empty() {
            true => sft(&recipe, None, &stopped, &control, observe),
            false => sft::resume(&recipe, &stopped, &control, observe),
        };
        match result {
            Ok(_) => break,
            Err(TrainError::WarmStartInterrupted { updates, run, command: "sft" }) => {
                assert_eq!(run, stopped);
                stops.push(updates);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(stops, [2, 5, 7][..stops.len()], "of {updates}");
    assert!(stops.len() >= 2);
    for name in ["checkpoints/step_0/model.safetensors", "checkpoints/step_0/tokenizer.json", "metrics.jsonl"]
    {
        assert!(file(&whole, name) == file(&stopped, name), "{name} differs");
    }
    assert!(!stopped.join("warm_start").exists());
    let error = sft::resume(&recipe, &stopped, &Control::default(), &mut |_| ()).expect_err("it is finished");
    assert!(error.to_string().contains("its policy is made"), "{error}");

    // As part of a training run.
    let run = place.path().join("run");
    let interrupt = Interrupt::default();
    let control = Control { interrupt: interrupt.clone(), ..Control::default() };
    let error = train(&recipe, &run, &control, &mut |event| {
        if matches!(event, Event::WarmStart(p) if p.stage == 1) {
            interrupt.set();
        }
    });
    let said = error.expect_err("a stop").to_string();
    assert!(said.contains("after 5 updates") && said.contains("opid train --resume"), "{said}");
    let mut taught = None;
    resume(&recipe, &run, &Control::default(), &mut |event| {
        if let Event::Policy { taught: updates, .. } = event {
            taught = Some(updates);
        }
    })
    .expect("the rest");
    assert_eq!(taught, Some(5));
    let start = "checkpoints/step_0/model.safetensors";
    assert!(file(&whole, start) == file(&run, start), "the starting policy differs");
    assert!(!run.join("warm_start").exists());
}
