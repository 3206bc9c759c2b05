//! What a household task asks for, read from its text (the six task types of ALFWorld,
//! arXiv 2010.03768).

/// What may have to be done with an object before it is put down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    /// With a sinkbasin.
    Clean,
    /// With a microwave.
    Heat,
    /// With a fridge.
    Cool,
}

impl Process {
    /// The verb of the command.
    pub fn verb(self) -> &'static str {
        match self {
            Process::Clean => "clean",
            Process::Heat => "heat",
            Process::Cool => "cool",
        }
    }

    /// The kind of receptacle that does it.
    pub fn appliance(self) -> &'static str {
        match self {
            Process::Clean => "sinkbasin",
            Process::Heat => "microwave",
            Process::Cool => "fridge",
        }
    }
}

/// Where the object has to end up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// In or on a receptacle of this kind.
    Receptacle(String),
    /// In the hand, beside a lamp of this kind that was turned on.
    Lamp(String),
}

/// A household task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The kind of object, such as `apple`.
    pub object: String,
    /// What is done with it first.
    pub process: Option<Process>,
    /// Where it goes.
    pub destination: Destination,
    /// How many are wanted: 1 or 2.
    pub count: usize,
}

impl Goal {
    /// Reads a task text such as "put a clean mug in coffeemachine." or "examine the pen with the
    /// desklamp."; the words may follow "Your task is to:". `None` if it is none of the six types.
    pub fn parse(text: &str) -> Option<Goal> {
        let lower = text.to_lowercase();
        let task = lower.rsplit("your task is to:").next()?.lines().find(|line| !line.trim().is_empty())?;
        let words: Vec<&str> = task.trim().trim_end_matches('.').split_whitespace().collect();
        let process = |word: &str| match word {
            "clean" => Some(Process::Clean),
            "hot" | "heat" => Some(Process::Heat),
            "cool" | "cold" => Some(Process::Cool),
            _ => None,
        };
        let goal = |object: &str, process, target: &str, count| {
            let destination = Destination::Receptacle(target.to_owned());
            Some(Goal { object: object.to_owned(), process, destination, count })
        };
        let under = |object: &str, lamp: &str| {
            let destination = Destination::Lamp(lamp.to_owned());
            Some(Goal { object: object.to_owned(), process: None, destination, count: 1 })
        };
        match words.as_slice() {
            ["put", "two", object, "in" | "on", target] => goal(object, None, target, 2),
            ["find", "two", object, "and", "put", "them", "in" | "on", target] => {
                goal(object, None, target, 2)
            }
            ["put", "a" | "an" | "some", object, "in" | "on", target] => goal(object, None, target, 1),
            ["put", "a" | "an" | "some", how, object, "in" | "on", target] => {
                goal(object, Some(process(how)?), target, 1)
            }
            [how, "some" | "a" | "an", object, "and", "put", "it", "in" | "on", target] => {
                goal(object, Some(process(how)?), target, 1)
            }
            ["look", "at", object, "under", "the", lamp] => under(object, lamp),
            ["examine", "the", object, "with", "the", lamp] => under(object, lamp),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_task_texts_are_read() {
        let receptacle = |name: &str| Destination::Receptacle(name.to_owned());
        let lamp = || Destination::Lamp("desklamp".to_owned());
        for (text, object, process, destination, count) in [
            ("put a mug in coffeemachine.", "mug", None, receptacle("coffeemachine"), 1),
            ("put some keychain on safe.", "keychain", None, receptacle("safe"), 1),
            ("put a clean egg in fridge", "egg", Some(Process::Clean), receptacle("fridge"), 1),
            ("clean some egg and put it in fridge.", "egg", Some(Process::Clean), receptacle("fridge"), 1),
            ("put a hot egg in fridge", "egg", Some(Process::Heat), receptacle("fridge"), 1),
            ("heat some egg and put it in fridge.", "egg", Some(Process::Heat), receptacle("fridge"), 1),
            ("put a cool pan in cabinet", "pan", Some(Process::Cool), receptacle("cabinet"), 1),
            ("cool some pan and put it in cabinet.", "pan", Some(Process::Cool), receptacle("cabinet"), 1),
            ("put two pen in drawer.", "pen", None, receptacle("drawer"), 2),
            ("find two pen and put them in drawer.", "pen", None, receptacle("drawer"), 2),
            ("look at pen under the desklamp.", "pen", None, lamp(), 1),
            ("examine the pen with the desklamp.", "pen", None, lamp(), 1),
        ] {
            let expected = Goal { object: object.to_owned(), process, destination, count };
            assert_eq!(Goal::parse(text), Some(expected.clone()), "{text}");
            let intro = format!("You are in a room.\n\nYour task is to: {text}\n");
            assert_eq!(Goal::parse(&intro), Some(expected));
        }
        assert_eq!(Goal::parse("make coffee."), None);
        assert_eq!(Goal::parse("put a golden egg in fridge"), None);
        assert_eq!(Goal::parse(""), None);
    }
}
