//! A document against its schema: names, types, bounds, patterns and lists without doubles.

use std::collections::HashMap;

use regex::Regex;
use serde_json::{Map, Value, json};

use super::{
    diagnostics::{Finding, Position},
    scalar::Plain,
    tree::{Entry, Node, NodeValue, Scalar},
    words,
};

/// Most field names that a message lists when none is near.
const MOST_LISTED_FIELDS: usize = 12;

/// Findings after which unknown fields get no nearest name any more: more than are ever shown.
const MOST_EXPLAINED: usize = 200;

/// Checks a node against a schema. What is right comes back as JSON, for the rules that follow; what is wrong is left
/// out of it and found. A schema without a type takes anything, and what it takes is left out as well.
pub(super) fn check(node: &Node, schema: &Value, path: &str, findings: &mut Vec<Finding>) -> Option<Value> {
    Walk { findings }.value(node, schema, path)
}

struct Walk<'a> {
    findings: &'a mut Vec<Finding>,
}

impl Walk<'_> {
    fn find(&mut self, position: Position, path: &str, message: impl Into<String>) {
        self.findings.push(Finding { position, path: path.to_owned(), message: message.into() });
    }

    fn value(&mut self, node: &Node, schema: &Value, path: &str) -> Option<Value> {
        let wanted = schema.get("type").and_then(Value::as_str)?;
        match (&node.value, wanted) {
            (NodeValue::Map(entries), "object") => self.object(node, entries, schema, path),
            (NodeValue::List(items), "array") => self.array(node, items, schema, path),
            (NodeValue::Scalar(scalar), "string" | "integer" | "boolean") => {
                self.scalar(scalar, wanted, schema, node.position, path)
            }
            _ => {
                let message = wrong_type(node, wanted, schema);
                self.find(node.position, path, message);
                None
            }
        }
    }

    fn object(&mut self, node: &Node, entries: &[Entry], schema: &Value, path: &str) -> Option<Value> {
        let fields = schema.get("properties").and_then(Value::as_object);
        let additional = schema.get("additionalProperties").filter(|schema| schema.is_object());
        let mut object = Map::new();
        let mut meant = Vec::new();
        let mut given: HashMap<&str, Position> = HashMap::new();
        for entry in entries {
            let child_path = if path.is_empty() { entry.key.to_string() } else { format!("{path}.{}", entry.key) };
            if let Some(first) = given.get(&*entry.key) {
                let message = format!("given twice, first in line {}; keep one", first.line);
                self.find(entry.key_position, &child_path, message);
                continue;
            }
            given.insert(&entry.key, entry.key_position);
            let child = fields.and_then(|fields| fields.get(&*entry.key)).or(additional);
            match child {
                Some(child) => {
                    if let Some(value) = self.value(&entry.node, child, &child_path) {
                        object.insert(entry.key.to_string(), value);
                    }
                }
                None => {
                    let known = fields.into_iter().flat_map(|fields| fields.keys()).map(String::as_str);
                    let (message, near) = if self.findings.len() < MOST_EXPLAINED {
                        unknown_field(&entry.key, known)
                    } else {
                        ("unknown field; remove it".to_owned(), None)
                    };
                    meant.extend(near.map(str::to_owned));
                    self.find(entry.key_position, &unknown_path(path, &entry.key), message);
                }
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for field in required {
            if !given.contains_key(field) && !meant.iter().any(|name| name == field) {
                let message = missing_field(field, fields.and_then(|fields| fields.get(field)));
                self.find(node.position, path, message);
            }
        }
        self.count(node, "Properties", entries.len(), schema, path);
        Some(Value::Object(object))
    }

    fn array(&mut self, node: &Node, items: &[Node], schema: &Value, path: &str) -> Option<Value> {
        self.count(node, "Items", items.len(), schema, path);
        let nothing = json!({});
        let item_schema = schema.get("items").unwrap_or(&nothing);
        let key = schema.pointer("/x-kubernetes-list-map-keys/0").and_then(Value::as_str);
        let is_set = schema.get("x-kubernetes-list-type").is_some_and(|kind| kind == "set");
        let most = schema.get("maxItems").and_then(whole).unwrap_or(u64::MAX);
        let mut array = Vec::new();
        let mut seen: Vec<(Value, Position)> = Vec::new();
        for (index, item) in items.iter().enumerate().take(usize::try_from(most).unwrap_or(usize::MAX)) {
            let item_path = format!("{path}[{index}]");
            let value = self.value(item, item_schema, &item_path);
            let identity = match (key, &value) {
                (Some(key), Some(value)) => value.get(key).cloned(),
                (None, Some(value)) if is_set => Some(value.clone()),
                _ => None,
            };
            if let Some(identity) = identity {
                match seen.iter().find(|(earlier, _)| *earlier == identity) {
                    Some((_, first)) => {
                        let mend = if key.is_some() { "rename one" } else { "keep one" };
                        let message = format!("{identity} is given twice, first in line {}; {mend}", first.line);
                        let at = key.and_then(|key| item.get(key)).map_or(item.position, |node| node.position);
                        let path = key.map_or_else(|| item_path.clone(), |key| format!("{item_path}.{key}"));
                        self.find(at, &path, message);
                    }
                    None => seen.push((identity, item.position)),
                }
            }
            array.extend(value);
        }
        Some(Value::Array(array))
    }

    fn scalar(&mut self, scalar: &Scalar, wanted: &str, schema: &Value, at: Position, path: &str) -> Option<Value> {
        let text = &*scalar.text;
        let meaning = if scalar.plain { Plain::read(text) } else { Plain::Text };
        let result = match (wanted, meaning) {
            (_, Plain::Null) => Err("has no value; give one, or remove the field".to_owned()),
            ("boolean", Plain::Boolean(value)) => Ok(json!(value)),
            ("boolean", _) => Err(format!("{} is not a boolean; write true or false", words::quote(text))),
            ("integer", Plain::Integer(value)) => in_range(value, schema).map(|()| json!(value)),
            ("integer", _) => Err(not_a_whole_number(scalar)),
            (_, Plain::Text) => acceptable_text(text, schema).map(|()| json!(text)),
            (_, Plain::Boolean(_)) => Err(boolean_for_text(text, schema)),
            (_, Plain::Integer(_) | Plain::OtherNumber) => Err(format!(
                "YAML reads {text} as a number, and text is needed; write {} in quotes",
                words::quote(text)
            )),
        };
        result.map_err(|message| self.find(at, path, message)).ok()
    }

    fn count(&mut self, node: &Node, what: &str, count: usize, schema: &Value, path: &str) {
        let bound = |side: &str| schema.get(format!("{side}{what}")).and_then(whole);
        let count = count as u64;
        let things = if what == "Items" { "items" } else { "fields" };
        if let Some(most) = bound("max").filter(|most| count > *most) {
            self.find(node.position, path, format!("has {count} {things}; at most {most} are allowed"));
        } else if bound("min").is_some_and(|least| count < least) {
            self.find(node.position, path, "is empty; give at least one item, or remove the field".to_owned());
        }
    }
}

fn whole(number: &Value) -> Option<u64> {
    number.as_u64()
}

fn unknown_path(path: &str, key: &str) -> String {
    let shown = words::quote(key);
    let key = if key.chars().all(|c| c.is_ascii_graphic()) && key.len() <= 80 { key } else { &shown };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn unknown_field<'a>(key: &str, known: impl Iterator<Item = &'a str> + Clone) -> (String, Option<&'a str>) {
    if let Some(near) = words::nearest(key, known.clone()) {
        return (format!("unknown field; did you mean \"{near}\"?"), Some(near));
    }
    let message = if known.clone().count() <= MOST_LISTED_FIELDS {
        format!("unknown field; remove it, or use one of {}", words::list(known))
    } else {
        "unknown field; remove it".to_owned()
    };
    (message, None)
}

fn missing_field(field: &str, schema: Option<&Value>) -> String {
    let description = schema
        .and_then(|schema| schema.get("description"))
        .and_then(Value::as_str)
        .and_then(|description| description.lines().next())
        .map(|first| format!(": {}", first.trim_end_matches('.')))
        .unwrap_or_default();
    let choices = schema.and_then(enum_names).map(|names| format!(" (one of {names})")).unwrap_or_default();
    format!("the field \"{field}\" is missing; add it{choices}{description}")
}

fn enum_names(schema: &Value) -> Option<String> {
    let names = schema.get("enum").and_then(Value::as_array)?;
    Some(words::list(names.iter().filter_map(Value::as_str)))
}

fn wrong_type(node: &Node, wanted: &str, schema: &Value) -> String {
    match (&node.value, wanted) {
        (NodeValue::Scalar(_), "object") if node.is_nothing() => {
            if schema.get("required").is_some() {
                "has no value; give its fields, or remove it".to_owned()
            } else {
                "has no value; write {} to take all defaults, or remove it".to_owned()
            }
        }
        (NodeValue::Scalar(_), "array") if node.is_nothing() => {
            "has no value; give a list, or remove the field".to_owned()
        }
        (NodeValue::Scalar(scalar), "array") => {
            format!("must be a list; write [{}]", words::quote(&scalar.text).trim_matches('"'))
        }
        (NodeValue::Scalar(scalar), _) => {
            format!("must have fields of its own, and is {}; indent them under it", words::quote(&scalar.text))
        }
        (NodeValue::Map(_), "array") => "must be a list; begin each item with '- '".to_owned(),
        (NodeValue::List(_), "object") => "must have fields of its own, and is a list; remove the '-'".to_owned(),
        (NodeValue::Map(_) | NodeValue::List(_), _) => {
            let what = if matches!(node.value, NodeValue::List(_)) { "a list" } else { "fields" };
            let single = match wanted {
                "integer" => "a whole number",
                "boolean" => "true or false",
                _ => "text",
            };
            format!("must be {single}, and has {what}; give a single value")
        }
    }
}

fn not_a_whole_number(scalar: &Scalar) -> String {
    let quoted = words::quote(&scalar.text);
    if !scalar.plain && matches!(Plain::read(&scalar.text), Plain::Integer(_)) {
        return format!("{quoted} is text, and a number is needed; remove the quotes");
    }
    format!("{quoted} is not a whole number; write it in decimal digits")
}

fn in_range(value: i64, schema: &Value) -> Result<(), String> {
    let bound = |side: &str| schema.get(side).and_then(Value::as_f64);
    #[expect(clippy::cast_precision_loss, reason = "bounds are under 2^53; a value beyond that is out of all of them")]
    let number = value as f64;
    let (least, most) = (bound("minimum").unwrap_or(f64::MIN), bound("maximum").unwrap_or(f64::MAX));
    if number < least || number > most {
        return Err(format!("{value} is out of range; give {least} to {most}"));
    }
    Ok(())
}

fn acceptable_text(text: &str, schema: &Value) -> Result<(), String> {
    let quoted = words::quote(text);
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        let names = || names.iter().filter_map(Value::as_str);
        if names().any(|name| name == text) {
            return Ok(());
        }
        return Err(match words::nearest(text, names()) {
            Some(near) => format!("{quoted} is not known here; did you mean \"{near}\"?"),
            None => format!("{quoted} is not known here; use one of {}", words::list(names())),
        });
    }
    let length = text.chars().count() as u64;
    let bound = |side: &str| schema.get(side).and_then(whole);
    if bound("maxLength").is_some_and(|most| length > most) {
        let most = bound("maxLength").unwrap_or_default();
        return Err(format!("{quoted} has {length} characters; at most {most} are allowed"));
    }
    if text.is_empty() && bound("minLength").is_some_and(|least| least > 0) {
        return Err("is empty; give a value, or remove the field".to_owned());
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        // A pattern that this reader cannot compile would be refused by the API server as well; a test compiles all.
        if Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
            return Err(format!("{quoted} is not allowed; {}", words::pattern(pattern)));
        }
    }
    if bound("minLength").is_some_and(|least| length < least) {
        return Err(format!(
            "{quoted} is too short; give at least {} characters",
            bound("minLength").unwrap_or_default()
        ));
    }
    let is_date = schema.get("format").is_some_and(|format| format == "date");
    if is_date && text.parse::<jiff::civil::Date>().is_err() {
        return Err(format!("{quoted} is not a day of the calendar; correct it"));
    }
    Ok(())
}

fn boolean_for_text(text: &str, schema: &Value) -> String {
    match enum_names(schema) {
        Some(names) => format!("YAML reads {text} as a boolean; use one of {names}"),
        None => format!("YAML reads {text} as a boolean, and text is needed; write \"{text}\" in quotes"),
    }
}
