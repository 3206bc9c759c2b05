//! What an episode's pages have shown of a shop so far, what to do next knowing only that, and the skills that a
//! finished visit teaches.
//!
//! The wanted attributes are looked for in the titles of products, options by their values, and prices in the tags of
//! the pages: all that a customer sees before opening further pages.

use std::collections::BTreeSet;

use opid_env::webshop::{Request, SEPARATOR};

use super::fault;
use super::hindsight::{Analysis, Step};
use super::phrases::{DO, PLAN, REMEMBER, THEN};

/// A page, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
enum Page {
    /// With the search bar.
    Search,
    /// Results: number, title and lowest price of each product.
    Results(Vec<Listed>),
    /// A product: its price, and everything that can be clicked.
    Item { price: f64, clickable: Vec<String> },
    /// A page below a product's.
    Leaf,
    /// After a purchase.
    Receipt,
}

#[derive(Clone, Debug, PartialEq)]
struct Listed {
    asin: String,
    title: String,
    price: f64,
}

impl Listed {
    /// Whether a click on this name opens it.
    fn is_called(&self, name: &str) -> bool {
        self.asin.eq_ignore_ascii_case(name)
    }
}

/// Whether an observation is the first page of a shop.
pub(super) fn is_shop(observation: &str) -> bool {
    matches!(Page::read(observation), Some(Page::Search))
}

/// The parts of a page in either manner, without the marks of buttons.
fn parts(text: &str) -> Vec<&str> {
    const MARKS: [(&str, &str); 2] =
        [("[button] ", " [button_]"), ("[clicked button] ", " [clicked button_]")];
    if text.contains(SEPARATOR) {
        return text.split(SEPARATOR).collect();
    }
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("You have clicked "))
        .map(|line| {
            let inner = MARKS.iter().find_map(|(open, close)| line.strip_prefix(open)?.strip_suffix(close));
            inner.unwrap_or(line)
        })
        .collect()
}

/// The first number after a dollar sign.
fn dollars(text: &str) -> Option<f64> {
    let rest = text.split('$').nth(1)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

impl Page {
    /// Reads an observation; nothing for a text that is no page of a shop.
    fn read(text: &str) -> Option<Page> {
        let parts = parts(text);
        match parts[..] {
            ["Search"] => return Some(Page::Search),
            ["Thank you for shopping with us!", ..] => return Some(Page::Receipt),
            ["Back to Search", ..] => {}
            _ => return None,
        }
        if parts.iter().any(|part| part.starts_with("Page ") && part.contains("(Total results: ")) {
            let from = parts.iter().position(|part| *part == "Next >")? + 1;
            let listed = parts[from..].chunks_exact(3).map(|product| Listed {
                asin: product[0].to_owned(),
                title: product[1].to_lowercase(),
                price: dollars(product[2]).unwrap_or_default(),
            });
            return Some(Page::Results(listed.collect()));
        }
        let Some(at) = parts.iter().position(|part| part.starts_with("Price: $")) else {
            return Some(Page::Leaf);
        };
        // Before the price stand the title, and before that the options.
        let clickable = parts[..at.saturating_sub(1)].iter().map(|part| part.to_lowercase()).collect();
        Some(Page::Item { price: dollars(parts[at])?, clickable })
    }
}

/// What is known of a visit.
struct Visit {
    request: Request,
    page: Page,
    /// Values chosen of the open product.
    chosen: BTreeSet<String>,
    /// Products that were opened and left.
    left: BTreeSet<String>,
    open: Option<Listed>,
}

/// What was wrong with a step, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Bought with options that were not chosen.
    Unchosen,
    /// Bought, or opened, a product that does not have what is asked for.
    Unfit,
    /// Another value than the one asked for was chosen.
    WrongValue,
    /// Searched for other words than those of the task.
    PoorSearch,
    /// Left what fits, or looked at what is not needed.
    Detour,
    /// Nothing of that name can be clicked.
    Invalid,
}

impl Fault {
    const ALL: [Fault; 6] =
        [Fault::Unchosen, Fault::Unfit, Fault::WrongValue, Fault::PoorSearch, Fault::Detour, Fault::Invalid];

