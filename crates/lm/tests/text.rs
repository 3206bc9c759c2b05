//! Text and checkpoint handling on material made here, so that it is tested without any download.

use opid_lm::chat::{ChatError, ChatOptions, ChatTemplate, Message};
use opid_lm::checkpoint::{StoredDtype, TextFiles, Weights, write_folder};
use opid_lm::config::{Family, ModelConfig};
use opid_lm::error::LoadError;
use opid_lm::parameters::{Parameters, Tensor};
use opid_lm::storage::Disk;
use opid_lm::tokenizer::{Spaces, Tokenizer, Vocabulary};
use serde_json::{Map, Value, json};

const SPECIAL: [&str; 6] = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<action>", "</action>"];

fn corpus() -> impl Iterator<Item = String> + Send {
    (0..200).map(|i| {
        format!(
            "You arrive at desk {}. On the desk {}, you see a bowl {}, a pen 2, and a book 1.\n\
             <action>go to desk {}</action> You arrive.",
            i % 7,
            i % 7,
            i % 3,
            i % 5
        )
    })
}

fn trained() -> Tokenizer {
    let phrases = ["You arrive at", ", and a", ", a", "go to"].map(str::to_owned);
    let vocabulary = Vocabulary { size: 512, phrases: &phrases, special: &SPECIAL, ..Vocabulary::default() };
    Tokenizer::train(corpus(), &vocabulary).unwrap()
}

#[test]
fn training_twice_gives_the_same_file() {
    assert_eq!(trained().to_json().unwrap(), trained().to_json().unwrap());
}

#[test]
fn phrases_become_single_tokens_and_do_not_cut_words() {
    let tokenizer = trained();
    for phrase in ["You arrive at", ", and a", ", a", "go to"] {
        assert_eq!(tokenizer.encode(phrase).unwrap().len(), 1, "{phrase}");
    }
    // ", a" must not be taken out of ", apple".
    let ids = tokenizer.encode(", apple").unwrap();
    assert_ne!(Some(ids[0]), tokenizer.token_id(",Ġa"));
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), ", apple");
}

#[test]
fn with_spaces_apart_a_word_has_the_same_tokens_everywhere() {
    let phrases = [", a".to_owned()];
    let vocabulary = Vocabulary {
        size: 512,
        phrases: &phrases,
        special: &SPECIAL,
        spaces: Spaces::Apart,
        ..Vocabulary::default()
    };
    let tokenizer = Tokenizer::train(corpus(), &vocabulary).unwrap();
    for word in ["drawer", "Corinden", "1734"] {
        let alone = tokenizer.encode(word).unwrap();
        for (before, after) in
            [(" ", " "), ("[", "]"), ("\"", "\n"), ("<action>", "</action>"), (", a ", ".")]
        {
            let (start, end) = (tokenizer.encode(before).unwrap(), tokenizer.encode(after).unwrap());
            let whole = tokenizer.encode(&format!("{before}{word}{after}")).unwrap();
            assert_eq!(whole, [start, alone.clone(), end].concat(), "{before}{word}{after}");
        }
    }
}

#[test]
fn any_text_survives_and_tags_stay() {
    let apart = Tokenizer::train(
        corpus(),
        &Vocabulary { size: 512, special: &SPECIAL, spaces: Spaces::Apart, ..Vocabulary::default() },
    )
    .unwrap();
    for tokenizer in [trained(), apart] {
        survives(&tokenizer);
    }
}

fn survives(tokenizer: &Tokenizer) {
    for text in [
        "",
        " ",
        "\n\n  x",
        "Zürich 北京 🇨🇭",
        "\u{0}\t\r\n",
        "You arrive atoll 12,and a (b)...",
        "<think>no token</think>",
    ] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    }
    let ids = tokenizer.encode("<|user|>hi<|end|><action>look</action>").unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "hi<action>look</action>");
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "<|user|>hi<|end|><action>look</action>");
    assert_eq!(tokenizer.token_id("</action>").unwrap() as usize, tokenizer.vocab_size() - 1);
}

#[test]
fn impossible_vocabularies_are_refused() {
    for (size, special) in [(200, vec!["<|end|>"]), (300, vec!["<a>", "<a>"]), (300, vec![""])] {
        let vocabulary = Vocabulary { size, special: &special, ..Vocabulary::default() };
        assert!(Tokenizer::train(corpus(), &vocabulary).is_err());
    }
    let names: Vec<String> = (0..50).map(|number| format!("B0{number}")).collect();
    let vocabulary = Vocabulary { size: 300, names: &names, special: &["<a>"], ..Vocabulary::default() };
    let error = Tokenizer::train(corpus(), &vocabulary).err().expect("no room").to_string();
    assert!(error.contains("50 names") && error.contains("at least 307"), "{error}");
}

