//! A YAML document as one tree, within bounds.
//!
//! Anchors and merges are resolved here, so that whoever judges the tree sees what will be sent. What readers of YAML
//! do not agree about is refused: a key that stands twice, tags that mean something, keys that are no plain words,
//! more than one document. How much work a text can make is bounded before it is done: an alias costs as many nodes
//! and bytes as it stands for.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

/// Longest text, in bytes. The NAS takes no frame above 64 KiB.
pub const LONGEST: usize = 48 * 1024;

/// Deepest nesting, aliases followed.
pub const DEEPEST: usize = 32;

/// Most nodes of the whole tree, aliases followed.
pub const MOST_NODES: usize = 20_000;

/// Most bytes of all words and texts of the tree, aliases followed: twice what the NAS takes, since what is anchored is
/// kept until the end.
pub const MOST_BYTES: usize = 128 * 1024;

/// A tree, and what it took to make it.
#[derive(Debug)]
pub struct Tree {
    /// The document. A YAML map is an object, with the keys as they are written.
    pub value: Value,
    /// Events of the parser, and nodes that aliases and merges copied.
    pub steps: usize,
}

/// Why a text is no tree, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {kind}")]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub kind: Kind,
    /// The work that was done until then, as [`Tree::steps`].
    pub steps: usize,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// It is no YAML.
    #[error("{0}")]
    Malformed(String),
    /// It is longer than [`LONGEST`].
    #[error("the text is longer than {LONGEST} bytes")]
    TooLong,
    /// It is nested deeper than [`DEEPEST`].
    #[error("it is nested deeper than {DEEPEST} levels")]
    TooDeep,
    /// With its aliases followed it has more than [`MOST_NODES`].
    #[error("with its aliases followed it has more than {MOST_NODES} nodes")]
    TooMany,
    /// With its aliases followed its texts are longer than [`MOST_BYTES`].
    #[error("with its aliases followed its texts are longer than {MOST_BYTES} bytes")]
    TooHeavy,
    /// A map has this key twice.
    #[error("the key {0:?} stands twice in one map")]
    Duplicate(String),
    /// A tag that asks the reader for something.
    #[error("a tag ({0}) asks the reader for something")]
    Tag(String),
    /// A key that is no word.
    #[error("a key is not a plain word")]
    Key,
    /// What is merged in is no map.
    #[error("what << merges in is not a map")]
    Merge,
    /// An alias of something that it stands in itself.
    #[error("an alias stands in what it is an alias of")]
    Cycle,
    /// There are several documents.
    #[error("there is more than one document")]
    Documents,
}

/// What it costs to copy something.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    nodes: usize,
    bytes: usize,
}

impl Weight {
    /// One node with a text of so many bytes.
    const fn one(bytes: usize) -> Self {
        Self { nodes: 1, bytes }
    }
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A node with what it weighs.
#[derive(Clone, Debug)]
struct Node {
    value: Value,
    weight: Weight,
    height: usize,
}

/// A list or map that is still open.
#[derive(Debug)]
enum Open {
    List {
        anchor: usize,
        items: Vec<Value>,
        weight: Weight,
        height: usize,
    },
    Map {
        anchor: usize,
        map: Map<String, Value>,
        key: Option<Key>,
        merged: Vec<Node>,
        weight: Weight,
        height: usize,
    },
}

#[derive(Debug)]
enum Key {
    Word(String),
    Merge,
}

#[derive(Default)]
struct Composer {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    document: Option<Value>,
    weight: Weight,
    steps: usize,
}

/// Reads a text.
///
/// # Errors
///
/// Where it is at fault, and how.
pub fn parse(text: &str) -> Result<Tree, Fault> {
    let mut composer = Composer::default();
    if text.len() > LONGEST {
        return Err(composer.fault((1, 1), Kind::TooLong));
    }
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        composer.steps += 1;
        let (event, span) = event.map_err(|error| {
            let marker = error.marker();
            composer.fault((marker.line(), marker.col() + 1), Kind::Malformed(error.info().to_owned()))
        })?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(composer.fault(place(span), Kind::Documents));
            }
        }
        composer.take(event).map_err(|kind| composer.fault(place(span), kind))?;
    }
    Ok(Tree { value: composer.document.unwrap_or(Value::Null), steps: composer.steps })
}

