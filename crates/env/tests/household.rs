//! Made games: they can be won, are not won at the start, and play from their file as from memory.

use std::sync::Arc;

use opid_env::alfworld::{Game, GameFile, GameTask, KINDS, Variant, contains, members, plan};
use opid_env::environment::{Slips, Task};
use opid_env::household::{Blueprint, HouseholdConfig, SPLITS, World};
use opid_env::random::Draw;
use proptest::prelude::*;

/// Plays a game with an expert; the number of actions to win, if it wins in `limit`.
fn play(task: &Arc<GameTask>, seed: u64, slips: Slips, limit: usize) -> Option<usize> {
    let mut episode = Arc::clone(task).start();
    let mut expert = episode.expert(seed, slips);
    (1..=limit).find(|_| {
        let action = expert.act(&*episode);
        episode.step(&action).won
    })
}

fn world(size: (usize, usize), seed: u64) -> World {
    World::new(HouseholdConfig { size, crowding: 2.0, ..HouseholdConfig::default() }, seed)
        .expect("good settings")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_made_game_is_sound(seed in any::<u64>(), index in 0usize..1_000_000, least in 5usize..40, split in 0usize..3) {
        let made = world((least, least + 4), seed).make(SPLITS[split], index).expect("a game");
        let file = GameFile::parse(&made.blueprint.file(&made.walkthrough)).expect("its file");
        prop_assert_eq!(file.solvable, Some(true));
        prop_assert_eq!(file.walkthrough.as_deref(), Some(&made.walkthrough[..]));
        prop_assert_eq!(made.game.condition(), file.game.condition());
        prop_assert_eq!(made.game.intro(), file.game.intro());
        prop_assert!(!made.game.won(&made.game.start()));

        // The walkthrough wins, and before it does, both copies answer alike.
        let (mut ours, mut theirs) = (made.game.start(), file.game.start());
        let (mut answer, mut same) = (String::new(), String::new());
        let (mut admissible, mut also) = (Vec::new(), Vec::new());
        for action in &made.walkthrough {
            prop_assert!(!made.game.won(&ours));
            made.game.admissible(&ours, &mut admissible);
            file.game.admissible(&theirs, &mut also);
            prop_assert_eq!(&admissible, &also);
            prop_assert!(admissible.is_sorted());
            made.game.step(&mut ours, action, &mut answer);
            file.game.step(&mut theirs, action, &mut same);
            prop_assert_eq!(&answer, &same);
        }
        prop_assert!(made.game.won(&ours));

        // Nothing lies where it may not lie; lamps are not placed by hand.
        let start = made.game.start();
        for (number, receptacle) in (0u8..).zip(made.game.receptacles()) {
            for object in members(start.contents(number)) {
                let kind = &made.game.objects()[usize::from(object)].kind;
                prop_assert!(kind == "desklamp" || contains(receptacle.accepts, object), "{} {}", receptacle.name, kind);
            }
        }
    }

    #[test]
    fn random_play_keeps_its_promises(seed in any::<u64>(), index in 0usize..1000) {
        let made = world((5, 12), seed).make("train", index).expect("a game");
        let game = &made.game;
        let (mut state, mut answer, mut draw) = (game.start(), String::new(), Draw::new(&[seed]));
        for _ in 0..60 {
            let mut commands = Vec::new();
            game.admissible(&state, &mut commands);
            prop_assert!(commands.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", commands);
            let action = *draw.pick(&commands).expect("there is always `look`");
            prop_assert!(game.step(&mut state, action, &mut answer).is_some());
            let before = state.clone();
            prop_assert!(game.step(&mut state, "dance", &mut answer).is_none());
            prop_assert_eq!(&answer, "Nothing happens.");
            prop_assert_eq!(&before, &state);
        }
        let plan = plan::solve(game, &state);
        let stuck = state.held.is_some_and(|o| !game.receptacles().iter().any(|r| contains(r.accepts, o)));
        prop_assert!(stuck || plan.is_some());
        for action in plan.iter().flatten() {
            game.step(&mut state, action, &mut answer);
        }
        prop_assert!(stuck || game.won(&state));
    }

    #[test]
    fn a_damaged_file_is_refused_or_played_but_never_fatal(seed in any::<u64>(), cuts in 1usize..6) {
        let made = world((5, 8), 1).make("train", 1).expect("a game");
        let problem = made.blueprint.problem();
        let mut draw = Draw::new(&[seed]);
        let mut words: Vec<String> = problem.split_inclusive([' ', '\n', '(', ')']).map(str::to_string).collect();
        for _ in 0..cuts {
            let (from, to) = (draw.below(words.len()), draw.below(words.len()));
            match draw.below(4) {
                0 => { words.remove(from); }
                1 => { let word = words[to].clone(); words.insert(from, word); }
                2 => words.swap(from, to),
                _ => words[from] = draw.pick(&["(", ")", ";", "- ", "ä ", "?o ", "not "]).map_or(String::new(), |w| w.to_string()),
            }
        }
        let text = words.concat();
        if let Ok(game) = Game::compile(Variant::Data, "x.", &text) {
            let (mut state, mut answer) = (game.start(), String::new());
            for _ in 0..20 {
                let mut commands = Vec::new();
                game.admissible(&state, &mut commands);
                let action = *draw.pick(&commands).expect("there is always `look`");
                game.step(&mut state, action, &mut answer);
            }
            plan::solve(&game, &state);
        }
    }
}

#[test]
fn the_same_number_is_the_same_game() {
    let (one, other) = (world((6, 10), 5), world((6, 10), 5));
    for index in 0..20 {
        let (a, b) = (one.make("train", index).expect("a game"), other.make("train", index).expect("a game"));
        assert_eq!(a.blueprint.file(&a.walkthrough), b.blueprint.file(&b.walkthrough));
        assert_eq!(a.id, b.id);
    }
    let problem = |split| one.make(split, 0).expect("a game").blueprint.problem();
    assert_ne!(problem("train"), problem("valid_seen"));
}

#[test]
fn unseen_scenes_are_not_among_the_seen() {
    let world = world((6, 10), 9);
    let seen = world.scenes("train").expect("a split");
    assert_eq!(seen, world.scenes("valid_seen").expect("a split"));
    let unseen = world.scenes("valid_unseen").expect("a split");
    assert!(unseen.clone().all(|scene| !seen.contains(&scene)));
    let ids = |scene| -> Vec<String> {
        world.layout("kitchen", scene).expect("a room").furniture.into_iter().map(|f| f.id).collect()
    };
    for held_out in unseen {
        assert!(seen.clone().all(|scene| ids(scene) != ids(held_out)));
    }
}

#[test]
fn rooms_of_real_size_are_as_large_and_full_as_real_ones() {
    // ALFWorld's kitchens have 33.1 receptacles on average and 45 objects that can be taken (median), its
    // bedrooms 14.6 and 24.
    let world = world((0, 0), 4);
    for (room, receptacles, objects) in
        [("kitchen", 28.0..38.0, 40.0..50.0), ("bedroom", 11.0..18.0, 20.0..28.0)]
    {
        let made: Vec<_> = (0..200)
            .map(|index| world.make("train", index).expect("a game"))
            .filter(|made| made.blueprint.layout.room == room)
            .collect();
        let mean = |count: fn(&Blueprint) -> usize| {
            made.iter().map(|m| count(&m.blueprint)).sum::<usize>() as f64 / made.len() as f64
        };
        let (furniture, things) = (mean(|b| b.layout.furniture.len()), mean(|b| b.things.len()));
        assert!(
            receptacles.contains(&furniture) && objects.contains(&things),
            "{room}: {furniture} {things}"
        );
    }
}

#[test]
fn every_kind_of_task_can_be_had_alone() {
    for kind in KINDS {
        let config = HouseholdConfig { kinds: vec![kind.to_string()], ..HouseholdConfig::default() };
        let world = World::new(config, 3).expect("good settings");
        for split in SPLITS {
            for index in 0..30 {
                let task = world.task(split, index).expect("a game");
                assert_eq!(task.kind(), kind);
                assert!(task.id().contains(kind));
            }
        }
    }
}

#[test]
fn bad_settings_are_refused() {
    let refuse = |config: HouseholdConfig| World::new(config, 0).expect_err("bad settings").to_string();
    let error = refuse(HouseholdConfig { size: (9, 3), ..HouseholdConfig::default() });
    assert!(error.contains("9 to 3"), "{error}");
    let error = refuse(HouseholdConfig { kinds: vec!["dance".to_string()], ..HouseholdConfig::default() });
    assert!(error.contains("`dance`") && error.contains("look_at_obj_in_light"), "{error}");
}

#[test]
fn the_searching_expert_wins_quickly() {
    for size in [(5, 7), (6, 10), (30, 40)] {
        let world = world(size, 11);
        let tasks: Vec<_> = (0..400).map(|index| world.task("train", index).expect("a game")).collect();
        let taken: Vec<_> = tasks
            .iter()
            .enumerate()
            .filter_map(|(n, task)| play(task, n as u64, Slips::default(), 30))
            .collect();
        let mean = taken.iter().sum::<usize>() as f64 / taken.len() as f64;
        let best = tasks.iter().map(|task| task.walkthrough().map_or(0, <[String]>::len)).sum::<usize>()
            as f64
            / 400.0;
        println!(
            "{size:?}: {} of 400 won in 30, {mean:.1} actions on average, {best:.1} knowing all",
            taken.len()
        );
        assert!(taken.len() > 370, "{size:?}: {} of 400", taken.len());
    }
}

#[test]
fn a_slipping_expert_errs_and_mostly_recovers() {
    let world = world((6, 10), 12);
    let slips = Slips { revisit: 0.2, wander: 0.1, invalid: 0.1, forget: 0.5 };
    let mut won = 0;
    for index in 0..200 {
        let task = world.task("train", index).expect("a game");
        let run = || play(&task, 7, slips, 50);
        assert_eq!(run(), run());
        won += usize::from(run().is_some());
    }
    assert!(won > 180, "{won} of 200");
}

#[test]
fn the_searching_expert_does_not_peek() {
    // Two games that differ only in what lies where: as long as the agent has been shown the same,
    // the expert does the same.
    let world = world((6, 12), 21);
    let mut parted = 0;
    for index in 0..200 {
        let made = world.make("train", index).expect("a game");
        let mut draw = Draw::new(&[index as u64]);
        let mut moved = made.blueprint.clone();
        for _ in 0..4 {
            let (one, other) = (draw.below(moved.things.len()), draw.below(moved.things.len()));
            let places = std::mem::take(&mut moved.things[one].places);
            moved.things[one].places = std::mem::replace(&mut moved.things[other].places, places);
        }
        let compile = |blueprint: &Blueprint| {
            Game::compile(Variant::Data, &blueprint.task, &blueprint.problem()).expect("a game")
        };
        let (game, other) = (compile(&made.blueprint), compile(&moved));
        if other.won(&other.start()) {
            continue;
        }
        let start = |game| Arc::new(GameTask::new(String::new(), game, None)).start();
        let (mut here, mut there) = (start(game), start(other));
        let (mut expert, mut twin) = (here.expert(3, Slips::default()), there.expert(3, Slips::default()));
        for _ in 0..30 {
            if here.observation() != there.observation() || here.admissible() != there.admissible() {
                parted += 1;
                break;
            }
            let action = expert.act(&*here);
            assert_eq!(action, twin.act(&*there), "{index}: {}", here.observation());
            let (step, other) = (here.step(&action), there.step(&action));
            if step.won || other.won {
                break;
            }
        }
    }
    assert!(parted > 50, "only {parted} pairs of games ever looked different");
}
