//! The CEL rules of the custom resource definitions, evaluated as the API server does and told with its words.

use kube::core::cel::{ErrorKind, validate_compiled};
use serde_json::Value;

use super::{diagnostics::Finding, kinds::Kind, tree::Node};

/// Checks a document, defaults applied, against the rules of its kind. A rule about an object in which something was
/// already found is passed over: it would only say again, in other words, that a field is missing or mistyped.
pub(super) fn check(kind: &Kind, document: &Value, node: &Node, found: &[Finding]) -> Vec<Finding> {
    let Err(errors) = validate_compiled(&kind.rules, document, None) else { return Vec::new() };
    errors
        .into_iter()
        .filter(|error| !found.iter().any(|finding| contains(&error.field_path, &finding.path)))
        .map(|error| {
            let (path, message) = match error.kind {
                ErrorKind::ValidationFailure => concrete(&error.field_path, &error.message),
                _ => (error.field_path.clone(), error.message.clone()),
            };
            Finding { position: node.locate(&path), path, message }
        })
        .collect()
}

/// Whether `path` lies in the object at `object`, or is it.
fn contains(object: &str, path: &str) -> bool {
    object.is_empty() || path.strip_prefix(object).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A rule's message opens with its field's path in general form, as in `spec.arms[].tee: …`, for readers of the API
/// server's answer. Here the path is made concrete, with the index of the very object.
fn concrete(object: &str, message: &str) -> (String, String) {
    let whole = || (object.to_owned(), message.to_owned());
    let Some((general, rest)) = message.split_once(": ") else { return whole() };
    if general.contains(' ') {
        return whole();
    }
    match general.strip_prefix(generalize(object).as_str()) {
        Some(inner) if object.is_empty() => (inner.to_owned(), rest.to_owned()),
        Some(inner) if inner.is_empty() || inner.starts_with('.') => (format!("{object}{inner}"), rest.to_owned()),
        _ => whole(),
    }
}

/// A path with its indices left out: `spec.arms[1].tee` becomes `spec.arms[].tee`.
pub(super) fn generalize(path: &str) -> String {
    let mut general = String::with_capacity(path.len());
    let mut in_index = false;
    for c in path.chars() {
        match c {
            '[' => in_index = true,
            ']' => in_index = false,
            _ if in_index => continue,
            _ => {}
        }
        general.push(c);
    }
    general
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{concrete, contains};

    #[rstest]
    #[case::of_the_object("spec.arms[1]", "spec.arms[]: give one", "spec.arms[1]", "give one")]
    #[case::of_a_field("spec.arms[1]", "spec.arms[].tee: wrong", "spec.arms[1].tee", "wrong")]
    #[case::of_another_list("spec", "spec.arms[].tee: wrong", "spec.arms[].tee", "wrong")]
    #[case::of_the_root("", "metadata.name: too long", "metadata.name", "too long")]
    #[case::without_a_path(
        "spec.engine.vllm",
        "give kvCacheBytes: or not",
        "spec.engine.vllm",
        "give kvCacheBytes: or not"
    )]
    #[case::of_a_longer_name("spec.arm", "spec.arms: wrong", "spec.arm", "spec.arms: wrong")]
    fn a_general_path_becomes_that_of_the_object(
        #[case] object: &str,
        #[case] message: &str,
        #[case] path: &str,
        #[case] rest: &str,
    ) {
        assert_eq!(concrete(object, message), (path.to_owned(), rest.to_owned()));
    }

    #[rstest]
    #[case("spec.arms[1]", "spec.arms[1].tee", true)]
    #[case("spec.arms[1]", "spec.arms[1]", true)]
    #[case("spec.arms[1]", "spec.arms[10].tee", false)]
    #[case("", "spec", true)]
    fn an_object_contains_its_fields(#[case] object: &str, #[case] path: &str, #[case] inside: bool) {
        assert_eq!(contains(object, path), inside);
    }
}
