//! Reads PDDL problems: nested lists, then the problem's objects, initial facts and goal.
//!
//! Tokens are split at white space and parentheses only, everything is lower case, and `;` starts a
//! comment: the planner that the original game engine uses reads its files this way, and one quirk
//! of the games depends on it (a comma sticks to the word before it).

use std::collections::HashMap;

/// Lists nested deeper than this are refused, so that no file can exhaust the stack.
const DEEPEST: usize = 64;

/// Why a text is not a PDDL problem of the kind the games use.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PddlError {
    /// A parenthesis has no partner.
    #[error("line {line}: {what}")]
    Unbalanced {
        /// The line, counted from one.
        line: usize,
        /// Which parenthesis.
        what: &'static str,
    },
    /// Lists are nested too deeply.
    #[error("line {line}: lists are nested deeper than {DEEPEST}")]
    TooDeep {
        /// The line, counted from one.
        line: usize,
    },
    /// The text does not have the parts of a problem.
    #[error("{0}")]
    Shape(String),
}

/// One word, or a list of nodes in parentheses.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    /// A word.
    Word(&'a str),
    /// What stands between an opening and its closing parenthesis.
    List(Vec<Node<'a>>),
}

impl<'a> Node<'a> {
    /// The word, if it is one.
    pub fn word(&self) -> Option<&'a str> {
        match self {
            Node::Word(word) => Some(word),
            Node::List(_) => None,
        }
    }

    /// The items of the list, if it is one.
    pub fn list(&self) -> Option<&[Node<'a>]> {
        match self {
            Node::Word(_) => None,
            Node::List(items) => Some(items),
        }
    }

    /// The items after the list's first word, if that word is `head`.
    pub fn after(&self, head: &str) -> Option<&[Node<'a>]> {
        match self.list()?.split_first()? {
            (Node::Word(first), rest) if *first == head => Some(rest),
            _ => None,
        }
    }
}

/// Reads one list; `text` must already be in lower case. What follows the list is ignored.
pub fn read(text: &str) -> Result<Node<'_>, PddlError> {
    let bytes = text.as_bytes();
    let line_at = |at: usize| 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
    let mut open: Vec<Vec<Node>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b';' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'(' => {
                if open.len() == DEEPEST {
                    return Err(PddlError::TooDeep { line: line_at(at) });
                }
                open.push(Vec::with_capacity(4));
                at += 1;
            }
            b')' => {
                let Some(done) = open.pop() else {
                    return Err(PddlError::Unbalanced { line: line_at(at), what: "`)` closes nothing" });
                };
                match open.last_mut() {
                    None => return Ok(Node::List(done)),
                    Some(outer) => outer.push(Node::List(done)),
                }
                at += 1;
            }
            b if b.is_ascii_whitespace() => at += 1,
            _ => {
                let start = at;
                while at < bytes.len()
                    && !matches!(bytes[at], b'(' | b')' | b';')
                    && !bytes[at].is_ascii_whitespace()
                {
                    at += 1;
                }
                match open.last_mut() {
                    Some(list) => list.push(Node::Word(&text[start..at])),
                    None => {
                        return Err(PddlError::Unbalanced {
                            line: line_at(start),
                            what: "a word stands outside all parentheses",
                        });
                    }
                }
            }
        }
    }
    Err(PddlError::Unbalanced {
        line: line_at(bytes.len()),
        what: "the text ends inside a list, or holds none",
    })
}

/// A ground fact: a predicate and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact<'a> {
    /// The predicate's name.
    pub predicate: &'a str,
    /// The names it is true of.
    pub arguments: Vec<&'a str>,
}

/// The parts of a problem that matter for play.
#[derive(Debug)]
pub struct Problem<'a> {
    /// The domain's name.
    pub domain: &'a str,
    /// The type of every declared object.
    pub objects: HashMap<&'a str, &'a str>,
    /// What is true at the start, in the file's order, without numeric assignments.
    pub facts: Vec<Fact<'a>>,
    /// The condition for winning.
    pub goal: Node<'a>,
}

