//! The six conditions for winning that ALFWorld's tasks have, recognised in a problem's goal.

use super::pddl::{Node, typed};

/// What must be done to an object before it is put away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Treatment {
    /// Cleaned at a sink basin.
    Clean,
    /// Heated with a microwave.
    Heat,
    /// Cooled with a fridge.
    Cool,
}

/// The condition for winning, over names of types.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// An object (treated, if so asked) lies in a receptacle.
    Place {
        /// Type of the object.
        object: String,
        /// Type of the receptacle.
        receptacle: String,
        /// What must have been done to the object.
        treatment: Option<Treatment>,
    },
    /// Two objects lie in the same receptacle.
    PlaceTwo {
        /// Type of both objects.
        object: String,
        /// Type of the receptacle.
        receptacle: String,
    },
    /// The agent stands where a lamp is that has been used, and holds an object.
    Light {
        /// Type of the object.
        object: String,
        /// Type of the lamp.
        lamp: String,
    },
}

/// The goal is not one of the known conditions.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the goal is none of ALFWorld's six kinds: {0}")]
pub struct GoalError(String);

/// An argument of a literal: a variable, numbered through the whole goal, or a constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Term<'a> {
    Variable(usize),
    Constant(&'a str),
}

struct Literal<'a> {
    predicate: &'a str,
    terms: Vec<Term<'a>>,
}

/// A goal without its quantifiers: `exists` over `and` is one flat conjunction with fresh variables.
#[derive(Default)]
struct Flat<'a> {
    types: Vec<&'a str>,
    scope: Vec<(&'a str, usize)>,
    literals: Vec<Literal<'a>>,
}

impl<'a> Flat<'a> {
    fn add(&mut self, node: &Node<'a>, negative: bool) -> Result<(), GoalError> {
        let refuse = |what: String| Err(GoalError(what));
        let Some([Node::Word(head), rest @ ..]) = node.list() else {
            return refuse("a condition is empty or is not in parentheses".to_string());
        };
        match (*head, rest) {
            ("and", parts) if !negative => parts.iter().try_for_each(|part| self.add(part, false)),
            ("exists", [Node::List(variables), body]) if !negative => {
                let outer = self.scope.len();
                for (name, kind) in typed(variables).map_err(|e| GoalError(e.to_string()))? {
                    self.scope.push((name, self.types.len()));
                    self.types.push(kind);
                }
                self.add(body, false)?;
                self.scope.truncate(outer);
                Ok(())
            }
            ("not", [inner]) if !negative => self.add(inner, true),
            ("and" | "or" | "not" | "exists" | "forall" | "imply", _) => {
                refuse(format!("unexpected `({head} ...)`"))
            }
            (predicate, arguments) => {
                if negative != (predicate == "=") {
                    return refuse(format!("unexpected negation of, or lack of it at, `({predicate} ...)`"));
                }
                let mut terms = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let Some(word) = argument.word() else {
                        return refuse(format!("`({predicate} ...)` holds a list"));
                    };
                    let bound = self.scope.iter().rev().find(|(name, _)| *name == word);
                    terms.push(match bound {
                        Some(&(_, index)) => Term::Variable(index),
                        None if word.starts_with('?') => return refuse(format!("`{word}` is not bound")),
                        None => Term::Constant(word),
                    });
                }
                self.literals.push(Literal { predicate, terms });
                Ok(())
            }
        }
    }

    /// Removes every literal with this predicate and first argument; the second arguments are returned.
    fn take(&mut self, predicate: &str, first: Term) -> Vec<Option<Term<'a>>> {
        let mut seconds = Vec::new();
        self.literals.retain(|literal| {
            let fits = literal.predicate == predicate && literal.terms.first() == Some(&first);
            if fits {
                seconds.push(literal.terms.get(1).copied());
            }
            !fits
        });
        seconds
    }

    /// The constant that `predicate` gives `first`, where it gives exactly one.
    fn constant(&mut self, predicate: &str, first: Term) -> Option<String> {
        let mut found = self.take(predicate, first).into_iter();
        let Some(Some(Term::Constant(name))) = found.next() else { return None };
        found.all(|other| other == Some(Term::Constant(name))).then(|| name.to_string())
    }

    /// Removes the only literal with this predicate.
    fn only(&mut self, predicate: &str) -> Option<Vec<Term<'a>>> {
        let mut places = (0..self.literals.len()).filter(|i| self.literals[*i].predicate == predicate);
        let (place, None) = (places.next()?, places.next()) else { return None };
        Some(self.literals.swap_remove(place).terms)
    }

    fn has_type(&self, term: Term, kind: &str) -> bool {
        matches!(term, Term::Variable(index) if self.types[index] == kind)
    }

    fn place(&mut self) -> Option<Condition> {
        let [object, receptacle] = self.only("inreceptacle")?[..] else { return None };
        let mut treatment = None;
        for (able, done, kind) in [
            ("cleanable", "isclean", Treatment::Clean),
            ("heatable", "ishot", Treatment::Heat),
            ("coolable", "iscool", Treatment::Cool),
        ] {
            match (self.take(able, object).len(), self.take(done, object).len()) {
                (0, 0) => {}
                (1.., 1..) if treatment.is_none() => treatment = Some(kind),
                _ => return None,
            }
        }
        let typed = self.has_type(object, "object") && self.has_type(receptacle, "receptacle");
        typed.then_some(())?;
        Some(Condition::Place {
            object: self.constant("objecttype", object)?,
            receptacle: self.constant("receptacletype", receptacle)?,
            treatment,
        })
    }

    fn place_two(&mut self) -> Option<Condition> {
        let [one, two] = self.only("=")?[..] else { return None };
        let (Some(Some(first)), Some(Some(second))) =
            (self.take("inreceptacle", one).pop(), self.take("inreceptacle", two).pop())
        else {
            return None;
        };
        let typed =
            [one, two].iter().all(|o| self.has_type(*o, "object")) && self.has_type(first, "receptacle");
        let object = self.constant("objecttype", one)?;
        let same = first == second && one != two && self.constant("objecttype", two)? == object;
        (typed && same).then_some(())?;
        Some(Condition::PlaceTwo { object, receptacle: self.constant("receptacletype", first)? })
    }

    fn light(&mut self) -> Option<Condition> {
        let [lamp] = self.only("istoggled")?[..] else { return None };
        let [place_of, receptacle] = self.only("inreceptacle")?[..] else { return None };
        let [standing, location] = self.only("receptacleatlocation")?[..] else { return None };
        let [agent, present] = self.only("atlocation")?[..] else { return None };
        let [holder, object] = self.only("holds")?[..] else { return None };
        let linked = place_of == lamp && standing == receptacle && location == present && lamp != object;
        let typed = [(lamp, "object"), (object, "object"), (receptacle, "receptacle")].into_iter();
        let mut typed = typed.chain([(location, "location"), (agent, "agent"), (holder, "agent")]);
        (linked && typed.all(|(term, kind)| self.has_type(term, kind))).then_some(())?;
        (self.take("toggleable", lamp).len() == 1).then_some(())?;
        Some(Condition::Light {
            object: self.constant("objecttype", object)?,
            lamp: self.constant("objecttype", lamp)?,
        })
    }
}