fn place(span: Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

impl Composer {
    const fn fault(&self, (line, column): (usize, usize), kind: Kind) -> Fault {
        Fault { line, column, kind, steps: self.steps }
    }

    fn take(&mut self, event: Event<'_>) -> Result<(), Kind> {
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref()),
            Event::SequenceStart(anchor, tag) => {
                only_plain(tag.as_deref())?;
                self.enter(Open::List { anchor, items: Vec::new(), weight: Weight::one(0), height: 1 })
            }
            Event::MappingStart(anchor, tag) => {
                only_plain(tag.as_deref())?;
                let (map, merged, weight) = (Map::new(), Vec::new(), Weight::one(0));
                self.enter(Open::Map { anchor, map, key: None, merged, weight, height: 1 })
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(anchor) => {
                // One that is not there yet is still open: the parser itself refuses one that nobody set.
                let node = self.anchors.get(&anchor).ok_or(Kind::Cycle)?;
                let (weight, height) = (node.weight, node.height);
                self.afford(weight, height)?;
                self.steps += weight.nodes;
                let node = self.anchors.get(&anchor).ok_or(Kind::Cycle)?.clone();
                self.add(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), Kind> {
        let is_text = only_plain(tag)?;
        let plain = matches!(style, ScalarStyle::Plain) && !is_text;
        if let Some(Open::Map { map, key: key @ None, weight, .. }) = self.open.last_mut() {
            if anchor != 0 || (plain && is_null(text)) {
                return Err(Kind::Key);
            }
            *key = Some(if plain && text == "<<" { Key::Merge } else { Key::Word(text.to_owned()) });
            weight.bytes += text.len();
            self.weight.bytes += text.len();
            let twice = map.contains_key(text);
            return if twice { Err(Kind::Duplicate(text.to_owned())) } else { Ok(()) };
        }
        let weight = Weight::one(text.len());
        self.afford(weight, 0)?;
        let value = if plain { resolve(text) } else { Value::String(text.to_owned()) };
        self.add(Node { value, weight, height: 0 }, anchor)
    }

    /// Whether there is room for so much more, so high, where we are.
    fn afford(&mut self, weight: Weight, height: usize) -> Result<(), Kind> {
        self.weight += weight;
        if self.weight.nodes > MOST_NODES {
            return Err(Kind::TooMany);
        }
        if self.weight.bytes > MOST_BYTES {
            return Err(Kind::TooHeavy);
        }
        if self.open.len() + height > DEEPEST {
            return Err(Kind::TooDeep);
        }
        Ok(())
    }

    fn enter(&mut self, open: Open) -> Result<(), Kind> {
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(Kind::Key);
        }
        self.afford(Weight::one(0), 1)?;
        self.open.push(open);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Kind> {
        match self.open.pop() {
            Some(Open::List { anchor, items, weight, height }) => {
                self.add(Node { value: Value::Array(items), weight, height }, anchor)
            }
            Some(Open::Map { anchor, mut map, merged, mut weight, mut height, .. }) => {
                // What stands in the map itself wins, and what is merged first wins over what comes later.
                for from in merged {
                    weight += from.weight;
                    height = height.max(from.height);
                    let Value::Object(entries) = from.value else { return Err(Kind::Merge) };
                    for (key, value) in entries {
                        map.entry(key).or_insert(value);
                    }
                }
                self.add(Node { value: Value::Object(map), weight, height }, anchor)
            }
            None => Ok(()),
        }
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Kind> {
        if anchor != 0 {
            self.afford(node.weight, node.height)?;
            self.steps += node.weight.nodes;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.document = Some(node.value),
            Some(Open::List { items, weight, height, .. }) => {
                *weight += node.weight;
                *height = (*height).max(node.height + 1);
                items.push(node.value);
            }
            Some(Open::Map { map, key, merged, weight, height, .. }) => match key.take() {
                // An alias in the place of a key.
                None => return Err(Kind::Key),
                Some(Key::Word(word)) => {
                    *weight += node.weight;
                    *height = (*height).max(node.height + 1);
                    map.insert(word, node.value);
                }
                Some(Key::Merge) if !merged.is_empty() => return Err(Kind::Duplicate("<<".to_owned())),
                Some(Key::Merge) => *merged = maps_of(node)?,
            },
        }
        Ok(())
    }
}

/// What `<<` merges in: a map, or a list of maps.
fn maps_of(node: Node) -> Result<Vec<Node>, Kind> {
    let Node { value, weight, height } = node;
    match value {
        Value::Object(_) => Ok(vec![Node { value, weight, height }]),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => {
            // What they weigh together, once.
            let mut weight = weight;
            Ok(items
                .into_iter()
                .map(|value| Node {
                    value,
                    weight: std::mem::take(&mut weight),
                    height: height.saturating_sub(1),
                })
                .collect())
        }
        _ => Err(Kind::Merge),
    }
}

/// The only tag that changes nothing for anybody says that a text is a text. Whether it is there.
fn only_plain(tag: Option<&Tag>) -> Result<bool, Kind> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(true),
        Some(tag) => Err(Kind::Tag(format!("{}{}", tag.handle, tag.suffix))),
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A plain scalar by the core schema of YAML 1.2, and as a text where readers differ: `yes`, `0777`, a number that
/// is too large.
fn resolve(text: &str) -> Value {
    match text {
        text if is_null(text) => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits {
        if digits.len() > 1 && digits.starts_with('0') {
            return Value::String(text.to_owned());
        }
        let whole = format!("{sign}{digits}");
        let number = whole.parse::<i64>().map(Value::from).or_else(|_| whole.parse::<u64>().map(Value::from));
        return number.unwrap_or_else(|_| Value::String(text.to_owned()));
    }
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().any(|byte| byte.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let float = is_float.then(|| format!("{sign}{digits}").parse::<f64>().ok()).flatten();
    let number = float.filter(|float| float.is_finite()).and_then(serde_json::Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_what_the_core_schema_says() {
        for (text, value) in [
            ("a: 1\nb: [x, 2.5, true, null, ~]\n", json!({ "a": 1, "b": ["x", 2.5, true, null, null] })),
            (
                "a: yes\nb: 0777\nc: '5'\nd: 1_000\n",
                json!({ "a": "yes", "b": "0777", "c": "5", "d": "1_000" }),
            ),
            ("- 22:22\n- 1e3\n- .5\n- .inf\n- -7\n", json!(["22:22", 1000.0, 0.5, ".inf", -7])),
            (
                "a: 18446744073709551615\nb: 99999999999999999999\n",
                json!({ "a": u64::MAX, "b": "99999999999999999999" }),
            ),
            ("a: !!str 5\n", json!({ "a": "5" })),
            ("8080: x\non: y\n", json!({ "8080": "x", "on": "y" })),
            ("a: |\n  one\n  two\n", json!({ "a": "one\ntwo\n" })),
            ("", Value::Null),
        ] {
            assert_eq!(parse(text).unwrap().value, value, "{text}");
        }
    }

    #[test]
    fn anchors_and_merges_are_followed() {
        let text = "\
base: &base {image: 'a:1', restart: always}
more: &more {restart: never, user: u}
one: {<<: *base, image: 'b:2'}
two:
  <<: [*base, *more]
  x: *base
three: {'<<': 1}
";
        let value = parse(text).unwrap().value;
        assert_eq!(value["one"], json!({ "image": "b:2", "restart": "always" }));
        assert_eq!(value["two"]["restart"], "always");
        assert_eq!(value["two"]["user"], "u");
        assert_eq!(value["two"]["x"]["image"], "a:1");
        assert_eq!(value["three"], json!({ "<<": 1 }));
    }

    #[test]
    fn what_readers_do_not_agree_about_is_refused() {
        let duplicate = |key: &str| Kind::Duplicate(key.to_owned());
        for (text, kind) in [
            ("a: 1\na: 2\n", duplicate("a")),
            ("a: 1\n'a': 2\n", duplicate("a")),
            ("a: {b: 1, b: 2}\n", duplicate("b")),
            ("x: &x {a: 1}\ny: {<<: *x, <<: *x}\n", duplicate("<<")),
            ("a: 1\n---\nb: 2\n", Kind::Documents),
            ("? [a, b]\n: 1\n", Kind::Key),
            ("~: 1\n", Kind::Key),
            ("x: &x a\n*x : 1\n", Kind::Key),
            ("x: &x a\ny: {<<: *x}\n", Kind::Merge),
            ("a: &a [*a]\n", Kind::Cycle),
        ] {
            assert_eq!(parse(text).unwrap_err().kind, kind, "{text}");
        }
        for text in
            ["a: !!binary aGk=\n", "a: !reset null\n", "a: !!python/object:os.system x\n", "!override a: 1\n"]
        {
            assert!(matches!(parse(text).unwrap_err().kind, Kind::Tag(_)), "{text}");
        }
        for text in ["a: *nobody\n", "a: [1\n", "a: \"x\n", "a: b: c\n"] {
            assert!(matches!(parse(text).unwrap_err().kind, Kind::Malformed(_)), "{text}");
        }
    }

    #[test]
    fn no_text_makes_more_work_than_the_bounds_allow() {
        let laughs = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
            let of = format!("*a{}", n - 1);
            text + &format!("a{n}: &a{n} [{of}, {of}, {of}, {of}, {of}, {of}, {of}, {of}, {of}]\n")
        });
        let merges = (1..12).fold("a0: &a0 {x: [1, 2, 3]}\n".to_owned(), |text, n| {
            text + &format!("a{n}: &a{n} {{<<: *a{}, k{n}: *a{}}}\n", n - 1, n - 1)
        }) + "z: [*a11, *a11, *a11, *a11]\n";
        let wide = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(3000), "*a, ".repeat(3000));
        let heavy = format!("a: &a {}\nb: [{}]\n", "x".repeat(20_000), "*a, ".repeat(5000));
        let heavy_keys = format!("a: &a {{{}: 1}}\nb: [{}]\n", "x".repeat(900), "*a, ".repeat(5000));
        let deep = "[".repeat(200) + &"]".repeat(200);
        let chain = (1..40)
            .fold("a0: &a0 [x]\n".to_owned(), |text, n| text + &format!("a{n}: &a{n} [*a{}]\n", n - 1));
        let long = "x".repeat(LONGEST + 1);
        let many = "- x\n".repeat(LONGEST / 4);
        let anchors = (0..3000).fold(String::new(), |text, n| text + &format!("- &a{n} x\n"));
        for (text, may_pass) in [
            (&laughs, false),
            (&wide, false),
            (&heavy, false),
            (&heavy_keys, false),
            (&deep, false),
            (&chain, false),
            (&long, false),
            (&merges, true),
            (&many, true),
            (&anchors, true),
        ] {
            let head = &text[..text.len().min(60)];
            let steps = match parse(text) {
                Ok(tree) => {
                    assert!(may_pass && tree.value.to_string().len() <= 4 * MOST_BYTES, "{head}");
                    tree.steps
                }
                Err(fault) => {
                    assert!(may_pass || fault.kind != Kind::Merge, "{head}");
                    fault.steps
                }
            };
            // An event a node and one to close it, a copy at most, and those around the document.
            assert!(steps <= 3 * MOST_NODES + 8, "{steps}: {head}");
        }
    }
}
