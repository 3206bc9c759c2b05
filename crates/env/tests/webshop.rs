//! Made-up shops: they are as the settings say, can be written and read again, and their goals can be bought.

use std::collections::HashSet;
use std::sync::Arc;

use opid_env::environment::{Episode, Slips, Task};
use opid_env::random::Draw;
use opid_env::webshop::{
    Catalogue, Files, Goals, Manner, Place, Protocol, Shop, ShopConfig, ShopEpisode, ShopTask, Speaker,
    Style, generator,
};

fn shop(products: usize) -> Shop {
    Shop::open(ShopConfig { products, ..ShopConfig::default() }, 0).expect("a shop")
}

/// Plays with the expert; the episode at its end, and the actions.
fn play(task: Arc<ShopTask>, seed: u64, slips: Slips, limit: usize) -> (ShopEpisode, usize) {
    let mut episode = task.episode();
    let mut expert = Episode::expert(&episode, seed, slips);
    let mut actions = 0;
    while episode.receipt().is_none() && actions < limit {
        let action = expert.act(&episode);
        episode.advance(&action);
        actions += 1;
    }
    (episode, actions)
}

#[test]
fn the_expert_buys_what_is_wanted() {
    let shop = shop(400);
    let (mut total, mut actions) = (0, 0);
    for split in ["train", "test"] {
        let count = shop.len(split).expect("a split").expect("an end");
        for index in 0..count.min(150) {
            let task = shop.task(split, index).expect("a goal");
            let (episode, taken) = play(Arc::clone(&task), 1, Slips::default(), 15);
            let receipt = episode.receipt().unwrap_or_else(|| panic!("{}: nothing bought", task.goal()));
            assert_eq!(receipt.reward.total, 1.0, "{}: {:?}", task.goal(), receipt.reward);
            total += 1;
            actions += taken;
        }
    }
    assert!(total > 200 && actions < 6 * total, "{actions} actions in {total} episodes");
}

/// What a policy is taught to say can be copied from what it was shown.
#[test]
fn the_expert_says_what_it_read() {
    let shop = shop(200);
    let mut reasons = 0;
    for index in 0..60 {
        let task = shop.task("train", index).expect("a goal");
        let mut episode = Arc::clone(&task).episode();
        let mut expert = Episode::expert(&episode, 1, Slips::default());
        while episode.receipt().is_none() {
            let place = episode.visit().place();
            let shown: Vec<String> = episode.admissible().iter().map(|c| episode.as_shown(c)).collect();
            let action = expert.act(&episode);
            let clicked = action.strip_prefix("click[").and_then(|name| name.strip_suffix(']'));
            assert!(action.starts_with("search[") || shown.contains(&action), "{action} not in {shown:?}");
            match (place, clicked) {
                (Place::Results, Some(name)) if name.starts_with('B') => {
                    assert!(episode.observation().contains(name), "{name}");
                }
                // A value, after the words of the request that name it.
                (Place::Item, Some(name)) if name != "buy now" => {
                    assert_eq!(expert.reason().split_once(": ").map(|(_, value)| value), Some(name));
                    assert!(
                        task.goal().contains(expert.reason()),
                        "{} not in {}",
                        expert.reason(),
                        task.goal()
                    );
                    reasons += 1;
                }
                _ => assert_eq!(expert.reason(), ""),
            }
            episode.advance(&action);
        }
    }
    assert!(reasons > 30, "{reasons}");
}

#[test]
fn a_disturbed_expert_errs_and_mostly_recovers() {
    let shop = shop(200);
    let slips = Slips { revisit: 0.2, wander: 0.2, invalid: 0.1, forget: 0.3 };
    let mut won = 0;
    for index in 0..100 {
        let (episode, _) = play(shop.task("train", index).expect("a goal"), index as u64, slips, 30);
        won += usize::from(episode.receipt().is_some_and(|receipt| receipt.reward.total == 1.0));
    }
    assert!((40..100).contains(&won), "{won} of 100");
}

#[test]
fn every_made_goal_can_be_reached() {
    let catalogue = Catalogue::new(generator::products(3, 1000));
    let goals = Goals::new(&catalogue, Speaker::Made, 0);
    assert!(goals.list().len() > 1000, "{}", goals.list().len());
    for &goal in goals.list() {
        let attainable = goals.is_attainable(&catalogue, goal, Manner::default().similarity);
        assert!(attainable, "{}", goals.instruction(&catalogue, goal));
    }
}

#[test]
fn made_products_differ_and_survive_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = generator::products(5, 300);
    let numbers: HashSet<&str> = made.iter().map(|product| &*product.asin).collect();
    assert_eq!(numbers.len(), 300);
    assert_eq!(made[..50], generator::products(5, 50)[..]);
    assert_ne!(made[0], generator::products(6, 1)[0]);
    generator::write(folder.path(), 5, 300).expect("written");
    let read = Catalogue::load(&Files::of(folder.path(), false).expect("files")).expect("a catalogue");
    assert_eq!(read.products(), made);
}

#[test]
fn splits_are_fixed_and_apart() {
    let (first, again) = (shop(100), shop(100));
    let ids = |shop: &Shop, split| -> Vec<String> {
        let count = shop.len(split).expect("a split").expect("an end");
        (0..count).map(|i| shop.task(split, i).expect("a goal").id().to_owned()).collect()
    };
    let (train, test) = (ids(&first, "train"), ids(&first, "test"));
    assert_eq!(ids(&again, "train"), train);
    assert!(test.iter().all(|id| !train.contains(id)) && test.len() * 5 >= train.len() + test.len());
    assert!(first.task("test", test.len()).is_err_and(|e| e.to_string().contains("but it has")));
    assert!(first.len("valid").is_err_and(|e| e.to_string().contains("train, test")));
}