#[test]
fn with_spaces_trailing_what_stands_between_marks_has_the_same_tokens_everywhere() {
    let phrases = [" [SEP] ", "click["].map(str::to_owned);
    let vocabulary = Vocabulary {
        size: 512,
        phrases: &phrases,
        special: &SPECIAL,
        spaces: Spaces::Trailing,
        ..Vocabulary::default()
    };
    let value = "You arrive at 3";
    let texts =
        [" [SEP] ", "size: ", "click[", ", and ", "]"].map(|mark| format!("{mark}{value}{mark}{mark}"));
    let tokenizer =
        Tokenizer::train(corpus().chain(texts.iter().cloned().cycle().take(50)), &vocabulary).unwrap();
    let ids = tokenizer.encode(value).unwrap();
    assert_eq!(ids.len(), 4);
    for text in &texts {
        let all = tokenizer.encode(text).unwrap();
        assert!(all.windows(ids.len()).any(|part| part == ids), "{text}");
        assert_eq!(tokenizer.decode(&all, true).unwrap(), *text);
    }
    for text in ["  two  spaces  ", "ends with one ", "LowArrow, ALL CAPS", "a\n b\t\u{e9} x-large 12.50"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap(), true).unwrap(), text);
    }
}

#[test]
fn names_are_tokens_wherever_they_stand_by_themselves() {
    let names = ["B09X", "B09", "B09X1", "two words", "é(+)"].map(str::to_owned);
    for spaces in [Spaces::Joined, Spaces::Apart, Spaces::Trailing] {
        // One of them is in the texts, often.
        let texts = corpus().chain(std::iter::repeat_n("look at B09X".to_owned(), 9));
        let vocabulary =
            Vocabulary { size: 400, names: &names, special: &SPECIAL, spaces, ..Vocabulary::default() };
        let tokenizer = Tokenizer::train(texts, &vocabulary).unwrap();
        let id = |name: &str| tokenizer.token_id(name).map(|id| vec![id]);
        for name in ["B09X", "B09", "B09X1"] {
            assert_eq!(tokenizer.encode(name).unwrap(), id(name).unwrap());
        }
        assert!(id("B09X") > id("B09") && tokenizer.vocab_size() <= 400);
        for (text, whole) in [
            ("go[B09X]", true),
            ("B09X, two words.", true),
            ("to B09X", true),
            ("to B09X1", false),
            ("xB09X", false),
            ("B09Xtra", false),
        ] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(ids.contains(&id("B09X").unwrap()[0]), whole, "{text}");
            assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
        }
        for name in ["two words", "é(+)"] {
            assert_eq!(tokenizer.encode(name).unwrap().len(), 1, "{name}");
        }
        let again = Tokenizer::from_json(tokenizer.to_json().unwrap().as_bytes()).unwrap();
        assert_eq!(again.encode("to B09X1, B09").unwrap(), tokenizer.encode("to B09X1, B09").unwrap());
        let json = tokenizer.to_json().unwrap();
        assert_eq!(json, again.to_json().unwrap());
    }
}

fn config(family: Family, tied: bool) -> ModelConfig {
    ModelConfig {
        family,
        vocab_size: 20,
        hidden_size: 8,
        intermediate_size: 12,
        num_layers: 2,
        num_heads: 2,
        num_kv_heads: 1,
        head_dim: 6,
        rope_theta: 1e4,
        rms_norm_eps: 1e-6,
        tie_word_embeddings: tied,
        max_position_embeddings: 64,
        eos_token_ids: vec![3, 5],
    }
}

fn values(config: &ModelConfig) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let tensors = Parameters::new(config).tensors.into_iter().enumerate();
    tensors
        .map(|(number, Tensor { name, shape, .. })| {
            let size: usize = shape.iter().product();
            let values = (0..size).map(|i| ((i * 7 + number * 13) % 101) as f32 / 51.0 - 1.0).collect();
            (name, shape, values)
        })
        .collect()
}

fn borrowed(
    tensors: &[(String, Vec<usize>, Vec<f32>)],
) -> impl Iterator<Item = (String, Vec<usize>, &[f32])> {
    tensors.iter().map(|(name, shape, values)| (name.clone(), shape.clone(), values.as_slice()))
}