    fn name(self) -> &'static str {
        match self {
            Fault::Unchosen => "bought without an option",
            Fault::Unfit => "product that does not fit",
            Fault::WrongValue => "wrong value of an option",
            Fault::PoorSearch => "poor search",
            Fault::Detour => "detour",
            Fault::Invalid => "impossible command",
        }
    }

    /// What to remember next time.
    fn reminder(self) -> &'static str {
        match self {
            Fault::Unchosen => CHOOSE_ALL,
            Fault::Unfit => OPEN_FITTING,
            Fault::WrongValue => CHOOSE_ASKED,
            Fault::PoorSearch => SEARCH_ALL,
            Fault::Detour => STRAIGHT,
            Fault::Invalid => EXACT,
        }
    }
}

const SEARCH_ALL: &str = "search for the product with all words that are asked";
const OPEN_FITTING: &str = "open the product whose title has all that is asked";
const UNDER: &str = " for less than $";
const CHOOSE: &str = "choose ";
const CHOOSE_ALL: &str = "choose every option before you buy";
const CHOOSE_ASKED: &str = "choose the options that are asked";
const STRAIGHT: &str = "when it fits go straight on";
const EXACT: &str = "click only what the page shows";
const BUY: &str = "buy now";

/// Every fixed part, for training a tokenizer.
pub(super) const PHRASES: [&str; 13] = [
    DO,
    PLAN,
    REMEMBER,
    THEN,
    SEARCH_ALL,
    OPEN_FITTING,
    UNDER,
    CHOOSE,
    CHOOSE_ALL,
    CHOOSE_ASKED,
    STRAIGHT,
    EXACT,
    BUY,
];

/// Words of a title or request that count.
fn words(text: &str) -> BTreeSet<&str> {
    const SMALL: [&str; 10] = ["a", "and", "for", "in", "of", "or", "that", "the", "to", "with"];
    let split = text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '.');
    split.filter(|word| !word.is_empty() && !SMALL.contains(word)).collect()
}

impl Visit {
    /// How many of the wanted words a title has; nothing for a price above the limit.
    fn fit(&self, product: &Listed) -> Option<usize> {
        let title = words(&product.title);
        let met = words(&self.request.words).intersection(&title).count();
        (product.price <= self.request.limit.unwrap_or(f64::INFINITY)).then_some(met)
    }