#[test]
fn the_reference_draws_other_goals_for_every_worker() {
    let config = ShopConfig { protocol: Protocol::Reference, ..ShopConfig::default() };
    let shop = Shop::open(config.clone(), 0).expect("a shop");
    assert_eq!(shop.len("train").expect("a split"), None);
    let ids: Vec<String> = (0..40).map(|i| shop.task("train", i).expect("a goal").id().to_owned()).collect();
    assert!(ids[0].starts_with("seed_0/") && ids[17].starts_with("seed_1/"), "{ids:?}");
    assert!(shop.task("test", 0).expect("a goal").id().starts_with("seed_1000/"));
    // Asked for in another order, they are the same.
    let other = Shop::open(config.clone(), 0).expect("a shop");
    assert_eq!(other.task("train", 39).expect("a goal").id(), ids[39]);
    let small = Shop::open(ShopConfig { products: 50, ..config }, 0);
    assert!(small.err().is_some_and(|error| error.to_string().contains("at least 516")));
}

#[test]
fn random_actions_do_no_harm_and_forks_go_on_alone() {
    let shop = shop(60);
    let mut draw = Draw::new(&[4]);
    for index in 0..30 {
        let mut episode = shop.task("train", index).expect("a goal").episode();
        for _ in 0..40 {
            let commands = episode.admissible();
            let mut action = draw.pick(&commands).expect("always one").clone();
            if draw.chance(0.2) {
                let junk = [
                    "]",
                    "[",
                    "click[",
                    "search[<r>]",
                    "search[<c> beauty]",
                    "search[<q> shampoo]",
                    "search[item_page]",
                    "",
                ];
                action = draw.pick(&junk).expect("one").to_string();
            } else if !action.contains('<') || action.contains("< prev") {
                assert!(episode.admits(&action), "{action}");
            }
            // What is clicked on is the same in capital letters, as pages show the names of products.
            let loud = match action.strip_prefix("click") {
                Some(name) => format!("click{}", name.to_uppercase()),
                None => action.clone(),
            };
            assert_eq!(episode.admits(&loud), episode.admits(&action), "{loud}");
            let before = episode.page(Style::Rich);
            let mut fork = episode.clone();
            episode.advance(&action);
            assert_eq!(fork.page(Style::Rich), before);
            fork.advance(&loud);
            assert_eq!(fork.page(Style::Text), episode.page(Style::Text));
        }
        if episode.receipt().is_some() {
            assert_eq!(episode.visit().place(), Place::Search);
        }
    }
}

#[test]
fn special_searches() {
    let shop = shop(200);
    let mut episode = shop.task("train", 0).expect("a goal").episode();
    let found = |episode: &mut ShopEpisode, query: &str| -> Vec<u32> {
        episode.advance(&format!("search[{query}]"));
        episode.visit().results().to_vec()
    };
    let random = found(&mut episode, "<r>");
    assert_eq!((random.len(), &random), (50, &found(&mut episode, "<r> again")));
    let of_department = found(&mut episode, "<c> fashion");
    assert!(of_department.iter().all(|p| &*shop.catalogue().product(*p).category == "fashion"));
    assert!(of_department.len() > 20);
    let query = shop.catalogue().product(0).query.clone();
    assert!(found(&mut episode, &format!("<q> {query}")).contains(&0));
    assert!(found(&mut episode, "<c>").is_empty());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || {
        let data = Some(folder.path().to_owned());
        let error = Shop::open(ShopConfig { data, ..ShopConfig::default() }, 0).err().expect("refused");
        error.to_string()
    };
    assert!(open().contains("items_shuffle_1000.json"), "{}", open());
    generator::write(folder.path(), 0, 20).expect("written");
    let items = folder.path().join("items_shuffle.json");
    let text = std::fs::read_to_string(&items).expect("text");
    let mut records: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    records[3]["pricing"] = "about 5".into();
    let asin = records[3]["asin"].as_str().expect("a name").to_owned();
    std::fs::write(&items, records.to_string()).expect("written");
    assert!(open().contains(&asin) && open().contains("about 5"), "{}", open());
    records[3].as_object_mut().map(|record| record.remove("name"));
    std::fs::write(&items, records.to_string()).expect("written");
    assert!(open().contains("items_shuffle.json") && open().contains("`name`"), "{}", open());
    std::fs::write(folder.path().join("items_ins_v2.json"), "{}").expect("written");
    std::fs::write(&items, "[]").expect("written");
    assert!(open().contains("0 goals"), "{}", open());
}

#[test]
fn a_large_catalogue_keeps_its_index() {
    let folder = tempfile::tempdir().expect("a folder");
    generator::write(folder.path(), 0, 20_000).expect("written");
    let files = Files::of(folder.path(), true).expect("files");
    let first = Catalogue::load(&files).expect("a catalogue");
    let index = files.index.clone().expect("a name");
    let written = index.metadata().expect("an index").modified().expect("a time");
    let again = Catalogue::load(&files).expect("a catalogue");
    assert_eq!(index.metadata().expect("an index").modified().expect("a time"), written);
    let query = "machine wash slim fit jeans";
    assert_eq!(first.search(query), again.search(query));
    assert_eq!(again.search(query).len(), 50);
    generator::write(folder.path(), 1, 20_000).expect("written");
    let other = Catalogue::load(&files).expect("a catalogue");
    assert_eq!(other.search(query), Catalogue::new(generator::products(1, 20_000)).search(query));
}