impl Condition {
    /// Recognises the condition in a problem's `(:goal ...)`.
    pub fn parse(goal: &Node) -> Result<Self, GoalError> {
        let mut flat = Flat::default();
        flat.add(goal, false)?;
        let listed: Vec<_> = flat.literals.iter().map(|l| l.predicate.to_string()).collect();
        let has = |predicate: &str| listed.iter().any(|l| l == predicate);
        let found = if has("istoggled") {
            flat.light()
        } else if has("=") {
            flat.place_two()
        } else {
            flat.place()
        };
        match found {
            Some(condition) if flat.literals.is_empty() => Ok(condition),
            _ => Err(GoalError(format!("its parts are ({})", listed.join(") (")))),
        }
    }

    /// The name ALFWorld has for this kind of task.
    pub fn kind(&self) -> &'static str {
        match self {
            Condition::Place { treatment: None, .. } => "pick_and_place_simple",
            Condition::Place { treatment: Some(Treatment::Clean), .. } => "pick_clean_then_place_in_recep",
            Condition::Place { treatment: Some(Treatment::Heat), .. } => "pick_heat_then_place_in_recep",
            Condition::Place { treatment: Some(Treatment::Cool), .. } => "pick_cool_then_place_in_recep",
            Condition::PlaceTwo { .. } => "pick_two_obj_and_place",
            Condition::Light { .. } => "look_at_obj_in_light",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pddl::read;
    use super::*;

    fn parse(text: &str) -> Result<Condition, GoalError> {
        Condition::parse(&read(text).expect("a list"))
    }

    #[test]
    fn recognises_a_treatment() {
        let goal = "(and (exists (?r - receptacle) (exists (?o - object) (and (coolable ?o) (objecttype ?o mugtype) \
                    (receptacletype ?r cabinettype) (iscool ?o) (inreceptacle ?o ?r)))))";
        let condition = parse(goal).unwrap();
        assert_eq!(condition.kind(), "pick_cool_then_place_in_recep");
    }

    #[test]
    fn refuses_other_goals() {
        for goal in [
            "(and)",
            "()",
            "(exists (?o - object) (isclean ?o))",
            "(exists (?o - object ?r - receptacle) (and (objecttype ?o mugtype) (receptacletype ?r bedtype) \
             (inreceptacle ?o ?r) (issliced ?o)))",
            "(exists (?o - object ?r - receptacle) (or (inreceptacle ?o ?r) (objecttype ?o mugtype)))",
            "(exists (?o - object) (and (inreceptacle ?o ?r)))",
        ] {
            assert!(parse(goal).is_err(), "{goal}");
        }
    }
}