    /// The product to open among those listed: of the best, the first that was not left before.
    fn best<'a>(&self, listed: &'a [Listed]) -> Option<&'a Listed> {
        let new = listed.iter().filter(|product| !self.left.contains(&product.asin));
        let fitting = new.rev().filter_map(|product| Some((self.fit(product)?, product)));
        fitting.max_by_key(|(met, _)| *met).map(|(_, product)| product)
    }

    /// The next value to choose among those that can be clicked.
    fn missing<'a>(&'a self, clickable: &[String]) -> Option<&'a str> {
        let values = self.request.options.iter().map(|(_, value)| value.as_str());
        values.into_iter().find(|value| {
            !self.chosen.contains(*value)
                && clickable.iter().any(|name| name == value)
                && !value.contains('[')
        })
    }

    /// Whether the open product is dearer than asked, or lacks a value that is asked for.
    fn is_unfit(&self, price: f64, clickable: &[String]) -> bool {
        let lacks = |value: &String| !clickable.contains(value) && !self.chosen.contains(value);
        price > self.request.limit.unwrap_or(f64::INFINITY)
            || self.request.options.iter().any(|(_, value)| lacks(value))
    }

    /// What to do next, knowing what was shown.
    fn advice(&self) -> Option<String> {
        let click = |name: &str| format!("click[{name}]");
        Some(match &self.page {
            Page::Search => format!("search[{}]", self.request.words),
            Page::Results(listed) => {
                self.best(listed).map_or(click("next >"), |product| click(&product.asin))
            }
            Page::Item { price, clickable } if self.is_unfit(*price, clickable) => click("< prev"),
            Page::Item { clickable, .. } => click(self.missing(clickable).unwrap_or("buy now")),
            Page::Leaf => click("< prev"),
            Page::Receipt => return None,
        })
    }

    /// What is wrong with an action, if anything; nothing for one that is as good as any other.
    fn judge(&self, action: &str, after: &str, before: &str) -> Option<Fault> {
        if after == before {
            return match (&self.page, action.strip_prefix("click[").and_then(|name| name.strip_suffix(']'))) {
                // A page stays as it is when an option is chosen.
                (Page::Item { clickable, .. }, Some(name)) if clickable.iter().any(|known| known == name) => {
                    self.judge_click(name)
                }
                _ => Some(Fault::Invalid),
            };
        }
        if let Some(said) = action.strip_prefix("search[").and_then(|said| said.strip_suffix(']')) {
            let (asked, said) = (words(&self.request.words), words(said));
            let met = asked.intersection(&said).count();
            return (2 * met < asked.len()).then_some(Fault::PoorSearch);
        }
        self.judge_click(action.strip_prefix("click[").and_then(|name| name.strip_suffix(']'))?)
    }

    fn judge_click(&self, name: &str) -> Option<Fault> {
        match &self.page {
            Page::Results(listed) => {
                let opened = listed.iter().find(|product| product.is_called(name))?;
                let best = self.best(listed).and_then(|best| self.fit(best));
                (self.fit(opened) < best).then_some(Fault::Unfit)
            }
            Page::Item { price, clickable } => match name {
                "buy now" if self.is_unfit(*price, clickable) => Some(Fault::Unfit),
                "buy now" => self.missing(clickable).map(|_| Fault::Unchosen),
                "< prev" | "back to search" => (!self.is_unfit(*price, clickable)).then_some(Fault::Detour),
                "description" | "features" | "reviews" | "attributes" => None,
                value if self.request.options.iter().any(|(_, wanted)| wanted == value) => None,
                _ => Some(Fault::WrongValue),
            },
            Page::Search | Page::Leaf | Page::Receipt => None,
        }
    }

    /// Whether an action that is right moves the task on.
    fn is_decisive(&self) -> bool {
        matches!(self.page, Page::Search | Page::Results(_) | Page::Item { .. })
    }

    /// Takes in what an action led to.
    fn read(&mut self, action: &str, after: &str) {
        let name = action.strip_prefix("click[").and_then(|name| name.strip_suffix(']')).unwrap_or_default();
        match &self.page {
            Page::Results(listed) => {
                if let Some(product) = listed.iter().find(|product| product.is_called(name)) {
                    self.open = Some(product.clone());
                    self.chosen.clear();
                }
            }
            Page::Item { clickable, .. } if clickable.iter().any(|known| known == name) => {
                self.chosen.insert(name.to_owned());
            }
            _ => {}
        }
        let Some(page) = Page::read(after) else { return };
        if matches!(page, Page::Search | Page::Results(_)) {
            self.chosen.clear();
            self.left.extend(self.open.take().map(|product| product.asin));
        }
        self.page = page;
    }
}

/// Draws skills from a finished visit: at most `most` step skills, the most critical ones.
pub(super) fn analyze(goal: &str, won: bool, steps: &[Step], most: usize) -> Analysis {
    let request = Request::parse(goal);
    let mut visit =
        Visit { request, page: Page::Search, chosen: BTreeSet::new(), left: BTreeSet::new(), open: None };
    let mut faults = Vec::new();
    let mut ranked: Vec<(usize, usize, String)> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let action = step.action.trim();
        let better = visit.advice();
        match visit.judge(action, &step.after, &step.before) {
            Some(fault) => {
                faults.push(fault);
                // Advice to do what was done would contradict the verdict.
                if let Some(better) = better.filter(|better| !better.eq_ignore_ascii_case(action)) {
                    ranked.push((rank(Some(fault), won), number, better));
                }
            }
            None if visit.is_decisive()
                && better.as_ref().is_some_and(|b| b.eq_ignore_ascii_case(action)) =>
            {
                ranked.extend(better.map(|better| (rank(None, won), number, better)));
            }
            None => {}
        }
        visit.read(action, &step.after);
    }
    ranked.sort();
    let skills = ranked.into_iter().take(most);
    let step_skills = skills.map(|(_, number, command)| (number, format!("{DO}{command}"))).collect();
    let bought = matches!(visit.page, Page::Receipt);
    let episode_skill = if won { plan(&visit.request) } else { reminders(&faults, bought) };
    let summary = fault::summary(won, &format!("{} steps", steps.len()), &faults, Fault::name);
    Analysis { summary, episode_skill, step_skills }
}

