//! What the generated schema needs beyond the derive: label maps, and a clean-up for the API server.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Schema of a map of labels, with the bounds that the API server demands.
pub fn label_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}
