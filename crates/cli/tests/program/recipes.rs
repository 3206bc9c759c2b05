//! `config`: what a recipe resolves to, and what is wrong with it.

use crate::opid;

#[test]
fn the_resolved_recipe_resolves_to_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = opid(folder.path(), &["config", "--set", "rollout.groups=4"]);
    assert!(first.ok().contains("groups = 4"));
    std::fs::write(folder.path().join("recipe.toml"), first.ok()).expect("a file");
    let second = opid(folder.path(), &["config", "recipe.toml"]);
    assert_eq!(first.ok(), second.ok());
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("typo.toml"), "[rollout]\ngruops = 4\n").expect("a file");
    std::fs::write(folder.path().join("broken.toml"), "[rollout\n").expect("a file");
    for (args, says) in [
        (vec!["config", "--set", "rollout.gruops=4"], "did you mean `groups`?"),
        (vec!["config", "--set", "rollout.groups=many"], "invalid type"),
        (vec!["config", "--set", "rollout.group_size=1"], "use 2 or more"),
        (vec!["config", "--set", "rollout.temperature=0"], "rollout.temperature"),
        (vec!["config", "typo.toml"], "did you mean `groups`?"),
        (vec!["config", "broken.toml"], "broken.toml"),
        (vec!["config", "missing.toml"], "cannot read the recipe missing.toml"),
        (vec!["train", "missing.toml"], "cannot read the recipe missing.toml"),
    ] {
        let result = opid(folder.path(), &args);
        assert!(result.refused().contains(says), "{args:?}: {}", result.err);
    }
    assert!(!folder.path().join("runs").exists(), "nothing is left behind");
}
