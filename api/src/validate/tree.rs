//! YAML text as a tree whose nodes know their place, within limits: what a small file expands to is bounded too.

use std::{collections::HashMap, rc::Rc};

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::{
    diagnostics::{Finding, Position},
    scalar::Plain,
};

/// Deepest nesting of lists and maps; a campaign needs eight.
const MOST_NESTING: usize = 32;

/// Most nodes after aliases are expanded. Long texts weigh as several.
const MOST_WEIGHT: usize = 100_000;

/// Bytes of text that weigh as one node.
const TEXT_WEIGHT_BYTES: usize = 64;

/// A node of a document.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub position: Position,
    pub value: NodeValue,
    weight: usize,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum NodeValue {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as it is written.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub text: Rc<str>,
    /// Written without quotes, so that YAML may read a number or a boolean in it.
    pub plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Rc<str>,
    pub key_position: Position,
    pub node: Node,
}

impl Node {
    /// The value of a field, when this is a map that has it.
    pub fn get(&self, field: &str) -> Option<&Self> {
        let NodeValue::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| &*entry.key == field).map(|entry| &entry.node)
    }

    /// Whether nothing is written here, or YAML's word for nothing.
    pub fn is_nothing(&self) -> bool {
        matches!(&self.value, NodeValue::Scalar(Scalar { text, plain: true }) if Plain::read(text) == Plain::Null)
    }

    /// The text of a field that is a scalar.
    pub fn text(&self, field: &str) -> Option<&str> {
        match &self.get(field)?.value {
            NodeValue::Scalar(scalar) => Some(&scalar.text),
            NodeValue::List(_) | NodeValue::Map(_) => None,
        }
    }

    /// Where the field at a path like `spec.arms[1].name` is, or the innermost part of the path that exists. A field
    /// of a map is found at its key.
    pub fn locate(&self, path: &str) -> Position {
        let mut position = self.position;
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            match &node.value {
                NodeValue::Map(entries) => {
                    let Some(entry) = entries.iter().find(|entry| &*entry.key == step) else { break };
                    position = entry.key_position;
                    node = &entry.node;
                }
                NodeValue::List(items) => {
                    let index = step.strip_suffix(']').and_then(|index| index.parse::<usize>().ok());
                    let Some(item) = index.and_then(|index| items.get(index)) else { break };
                    position = item.position;
                    node = item;
                }
                NodeValue::Scalar(_) => break,
            }
        }
        position
    }
}

/// The documents of a file, empty ones left out.
///
/// # Errors
/// The first place where the text is no YAML, goes beyond a limit, or uses what we do not read.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Finding> {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MOST_NESTING,
        block_nesting_limit: MOST_NESTING,
    };
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            finding(position(error.marker()), format!("no valid YAML: {}", error.info().replace('\n', " ")))
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

fn position(marker: &granit_parser::Marker) -> Position {
    Position { line: marker.line().max(1), column: marker.col() + 1 }
}

fn finding(position: Position, message: impl Into<String>) -> Finding {
    Finding { position, path: String::new(), message: message.into() }
}

/// A list or map whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<(Rc<str>, Position)>,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    weight: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Finding> {
        let at = position(&span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = self.refuse_foreign_tag(tag.as_deref(), at)?;
                let plain = style == ScalarStyle::Plain && !text_tag;
                let weight = 1 + text.len() / TEXT_WEIGHT_BYTES;
                let value = NodeValue::Scalar(Scalar { text: text.into(), plain });
                self.add_weight(weight, at)?;
                self.close(Node { position: at, value, weight }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => self.open(NodeValue::List(Vec::new()), anchor, tag.as_deref(), at),
            Event::MappingStart(_, anchor, tag) => self.open(NodeValue::Map(Vec::new()), anchor, tag.as_deref(), at),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { node, anchor, key: _ }) => self.close(node, anchor),
                None => Err(finding(at, "no valid YAML: a list or map ends that never began")),
            },
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(finding(at, "an alias stands inside what it names; write the value out"));
                };
                let node = node.clone();
                self.add_weight(node.weight, at)?;
                self.close(node, 0)
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, value: NodeValue, anchor: usize, tag: Option<&Tag>, at: Position) -> Result<(), Finding> {
        self.refuse_foreign_tag(tag, at)?;
        if self.open.len() >= MOST_NESTING {
            return Err(finding(
                at,
                format!("nested deeper than {MOST_NESTING} lists and maps; no field lies so deep"),
            ));
        }
        self.add_weight(1, at)?;
        self.open.push(Open { node: Node { position: at, value, weight: 1 }, anchor, key: None });
        Ok(())
    }

    /// Puts a finished node where it belongs: into the open list or map, or among the documents.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), Finding> {
        if anchor > 0 {
            self.add_weight(node.weight, node.position)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            if !node.is_nothing() {
                self.documents.push(node);
            }
            return Ok(());
        };
        let weight = node.weight;
        match (&mut parent.node.value, parent.key.take()) {
            (NodeValue::List(items), _) => items.push(node),
            (NodeValue::Map(_), None) => {
                let NodeValue::Scalar(Scalar { text, plain: _ }) = node.value else {
                    return Err(finding(node.position, "the name of a field must be a word, not a list or map"));
                };
                if &*text == "<<" {
                    return Err(finding(node.position, "merge keys are not read; write the fields out"));
                }
                parent.key = Some((text, node.position));
            }
            (NodeValue::Map(entries), Some((key, key_position))) => entries.push(Entry { key, key_position, node }),
            (NodeValue::Scalar(_), _) => {
                return Err(finding(node.position, "no valid YAML: a value stands in a scalar"));
            }
        }
        parent.node.weight += weight;
        Ok(())
    }

    /// Whether the tag says that the scalar is text.
    fn refuse_foreign_tag(&self, tag: Option<&Tag>, at: Position) -> Result<bool, Finding> {
        match tag.map(|tag| (tag.core_suffix(), tag)) {
            None => Ok(false),
            Some((Some("str"), _)) => Ok(true),
            Some((_, tag)) => Err(finding(at, format!("the tag {} is not read; remove it", tag.original()))),
        }
    }

    fn add_weight(&mut self, weight: usize, at: Position) -> Result<(), Finding> {
        self.weight += weight;
        if self.weight > MOST_WEIGHT {
            let message =
                format!("the file expands to more than {MOST_WEIGHT} values; use fewer aliases or shorter lists");
            return Err(finding(at, message));
        }
        Ok(())
    }
}
