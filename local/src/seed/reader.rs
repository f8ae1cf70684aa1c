//! Strict reading of JSON: keeps duplicate keys, and collects all faults with their places.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A JSON value. Unlike `serde_json::Value`, it keeps duplicate keys, so that they can be refused.
pub(super) enum Node {
    Text(String),
    Flag(bool),
    Other,
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Self::Text(text) = self {
            zeroize::Zeroize::zeroize(text); // the text may be a password
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = map.next_entry()? {
            nodes.push(entry);
        }
        Ok(Node::Object(nodes))
    }
}

/// The faults of a seed, each with its place.
pub(super) type Faults = Vec<String>;

/// Adds a fault. Returns `None`, as the value that is missing.
pub(super) fn fault<T>(faults: &mut Faults, place: &str, what: impl fmt::Display) -> Option<T> {
    faults.push(if place.is_empty() { what.to_string() } else { format!("{place}: {what}") });
    None
}

/// The place of a field in an object.
pub(super) fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// The fields of an object. Each method takes a field out; [`Fields::end`] reports the fields that are left as unknown.
pub(super) struct Fields<'a> {
    place: &'a str,
    fields: HashMap<String, Node>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(mut node: Node, place: &'a str, faults: &mut Faults) -> Option<Self> {
        let Node::Object(object) = &mut node else { return fault(faults, place, "must be an object") };
        let mut fields = HashMap::new();
        for (name, value) in std::mem::take(object) {
            if fields.contains_key(&name) {
                let _: Option<()> = fault(faults, &below(place, &name), "is given twice");
            }
            fields.insert(name, value);
        }
        Some(Self { place, fields })
    }

    fn take(&mut self, name: &str) -> (String, Option<Node>) {
        (below(self.place, name), self.fields.remove(name))
    }

    /// Takes a text. `Some(None)`: the field is optional and absent.
    pub(super) fn text(&mut self, name: &str, required: bool, faults: &mut Faults) -> Option<Option<String>> {
        let (place, node) = self.take(name);
        match node {
            None if required => fault(faults, &place, "is missing"),
            None => Some(None),
            Some(mut node) => match &mut node {
                Node::Text(text) => Some(Some(std::mem::take(text))),
                _ => fault(faults, &place, "must be a text"),
            },
        }
    }

    /// Takes a name that is shown: no surrounding spaces, no control characters, at most `longest` characters.
    pub(super) fn name(&mut self, name: &str, longest: usize, faults: &mut Faults) -> Option<String> {
        let text = self.text(name, true, faults)??;
        let place = below(self.place, name);
        if text.is_empty() {
            fault(faults, &place, "is empty")
        } else if text.trim() != text {
            fault(faults, &place, "has spaces around it")
        } else if text.chars().any(char::is_control) {
            fault(faults, &place, "has control characters")
        } else if text.chars().count() > longest {
            fault(faults, &place, format!("is longer than {longest} characters"))
        } else {
            Some(text)
        }
    }

    /// Takes one of a list of words. `otherwise` is the default of an optional field.
    pub(super) fn word<T: Copy>(
        &mut self,
        name: &str,
        otherwise: Option<T>,
        words: &[(&str, T)],
        faults: &mut Faults,
    ) -> Option<T> {
        let Some(text) = self.text(name, otherwise.is_none(), faults)? else { return otherwise };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Some(*value),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                fault(faults, &below(self.place, name), format!("must be one of {}", words.join(", ")))
            }
        }
    }

    /// Takes a list.
    pub(super) fn list(&mut self, name: &str, faults: &mut Faults) -> Option<Vec<Node>> {
        let (place, node) = self.take(name);
        match node {
            None => fault(faults, &place, "is missing"),
            Some(mut node) => match &mut node {
                Node::List(list) => Some(std::mem::take(list)),
                _ => fault(faults, &place, "must be a list"),
            },
        }
    }

    /// Takes a boolean; `otherwise` is its default.
    pub(super) fn flag(&mut self, name: &str, otherwise: bool, faults: &mut Faults) -> Option<bool> {
        let (place, node) = self.take(name);
        match node.as_ref() {
            None => Some(otherwise),
            Some(Node::Flag(flag)) => Some(*flag),
            Some(_) => fault(faults, &place, "must be true or false"),
        }
    }

    /// Reports the fields that were not taken.
    pub(super) fn end(self, faults: &mut Faults) {
        let mut unknown: Vec<_> = self.fields.keys().collect();
        unknown.sort();
        for name in unknown {
            let _: Option<()> = fault(faults, &below(self.place, name), "is not a field of a seed");
        }
    }
}