/// The order in which steps get skills: mistakes that cost the purchase, then decisive steps of a success, then waste;
/// a failure's own good steps come last.
fn rank(fault: Option<Fault>, won: bool) -> usize {
    match fault {
        Some(fault) if fault < Fault::Detour => fault as usize,
        None if won => Fault::ALL.len(),
        Some(fault) => Fault::ALL.len() + 1 + fault as usize,
        None => 3 * Fault::ALL.len(),
    }
}

/// The plan that serves a request.
fn plan(request: &Request) -> String {
    let mut parts = vec![SEARCH_ALL.to_owned()];
    let limit = request.limit.map(|limit| format!("{UNDER}{limit}")).unwrap_or_default();
    parts.push(format!("{OPEN_FITTING}{limit}"));
    parts.extend(request.options.iter().map(|(_, value)| format!("{CHOOSE}{value}")));
    parts.push(BUY.to_owned());
    format!("{PLAN}{}", parts.join(THEN))
}

/// What to remember after a failure: the gravest mistake, then the most frequent other one; and to buy, where nothing
/// was bought.
fn reminders(faults: &[Fault], bought: bool) -> String {
    let mut parts: Vec<&str> = fault::worst(faults).into_iter().map(Fault::reminder).collect();
    if !bought {
        parts.push(BUY);
    }
    if parts.is_empty() {
        parts.extend([OPEN_FITTING, CHOOSE_ALL]);
    }
    format!("{REMEMBER}{}", parts.join(THEN))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opid_env::environment::{Slips, Task};
    use opid_env::webshop::{Manner, Shop, ShopConfig, Style};

    use super::*;
    use crate::demonstration::{Noise, play};
    use crate::skill::hindsight;

    const GOAL: &str = "Find me slim fit, machine wash men's jeans with color: blue, and size: 32, and price lower than 40.00 dollars";
    const RESULTS: &str = "Back to Search [SEP] Page 1 (Total results: 2) [SEP] Next > [SEP] B01 [SEP] Ora Men's Jeans Slim Fit [SEP] $20.0 [SEP] \
        B02 [SEP] Vex Men's Jeans Slim Fit Machine Wash [SEP] $30.0 to $35.0 [SEP] B03 [SEP] Kal Men's Jeans Slim Fit Machine Wash [SEP] $60.0";
    const ITEM: &str = "Back to Search [SEP] < Prev [SEP] color [SEP] blue [SEP] red [SEP] size [SEP] 32 [SEP] 34 [SEP] Vex Men's Jeans \
        [SEP] Price: $30.0 to $35.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now";
    const SEARCHED: (&str, &str) = ("search[slim fit machine wash men's jeans]", RESULTS);
    const BOUGHT: (&str, &str) = ("click[buy now]", "Thank you for shopping with us! [SEP] Your code:");

    fn study(won: bool, turns: &[(&str, &str)]) -> Analysis {
        let mut before = "Search".to_owned();
        let mut steps = Vec::new();
        for (action, after) in turns {
            steps.push(Step { before, action: (*action).to_owned(), after: (*after).to_owned() });
            before = (*after).to_owned();
        }
        analyze(GOAL, won, &steps, 9)
    }

    fn skills(analysis: &Analysis) -> Vec<(usize, &str)> {
        analysis.step_skills.iter().map(|(step, skill)| (*step, skill.as_str())).collect()
    }

    #[test]
    fn a_good_purchase_gives_its_plan_and_steps() {
        let clicks = [("click[b02]", ITEM), ("click[blue]", ITEM), ("click[32]", ITEM)];
        let analysis = study(true, &[&[SEARCHED], &clicks[..], &[BOUGHT]].concat());
        assert_eq!(
            analysis.episode_skill,
            "plan: search for the product with all words that are asked; open the product whose title has all that is \
             asked for less than $40; choose blue; choose 32; buy now"
        );
        assert_eq!(
            skills(&analysis),
            [
                (0, "do: search[slim fit machine wash men's jeans]"),
                (1, "do: click[B02]"),
                (2, "do: click[blue]"),
                (3, "do: click[32]"),
                (4, "do: click[buy now]"),
            ]
        );
    }

    #[test]
    fn mistakes_are_found_and_corrected() {
        let turns = [
            ("search[red mug]", "Back to Search [SEP] Page 1 (Total results: 0) [SEP] Next >"),
            ("click[back to search]", "Search"),
            SEARCHED,
            (
                "click[b03]",
                "Back to Search [SEP] < Prev [SEP] Kal Men's Jeans [SEP] Price: $60.0 [SEP] Buy Now",
            ),
            (
                "click[blue]",
                "Back to Search [SEP] < Prev [SEP] Kal Men's Jeans [SEP] Price: $60.0 [SEP] Buy Now",
            ),
            ("click[< prev]", RESULTS),
            ("click[b02]", ITEM),
            ("click[red]", ITEM),
            BOUGHT,
        ];
        let analysis = study(false, &turns);
        assert_eq!(
            analysis.episode_skill,
            "remember: choose every option before you buy; open the product whose title has all that is asked"
        );
        let advice = skills(&analysis);
        for expected in [
            (0, "do: search[slim fit machine wash men's jeans]"),
            (3, "do: click[B02]"),
            (4, "do: click[< prev]"),
            (7, "do: click[blue]"),
            (8, "do: click[blue]"),
        ] {
            assert!(advice.contains(&expected), "{expected:?} in {advice:?}");
        }
        assert!(
            analysis.summary.contains("poor search: 1") && analysis.summary.contains("impossible command: 1")
        );
        let unbought = study(false, &[SEARCHED]);
        assert_eq!(unbought.episode_skill, "remember: buy now");
    }

    #[test]
    fn experts_visits_are_read_in_both_manners() {
        for style in [Style::Text, Style::Rich] {
            let manner = Manner { style, ..Manner::default() };
            let shop = Shop::open(ShopConfig { products: 150, manner, ..ShopConfig::default() }, 0).unwrap();
            let slips = Slips { revisit: 0.2, wander: 0.2, invalid: 0.2, forget: 0.5 };
            let (mut lost, mut advised) = (0, 0);
            for index in 0..40 {
                let task: Arc<dyn Task> = shop.task("train", index).unwrap();
                let calm =
                    play(&task, Noise::default(), 15, [0, 0, index as u64]).expect("an episode").trajectory;
                assert!(calm.won && calm.score == 1.0, "{}", calm.goal);
                let analysis = hindsight::read(&calm, 15).unwrap();
                assert!(analysis.episode_skill.starts_with(PLAN), "{}", analysis.episode_skill);
                let noise = Noise { slips, ..Noise::default() };
                let t =
                    play(&Arc::clone(&task), noise, 15, [1, 0, index as u64]).expect("an episode").trajectory;
                let analysis = hindsight::read(&t, 15).unwrap();
                lost += usize::from(!t.won);
                assert_eq!(analysis.episode_skill.starts_with(PLAN), t.won);
                for (step, skill) in &analysis.step_skills {
                    advised += 1;
                    // What is advised could be done at its step.
                    let command = skill.strip_prefix(DO).unwrap();
                    let listed = t.turns[*step].admissible.as_ref().unwrap();
                    let is_search = command.starts_with("search[") && listed[0].starts_with("search[");
                    let is_listed = listed.iter().any(|c| c.eq_ignore_ascii_case(command));
                    assert!(is_search || is_listed, "{command} not in {listed:?}");
                }
            }
            assert!(lost > 5 && advised > 100, "{lost} lost, {advised} advised");
        }
    }
}