impl<'a> Problem<'a> {
    /// Reads a problem; `text` must already be in lower case.
    pub fn parse(text: &'a str) -> Result<Self, PddlError> {
        let shape = |what: &str| PddlError::Shape(what.to_string());
        let root = read(text)?;
        let parts = root.after("define").ok_or_else(|| shape("the problem does not begin with `(define`"))?;
        if parts.first().is_none_or(|p| p.after("problem").is_none()) {
            return Err(shape("`(define` is not followed by `(problem NAME)`"));
        }
        let part = |head: &str| parts.iter().find_map(|p| p.after(head));
        let needed =
            |head: &str| part(head).ok_or_else(|| shape(&format!("the problem has no `({head} ...)`")));
        let domain = match needed(":domain")? {
            [Node::Word(name)] => *name,
            _ => return Err(shape("`(:domain ...)` must hold one name")),
        };
        let objects: HashMap<_, _> = typed(needed(":objects")?)?.into_iter().collect();
        let mut facts = Vec::new();
        for node in needed(":init")? {
            let items = node.list().ok_or_else(|| shape("`(:init ...)` holds a word that is not a fact"))?;
            let [Node::Word(predicate), arguments @ ..] = items else {
                return Err(shape("`(:init ...)` holds a fact without a predicate"));
            };
            if *predicate == "=" {
                continue;
            }
            let arguments = arguments.iter().map(Node::word).collect::<Option<Vec<_>>>();
            let arguments = arguments.ok_or_else(|| {
                shape(&format!("the fact `({predicate} ...)` in `(:init ...)` holds a list"))
            })?;
            facts.push(Fact { predicate, arguments });
        }
        match needed(":goal")? {
            [goal] => Ok(Self { domain, objects, facts, goal: goal.clone() }),
            _ => Err(shape("`(:goal ...)` must hold one condition")),
        }
    }
}

/// Splits `a b - t c - u` into pairs of name and type; names without a type have type `object`.
pub fn typed<'a>(nodes: &[Node<'a>]) -> Result<Vec<(&'a str, &'a str)>, PddlError> {
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(nodes.len() / 3);
    let mut untyped = 0;
    let mut words = nodes.iter();
    while let Some(node) = words.next() {
        let word = node
            .word()
            .ok_or_else(|| PddlError::Shape("a list of typed names holds a parenthesis".to_string()))?;
        if word == "-" {
            let kind = words.next().and_then(Node::word).ok_or_else(|| {
                PddlError::Shape(
                    "a list of typed names ends after `-`, or a parenthesis follows it".to_string(),
                )
            })?;
            for pair in &mut pairs[untyped..] {
                pair.1 = kind;
            }
            untyped = pairs.len();
        } else {
            pairs.push((word, "object"));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_and_comments() {
        let node = read("(a ; no (\n (b c-d) , e)").unwrap();
        let Node::List(items) = node else { panic!("not a list") };
        assert_eq!(items.len(), 4);
        assert_eq!(items[1].after("b").unwrap(), [Node::Word("c-d")]);
        assert_eq!(items[2], Node::Word(","));
    }

    #[test]
    fn names_take_the_type_that_follows() {
        let node = read("(a b - t c)").unwrap();
        assert_eq!(typed(node.list().unwrap()).unwrap(), [("a", "t"), ("b", "t"), ("c", "object")]);
        assert!(typed(read("(a -)").unwrap().list().unwrap()).is_err());
    }

    #[test]
    fn says_where_a_text_is_broken() {
        assert_eq!(
            read("(a\n(b)").unwrap_err().to_string(),
            "line 2: the text ends inside a list, or holds none"
        );
        assert_eq!(read("\n)").unwrap_err().to_string(), "line 2: `)` closes nothing");
        assert!(matches!(read(&"(".repeat(1000)), Err(PddlError::TooDeep { line: 1 })));
        let missing =
            Problem::parse("(define (problem p) (:domain d) (:objects) (:goal (and)))").unwrap_err();
        assert_eq!(missing.to_string(), "the problem has no `(:init ...)`");
    }
}
