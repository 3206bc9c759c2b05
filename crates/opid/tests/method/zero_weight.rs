//! OPID whose skills weigh nothing is GRPO, bit for bit.

use std::fs;

use opid::algo::Algorithm;
use opid::train::{Control, train};

use crate::micro::{LAYOUTS, saved};

#[test]
fn without_weight_skills_change_nothing() {
    for layout in LAYOUTS {
        let place = tempfile::tempdir().expect("a folder");
        let mut recipe = saved(layout, &place.path().join("start"));
        recipe.steps = 2;
        recipe.evaluation.games = 1;
        (recipe.skill.episode_weight, recipe.skill.step_weight) = (0.0, 0.0);
        recipe.skill.min_coverage = 0.0;
        let mut learnt = |algorithm: Algorithm| {
            recipe.algorithm = algorithm;
            let folder = place.path().join(recipe.algorithm.name());
            let outcome = train(&recipe, &folder, &Control::default(), &mut |_| ()).expect("a run");
            let read = |file: &str| fs::read(outcome.checkpoint.join(file)).expect("a file");
            (read("model.safetensors"), read("optimizer.safetensors"))
        };
        let (grpo, opid) = (learnt(Algorithm::Grpo(Default::default())), learnt(Algorithm::default()));
        assert!(grpo == opid, "{layout:?}: the weights or the moments differ");
        let start = fs::read(place.path().join("grpo/checkpoints/step_0/model.safetensors")).expect("a file");
        assert!(grpo.0 != start, "{layout:?}: training changed nothing");
    }
}