#[test]
fn a_written_folder_reads_back() {
    for (family, tied) in [(Family::Qwen2, true), (Family::Qwen3, false)] {
        for dtype in [StoredDtype::F32, StoredDtype::Bf16] {
            let folder = tempfile::tempdir().unwrap();
            let config = config(family, tied);
            let tensors = values(&config);
            let tokenizer = trained();
            let text = TextFiles::new(
                tokenizer.to_json().unwrap(),
                ChatTemplate::compact().source().to_owned(),
                "<|end|>",
                64,
            );
            write_folder(&Disk, folder.path(), &config, borrowed(&tensors), dtype, Some(&text)).unwrap();
            assert_eq!(ModelConfig::from_folder(folder.path()).unwrap(), config);
            assert_eq!(TextFiles::from_folder(folder.path()).unwrap(), text);
            let weights = Weights::open(folder.path()).unwrap();
            weights.check(&config).unwrap();
            for (name, shape, expected) in &tensors {
                let (found_shape, found) = weights.tensor_f32(name).unwrap();
                assert_eq!(&found_shape, shape);
                for (found, expected) in found.iter().zip(expected) {
                    let stored = match dtype {
                        StoredDtype::F32 => *expected,
                        StoredDtype::Bf16 => half::bf16::from_f32(*expected).to_f32(),
                    };
                    assert_eq!(*found, stored, "{name}");
                }
            }
            let read = Tokenizer::from_folder(folder.path()).unwrap();
            assert_eq!(read.to_json().unwrap(), tokenizer.to_json().unwrap());
            let template = ChatTemplate::from_folder(folder.path()).unwrap();
            assert_eq!(template.end_of_turn(&ChatOptions::default()).unwrap(), "<|end|>");
            let leftovers: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
            assert_eq!(leftovers.len(), 6);
        }
    }
}

#[test]
fn wrong_tensors_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Family::Qwen3, true);
    let tensors = values(&config);
    let write = |tensors: &[(String, Vec<usize>, Vec<f32>)]| {
        write_folder(&Disk, folder.path(), &config, borrowed(tensors), StoredDtype::F32, None)
    };
    assert!(matches!(
        write(&tensors[1..]),
        Err(LoadError::MissingTensor { name, .. }) if name == "model.embed_tokens.weight"
    ));
    write(&tensors).unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    let qwen2 = ModelConfig { family: Family::Qwen2, ..config.clone() };
    assert!(matches!(
        weights.check(&qwen2),
        Err(LoadError::MissingTensor { name, .. }) if name.ends_with("q_proj.bias")
    ));
    let wider = ModelConfig { intermediate_size: 13, ..config.clone() };
    assert!(matches!(
        weights.check(&wider),
        Err(LoadError::Shape { name, .. }) if name.ends_with("gate_proj.weight")
    ));
    let shorter = ModelConfig { num_layers: 1, ..config };
    assert!(matches!(
        weights.check(&shorter),
        Err(LoadError::UnexpectedTensor { name, .. }) if name.contains("layers.1")
    ));
    assert!(matches!(Weights::open(&folder.path().join("nowhere")), Err(LoadError::NoWeights { .. })));
}

