//! The editions of the ALFWorld rules that exist, and how a game file says which one it follows.
//!
//! The rules are built into this engine, so a file is accepted only if its domain and its grammar
//! are texts whose behaviour is known. Both are recognised by a hash: the domain without comments,
//! white space and case, the grammar to the letter but without the sentence that states the task.

/// An edition of the rules and of their wording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The released data, 2.1.2 and 2.1.3: `move X to Y`.
    Data,
    /// The rules in the ALFWorld repository at 0.5.0, which differ where it cannot be seen.
    Repository,
    /// The released data 2.1.1: `put X in/on Y`, arriving at `loc 12`, no `help`.
    Legacy,
}

/// Why the rules of a game are not those of this engine.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum VariantError {
    /// Several agents.
    #[error("this is a game for several agents, which this engine does not play")]
    MultiAgent,
    /// The domain's text is not a known one.
    #[error(
        "`pddl_domain` is not a known ALFWorld domain (fingerprint {0:016x}); only the public 2.1.1 to 2.1.3 data and repository 0.5.0 rules are built in"
    )]
    Domain(u64),
    /// The grammar's text is not a known one.
    #[error(
        "`grammar` is not a known ALFWorld grammar (fingerprint {0:016x}); only the public 2.1.1 to 2.1.3 data and repository 0.5.0 wordings are built in"
    )]
    Grammar(u64),
    /// Domain and grammar are known, but belong to different editions.
    #[error(
        "`pddl_domain` and `grammar` belong to different editions of the rules ({domain:?} and {grammar:?})"
    )]
    Mixed {
        /// The domain's edition.
        domain: Variant,
        /// The grammar's edition.
        grammar: Variant,
    },
    /// There is no sentence that states the task.
    #[error("`grammar` holds no sentence that begins with `Your task is to: `")]
    NoTask,
    /// The sentence that states the task holds characters that mean something to the grammar.
    #[error("the task sentence {0:?} is not plain text")]
    Task(String),
}

const TASK: &str = "Your task is to: ";

const DOMAINS: [(u64, Variant); 3] = [
    (0x4ee3_642b_73c8_35ce, Variant::Data),
    (0x6bfa_9b8b_fd37_823b, Variant::Repository),
    (0xbb6c_6f95_c131_2faf, Variant::Legacy),
];
const GRAMMARS: [(u64, Variant); 3] = [
    (0xccdb_57a0_a601_8f9e, Variant::Data),
    (0x99cf_969a_ede0_5627, Variant::Repository),
    (0x8149_8148_18cb_a7bf, Variant::Legacy),
];

/// FNV-1a, 64 bits.
fn fingerprint(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn domain_fingerprint(domain: &str) -> u64 {
    let code = domain.lines().map(|line| line.split(';').next().unwrap_or_default());
    // A mark between words, so that joining two words is not the same text.
    fingerprint(
        code.flat_map(str::split_whitespace)
            .flat_map(|word| word.bytes().map(|b| b.to_ascii_lowercase()).chain(std::iter::once(b' '))),
    )
}

/// Recognises the rules, and takes the task (what follows `Your task is to: `) out of the grammar.
pub fn recognise(domain: &str, grammar: &str) -> Result<(Variant, String), VariantError> {
    let start = grammar.find(TASK).ok_or(VariantError::NoTask)? + TASK.len();
    let length = closing_quote(&grammar[start..]).ok_or(VariantError::NoTask)?;
    let (before, after) = (&grammar[..start], &grammar[start + length..]);
    let sentence = &grammar[start..start + length];

    let hash = fingerprint(before.bytes().chain(after.bytes()).filter(|b| *b != b'\r'));
    let edition = |table: &[(u64, Variant)], hash| table.iter().find(|e| e.0 == hash).map(|e| e.1);
    let Some(wording) = edition(&GRAMMARS, hash) else {
        let several = grammar.contains("\"{a.name}: ");
        return Err(if several { VariantError::MultiAgent } else { VariantError::Grammar(hash) });
    };
    let hash = domain_fingerprint(domain);
    let rules = edition(&DOMAINS, hash).ok_or(VariantError::Domain(hash))?;
    if rules != wording {
        return Err(VariantError::Mixed { domain: rules, grammar: wording });
    }

    let plain = !sentence.contains([';', '|', '<', '>', '[', ']', '#', '{', '}']);
    let task = serde_json::from_str::<String>(&format!("\"{sentence}\"")).ok().filter(|_| plain);
    match task {
        Some(task) => Ok((rules, task)),
        None => Err(VariantError::Task(sentence.to_string())),
    }
}

/// The place of the first quote that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN_TEXT: &str = include_str!("../../assets/alfworld/domain.pddl");

    fn grammar(task: &str) -> String {
        include_str!("../../assets/alfworld/grammar.twl2").replacen(TASK, &format!("{TASK}{task}"), 1)
    }

    #[test]
    fn the_released_rules_are_recognised() {
        let task = "put a \\u0061pple in \\\"it\\\".";
        assert_eq!(
            recognise(DOMAIN_TEXT, &grammar(task)),
            Ok((Variant::Data, "put a apple in \"it\".".to_string()))
        );
        // Comments, case and spacing of the domain do not matter.
        let domain = format!("; a remark\n{}", DOMAIN_TEXT.to_uppercase().replace('\n', "\r\n  "));
        assert!(recognise(&domain, &grammar("x.")).is_ok());
    }

    #[test]
    fn other_rules_are_refused_with_the_reason() {
        let domain = DOMAIN_TEXT.replace("(not (holdsAny ?a))  ;", ";");
        assert!(matches!(recognise(&domain, &grammar("x.")), Err(VariantError::Domain(_))));
        let wording = grammar("x.").replace("You arrive at", "You come to");
        assert!(matches!(recognise(DOMAIN_TEXT, &wording), Err(VariantError::Grammar(_))));
        assert_eq!(recognise(DOMAIN_TEXT, "{}"), Err(VariantError::NoTask));
        assert!(matches!(recognise(DOMAIN_TEXT, &grammar("{o.name}")), Err(VariantError::Task(_))));
        let several = grammar("x.").replace("template :: \"open", "template :: \"{a.name}: open");
        assert_eq!(recognise(DOMAIN_TEXT, &several), Err(VariantError::MultiAgent));
    }
}
