//! The built-in analyzer on small episodes made by hand.

use opid::skill::hindsight::{Analysis, HindsightError, Step, analyze};

const ROOM: &str = "You are in the middle of a room. Looking quickly around you, you see a cabinet 1, a cabinet 2, \
                    a desk 1, a fridge 1, a microwave 1, a shelf 1, and a sinkbasin 1.";

/// An episode from pairs of action and answer.
fn episode(turns: &[(&str, &str)]) -> Vec<Step> {
    let mut before = format!("{ROOM}\n\nYour task is to: do something.");
    let mut steps = Vec::new();
    for (action, after) in turns {
        steps.push(Step { before, action: (*action).to_owned(), after: (*after).to_owned() });
        before = (*after).to_owned();
    }
    steps
}

fn study(goal: &str, won: bool, turns: &[(&str, &str)]) -> Analysis {
    analyze(goal, won, &episode(turns), 5).unwrap()
}

fn skills(analysis: &Analysis) -> Vec<(usize, &str)> {
    analysis.step_skills.iter().map(|(step, skill)| (*step, skill.as_str())).collect()
}

const CLOSED_CABINET: (&str, &str) = ("go to cabinet 1", "You arrive at cabinet 1. The cabinet 1 is closed.");
const MUG_CABINET: (&str, &str) =
    ("open cabinet 1", "You open the cabinet 1. The cabinet 1 is open. In it, you see a mug 1, and a pan 1.");
const TAKE_MUG: (&str, &str) = ("take mug 1 from cabinet 1", "You pick up the mug 1 from the cabinet 1.");
const EMPTY_DESK: (&str, &str) = ("go to desk 1", "You arrive at desk 1. On the desk 1, you see nothing.");
const SINK: (&str, &str) =
    ("go to sinkbasin 1", "You arrive at sinkbasin 1. On the sinkbasin 1, you see nothing.");
const SHELF: (&str, &str) = ("go to shelf 1", "You arrive at shelf 1. On the shelf 1, you see a vase 1.");

#[test]
fn a_clean_success_gives_its_plan_and_decisive_steps() {
    let analysis = study(
        "put a clean mug in shelf.",
        true,
        &[
            EMPTY_DESK,
            CLOSED_CABINET,
            MUG_CABINET,
            TAKE_MUG,
            SINK,
            ("clean mug 1 with sinkbasin 1", "You clean the mug 1 using the sinkbasin 1."),
            SHELF,
            ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
        ],
    );
    assert_eq!(
        analysis.episode_skill,
        "plan: look in new places for the mug; open what is closed; take the mug; clean it with the sinkbasin; \
         put it in the shelf"
    );
    assert_eq!(
        skills(&analysis),
        [
            (3, "do: take mug 1 from cabinet 1"),
            (5, "do: clean mug 1 with sinkbasin 1"),
            (7, "do: move mug 1 to shelf 1"),
        ]
    );
    assert_eq!(analysis.summary, "won after 8 steps");
}

#[test]
fn skills_never_tell_where_the_object_was() {
    let analysis = study(
        "put some mug on shelf.",
        true,
        &[
            EMPTY_DESK,
            EMPTY_DESK,
            CLOSED_CABINET,
            MUG_CABINET,
            TAKE_MUG,
            SHELF,
            ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
        ],
    );
    // The desk was empty: the advice at the second visit is the first place not yet seen, by its rank in
    // the room and not because the mug turned out to be there.
    assert!(!analysis.episode_skill.contains('1'));
    assert_eq!(analysis.step_skills[&1], "do: go to cabinet 1");
    let elsewhere = study(
        "put some mug on shelf.",
        false,
        &[
            ("go to cabinet 1", "You arrive at cabinet 1. On the cabinet 1, you see nothing."),
            EMPTY_DESK,
            EMPTY_DESK,
        ],
    );
    assert_eq!(skills(&elsewhere), [(2, "do: go to cabinet 2")]);
}

#[test]
fn an_object_in_view_is_to_be_taken() {
    let analysis = study(
        "put a mug in shelf.",
        false,
        &[CLOSED_CABINET, MUG_CABINET, EMPTY_DESK, ("look", "You are facing the desk 1.")],
    );
    assert_eq!(analysis.step_skills[&2], "do: take mug 1 from cabinet 1");
    assert_eq!(analysis.step_skills[&3], "do: go to cabinet 1");
    assert_eq!(analysis.episode_skill, "remember: take at once the mug; go, open, take or put at every step");
}

#[test]
fn forgotten_cleaning_is_put_first() {
    let turns = [
        CLOSED_CABINET,
        MUG_CABINET,
        TAKE_MUG,
        SHELF,
        ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1."),
    ];
    let analysis = study("clean some mug and put it in shelf.", false, &turns);
    assert_eq!(
        skills(&analysis),
        [(2, "do: take mug 1 from cabinet 1"), (3, "do: go to sinkbasin 1"), (4, "do: go to sinkbasin 1"),]
    );
    assert_eq!(analysis.episode_skill, "remember: clean it with the sinkbasin before you put it down");
    assert_eq!(analysis.summary, "lost after 5 steps; object not cleaned, heated or cooled first: 2");
}

