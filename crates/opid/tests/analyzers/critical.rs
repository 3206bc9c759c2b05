//! Step skills at steps that statistics find critical.

use opid::skill::analyzer::Analysis;
use opid::skill::critical::Selector;

use crate::episode;

#[test]
fn step_skills_stay_where_the_same_state_led_to_different_ends() {
    // Two episodes of one task see the same at every step but the second; the first is won.
    let mut episodes = [episode(0, 0, "desk"), episode(0, 1, "desk")];
    (episodes[0].won, episodes[0].reward) = (true, 10.0);
    episodes[1].turns[1].observation = "You see a shelf.".into();
    let advice = |turn: usize| (turn, format!("advice {turn}"));
    let skills = Analysis { step_skills: (0..3).map(advice).collect(), ..Analysis::default() };
    let kept = |most: usize| {
        let mut analyses = [skills.clone(), skills.clone()];
        let mut keep = |selector: Selector| -> usize {
            let critical = selector.select(&episodes, most);
            analyses.iter_mut().enumerate().map(|(i, analysis)| critical.keep(i, analysis)).sum()
        };
        assert_eq!(keep(Selector::Analyzer), 0);
        let taken = keep(Selector::Statistics);
        let steps = |a: &Analysis| -> Vec<usize> { a.step_skills.keys().copied().collect() };
        (steps(&analyses[0]), steps(&analyses[1]), taken)
    };
    // The returns differ most at the last step: variance 25 there, 20.4 at the first.
    assert_eq!(kept(5), (vec![], vec![2], 5));
    assert_eq!(kept(0), (vec![], vec![], 6));
}