#[test]
fn other_architectures_are_refused_with_the_reason() {
    let plain = config(Family::Qwen2, true);
    let path = std::path::Path::new("config.json");
    for (key, value) in [
        ("model_type", json!("qwen3_moe")),
        ("hidden_act", json!("gelu")),
        ("rope_scaling", json!({"type": "yarn", "factor": 4.0})),
        ("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 1e4})),
        ("layer_types", json!(["full_attention", "sliding_attention"])),
        ("quantization_config", json!({"bits": 4})),
        ("attention_dropout", json!(0.1)),
    ] {
        let mut document = plain.to_json("float32");
        document[key] = value;
        match ModelConfig::from_json(&document, &plain.generation_json(), path) {
            Err(LoadError::Unsupported { reason, .. }) => assert!(reason.contains(key), "{reason}"),
            other => panic!("{key}: {other:?}"),
        }
    }
    let mut sliding = plain.to_json("float32");
    sliding["use_sliding_window"] = json!(true);
    sliding["sliding_window"] = json!(32);
    sliding["max_window_layers"] = json!(1);
    assert!(matches!(
        ModelConfig::from_json(&sliding, &Value::Null, path),
        Err(LoadError::Unsupported { .. })
    ));
    for (key, value) in [
        ("hidden_size", Value::Null),
        ("num_attention_heads", json!(-2)),
        ("num_key_value_heads", json!(3)),
        ("eos_token_id", json!([99])),
        ("rope_theta", json!("big")),
    ] {
        let mut document = plain.to_json("float32");
        document[key] = value;
        match ModelConfig::from_json(&document, &Value::Null, path) {
            Err(LoadError::Malformed { reason, .. }) => assert!(reason.contains(key), "{reason}"),
            other => panic!("{key}: {other:?}"),
        }
    }
}

fn template(source: &str, eos: &str) -> ChatTemplate {
    let tokens = Map::from_iter([("eos_token".to_owned(), json!(eos))]);
    ChatTemplate::new(source.to_owned(), tokens).unwrap()
}

#[test]
fn the_compact_template_continues_what_it_opened() {
    let template = ChatTemplate::compact();
    let options = ChatOptions::default();
    let mut messages = vec![Message::new("system", "s"), Message::new("user", "u")];
    let opening = template.opening(&messages, &options).unwrap();
    assert_eq!(opening, "<|system|>s<|end|><|user|>u<|end|><|assistant|>");
    assert_eq!(template.continuation("v", true, &options).unwrap(), "<|user|>v<|end|><|assistant|>");
    let cut = template.continuation("v", false, &options).unwrap();
    assert_eq!(cut, "<|end|><|user|>v<|end|><|assistant|>");
    messages.extend([Message::new("assistant", "a"), Message::new("user", "v")]);
    assert_eq!(template.opening(&messages, &options).unwrap(), format!("{opening}a{cut}"));
}

#[test]
fn a_template_that_strips_reasoning_still_continues() {
    // The pattern of Qwen3: only what follows the closing tag of an earlier turn is kept.
    let template = template(
        "{%- for m in messages %}{{ '[' + m.role + ']' + m.content.split('</think>')[-1] + '<|eot|>\\n' }}\
         {%- endfor %}{%- if add_generation_prompt %}{{ '[assistant]' }}\
         {%- if enable_thinking is false %}{{ '<think></think>' }}{% endif %}{% endif %}",
        "</s>",
    );
    let options = ChatOptions::thinking(false);
    assert_eq!(template.end_of_turn(&options).unwrap(), "<|eot|>");
    assert_eq!(
        template.continuation("next", true, &options).unwrap(),
        "\n[user]next<|eot|>\n[assistant]<think></think>"
    );
}

#[test]
fn templates_that_cannot_continue_say_so() {
    let options = ChatOptions::default();
    let last_only = template("{{ messages[-1].content }}", "</s>");
    assert!(matches!(last_only.continuation("v", true, &options), Err(ChatError::Continuation { times: 0 })));
    let endless = template("{% for m in messages %}{{ m.content }} {% endfor %}", "</s>");
    assert!(matches!(endless.continuation("v", true, &options), Err(ChatError::EndOfTurn { .. })));
    assert_eq!(endless.continuation("v", false, &options).unwrap(), " v ");
    let strict = template("{{ raise_exception('only one turn') }}", "</s>");
    let error = strict.opening(&[Message::new("user", "u")], &options).unwrap_err();
    assert!(error.to_string().contains("only one turn"), "{error}");
}

#[test]
fn templates_see_python() {
    let messages = [Message::new("user", "  hi there  ")];
    let mut options =
        ChatOptions { tools: Some(vec![json!({"b": [1, 2.5], "a": "<é>"})]), ..Default::default() };
    options.variables.insert("flag".to_owned(), json!(true));
    for (source, expected) in [
        ("{{ messages[0].content.strip() }}", "hi there"),
        ("{{ messages[0]['content'].lstrip().split(' ')[0] }}", "hi"),
        ("{{ messages[0].content.rstrip().endswith('there') }}", "True"),
        ("{{ tools[0] | tojson }}", "{\"b\": [1, 2.5], \"a\": \"<é>\"}"),
        ("{{ flag }} {{ nothing is defined }} {{ none }}", "True False None"),
        ("{{ eos_token }}{{ bos_token }}", "</s>"),
        ("{% for x in [1, 2, 3][::-1] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "31"),
        (
            "{% set ns = namespace(n=0) %}{% for x in [1, 2] %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}",
            "3",
        ),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"),
        ("{{ strftime_now is defined }}", "False"),
    ] {
        assert_eq!(template(source, "</s>").render(&messages, true, &options).unwrap(), expected, "{source}");
    }
    assert!(template("{{ strftime_now('%d') }}", "").render(&messages, true, &options).is_err());
    assert!(matches!(ChatTemplate::new("{% if %}".to_owned(), Map::new()), Err(ChatError::Syntax { .. })));
}