#[test]
fn closed_places_revisits_and_impossible_commands_are_corrected() {
    let analysis = study(
        "put a hot mug in shelf.",
        false,
        &[
            CLOSED_CABINET,
            EMPTY_DESK,
            ("go to desk 1", "Nothing happens."),
            SHELF,
            EMPTY_DESK,
            ("take mug 1 from desk 1", "Nothing happens."),
        ],
    );
    assert_eq!(
        skills(&analysis),
        [
            (1, "do: open cabinet 1"),
            (2, "do: go to cabinet 2"),
            (4, "do: go to cabinet 2"),
            (5, "do: go to cabinet 2"),
        ]
    );
    assert_eq!(analysis.episode_skill, "remember: open what is closed; use names and commands that exist");
}

#[test]
fn another_object_is_put_down() {
    let analysis = study(
        "put a mug in shelf.",
        false,
        &[
            CLOSED_CABINET,
            MUG_CABINET,
            ("take pan 1 from cabinet 1", "You pick up the pan 1 from the cabinet 1."),
            ("inventory", "You are carrying: a pan 1."),
        ],
    );
    assert_eq!(skills(&analysis), [(2, "do: take mug 1 from cabinet 1"), (3, "do: move pan 1 to cabinet 1")]);
    assert!(analysis.episode_skill.starts_with("remember: take only the mug"));
}

#[test]
fn the_second_of_two_is_fetched_and_the_first_left() {
    let put = ("move mug 1 to shelf 1", "You move the mug 1 to the shelf 1.");
    let cabinet = (
        "open cabinet 1",
        "You open the cabinet 1. The cabinet 1 is open. In it, you see a mug 1, and a mug 2.",
    );
    let turns = [CLOSED_CABINET, cabinet, TAKE_MUG, SHELF, put, EMPTY_DESK];
    let analysis = study("put two mug in shelf.", false, &turns);
    assert_eq!(analysis.step_skills[&4], "do: move mug 1 to shelf 1");
    let again = study("find two mug and put them in shelf.", true, &turns);
    assert!(again.episode_skill.ends_with("put it in the shelf; do it again with a second mug"));
    let idle = [CLOSED_CABINET, cabinet, TAKE_MUG, SHELF, put, ("look", "You are facing the shelf 1.")];
    assert_eq!(study("put two mug in shelf.", false, &idle).step_skills[&5], "do: go to cabinet 1");
}

#[test]
fn a_lamp_is_used_while_holding_the_object() {
    let lamp = ("go to desk 1", "You arrive at desk 1. On the desk 1, you see a desklamp 1, and a pen 1.");
    let analysis = study(
        "examine the pen with the desklamp.",
        true,
        &[
            lamp,
            ("take pen 1 from desk 1", "You pick up the pen 1 from the desk 1."),
            ("use desklamp 1", "You turn on the desklamp 1."),
        ],
    );
    assert_eq!(
        analysis.episode_skill,
        "plan: look in new places for the pen; take the pen; hold it and use the desklamp"
    );
    assert_eq!(skills(&analysis), [(1, "do: take pen 1 from desk 1"), (2, "do: use desklamp 1")]);
}

#[test]
fn a_flawless_search_that_ran_out_is_told_to_hurry() {
    let analysis = study("put a mug in shelf.", false, &[EMPTY_DESK, SINK]);
    assert_eq!(analysis.episode_skill, "remember: look in new places for the mug; a new place at every step");
    assert!(analysis.step_skills.is_empty());
}

#[test]
fn the_number_of_step_skills_is_bounded_and_the_gravest_stay() {
    let turns = [EMPTY_DESK, EMPTY_DESK, CLOSED_CABINET, MUG_CABINET, EMPTY_DESK, EMPTY_DESK];
    let steps = episode(&turns);
    let analysis = analyze("put a mug in shelf.", false, &steps, 1).unwrap();
    assert_eq!(skills(&analysis), [(4, "do: take mug 1 from cabinet 1")]);
    assert!(analyze("put a mug in shelf.", false, &steps, 0).unwrap().step_skills.is_empty());
    let repeated = analyze("put a mug in shelf.", false, &steps, 1).unwrap();
    assert_eq!(repeated, analysis);
}

#[test]
fn other_tasks_and_empty_episodes() {
    let error = analyze("find the capital of France", true, &[], 3).unwrap_err();
    assert!(matches!(error, HindsightError::Goal { .. }));
    let empty = analyze("put a mug in shelf.", false, &[], 3).unwrap();
    assert_eq!(empty.summary, "lost after 0 steps");
    assert!(!empty.episode_skill.is_empty());
}
