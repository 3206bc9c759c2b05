//! What is known of the things of a generated world, and the words it is said in.

/// Kinds of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A country.
    Country,
    /// A city.
    City,
    /// A river.
    River,
    /// A company or a society.
    Organisation,
    /// A person.
    Person,
    /// A film.
    Film,
    /// A book.
    Book,
}

/// What leads from a thing to one other thing, or to a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// Country: its capital.
    Capital,
    /// City: its country.
    Country,
    /// City: the river it lies on.
    River,
    /// City and organisation: the year of its foundation.
    Founded,
    /// Organisation: the city of its seat.
    Seat,
    /// Organisation: who founded it.
    Founder,
    /// Person: the city of birth.
    BornIn,
    /// Person: the year of birth.
    Born,
    /// Person: the mother.
    Mother,
    /// Person: the organisation worked for.
    Employer,
    /// Film: its director.
    Director,
    /// Film: who plays the main part.
    Star,
    /// Book: its author.
    Author,
    /// Film and book: the year it appeared.
    Appeared,
}

use Relation::*;

impl Relation {
    /// Every relation.
    pub const ALL: [Relation; 14] = [
        Capital, Country, River, Founded, Seat, Founder, BornIn, Born, Mother, Employer, Director, Star,
        Author, Appeared,
    ];

    /// What it leads to; nothing for years.
    pub fn leads_to(self) -> Option<Kind> {
        Some(match self {
            Capital | Seat | BornIn => Kind::City,
            Country => Kind::Country,
            River => Kind::River,
            Founder | Mother | Director | Star | Author => Kind::Person,
            Employer => Kind::Organisation,
            Founded | Born | Appeared => return None,
        })
    }

    /// Sentences that say it: `{s}` is the thing, `{o}` what it is led to. What stands before `{o}` tells it from every
    /// other sentence; it stands right before, so that a small model can find it.
    pub fn sentences(self) -> [&'static str; 2] {
        match self {
            Capital => ["{s} has its capital in {o}.", "{s} is governed from {o}."],
            Country => ["{s} is a city in {o}.", "{s} belongs to the country of {o}."],
            River => ["{s} lies on the river {o}.", "{s} stands by the waters of {o}."],
            Founded => ["{s} was founded in {o}.", "{s} dates from {o}."],
            Seat => ["{s} has its seat in {o}.", "{s} has its main office in {o}."],
            Founder => ["{s} was founded by {o}.", "{s} was set up by {o}."],
            BornIn => ["{s} was born in the city of {o}.", "{s} comes from {o}."],
            Born => ["{s} was born in the year {o}.", "{s} came into the world in {o}."],
            Mother => ["{s} is a child of {o}.", "{s} has for a mother {o}."],
            Employer => ["{s} works for {o}.", "{s} is employed by {o}."],
            Director => ["{s} is a film directed by {o}.", "{s} was filmed by {o}."],
            Star => ["{s} stars {o}.", "{s} has its main part played by {o}."],
            Author => ["{s} is a book by {o}.", "{s} was written by {o}."],
            Appeared => ["{s} appeared in {o}.", "{s} came out in {o}."],
        }
    }

    /// What `text` says of the thing `subject`: who or what it is led to.
    pub fn find<'a>(self, subject: &str, text: &'a str) -> Option<&'a str> {
        self.read(subject, text).map(|(object, _)| object)
    }

    /// Who or what `text` says the thing `subject` is led to, and the sentence that says so.
    pub fn read<'a>(self, subject: &str, text: &'a str) -> Option<(&'a str, &'a str)> {
        self.sentences().into_iter().find_map(|sentence| {
            let said = sentence.replace("{s}", subject);
            let (before, behind) = said.split_once("{o}")?;
            // A sentence begins where the text does, or behind another one.
            let starts = text.match_indices(before).filter(|(at, _)| {
                let earlier = &text[..*at];
                earlier.is_empty() || earlier.ends_with(". ") || earlier.ends_with('\n')
            });
            starts.map(|(at, _)| &text[at..]).find_map(|said| {
                let rest = &said[before.len()..];
                let object = &rest[..rest.find(behind)?];
                let plain = !object.is_empty() && !object.contains(['.', '\n']);
                plain.then(|| (object, &said[..before.len() + object.len() + behind.len()]))
            })
        })
    }

    /// How a question names what the relation leads to, from the name of the thing.
    pub fn of(self, subject: &str) -> String {
        match self {
            Capital => format!("the capital of {subject}"),
            Country => format!("the country of {subject}"),
            River => format!("the river of {subject}"),
            Founded => format!("the year of foundation of {subject}"),
            Seat => format!("the seat of {subject}"),
            Founder => format!("the founder of {subject}"),
            BornIn => format!("the birthplace of {subject}"),
            Born => format!("the year of birth of {subject}"),
            Mother => format!("the mother of {subject}"),
            Employer => format!("the employer of {subject}"),
            Director => format!("the director of {subject}"),
            Star => format!("the star of {subject}"),
            Author => format!("the author of {subject}"),
            Appeared => format!("the year of {subject}"),
        }
    }
}

impl Kind {
    /// What is known of every thing of the kind.
    pub fn relations(self) -> &'static [Relation] {
        match self {
            Kind::Country => &[Capital],
            Kind::City => &[Country, River, Founded],
            Kind::River => &[],
            Kind::Organisation => &[Seat, Founder, Founded],
            Kind::Person => &[BornIn, Born, Mother, Employer],
            Kind::Film => &[Director, Star, Appeared],
            Kind::Book => &[Author, Appeared],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sentence_is_read_as_what_it_says_and_nothing_else() {
        for said in Relation::ALL {
            for sentence in said.sentences() {
                let text = format!(
                    "Other words first. {} More words. ",
                    sentence.replace("{s}", "Ana Bel").replace("{o}", "Cor Dun")
                );
                for asked in Relation::ALL {
                    let found = asked.find("Ana Bel", &text);
                    assert_eq!(found, (asked == said).then_some("Cor Dun"), "{asked:?} of {text}");
                    let quoted = asked.read("Ana Bel", &text).map(|(_, sentence)| sentence);
                    assert!(
                        quoted.is_none_or(|quoted| text.contains(&format!(" {quoted} More words."))),
                        "{quoted:?}"
                    );
                }
                assert_eq!(said.find("Bel", &text), None, "a part of a name is no name: {text}");
            }
        }
    }
}
