//! JSON schemas (2020-12, as OpenAPI 3.1 wants them) of protobuf messages in their canonical JSON form, with
//! the comments of the proto files as descriptions. Messages and enums become components, referred to by their
//! full names; well-known types are written out where they stand.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};
use serde_json::{Map, Value, json};

use crate::json;

/// The comments of a descriptor set by file and element.
#[derive(Debug, Default)]
pub struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    pub fn of(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let Some(info) = &file.file_descriptor_proto().source_code_info else { continue };
            for location in &info.location {
                let text = location.leading_comments.as_ref().or(location.trailing_comments.as_ref());
                if let Some(text) = text {
                    comments.insert((file.name().to_owned(), location.path.clone()), tidy(text));
                }
            }
        }
        Self(comments)
    }

    fn get(&self, file: &FileDescriptor, path: &[i32]) -> Option<String> {
        self.0.get(&(file.name().to_owned(), path.to_owned())).cloned()
    }

    pub fn method(&self, method: &MethodDescriptor) -> Option<String> {
        self.get(&method.parent_file(), method.path())
    }

    pub fn service(&self, service: &ServiceDescriptor) -> Option<String> {
        self.get(&service.parent_file(), service.path())
    }

    pub fn field(&self, field: &FieldDescriptor) -> Option<String> {
        self.get(&field.parent_message().parent_file(), field.path())
    }
}

/// A comment without its line breaks, which only the width of the source asked for. Empty lines between
/// paragraphs and lists stay.
fn tidy(comment: &str) -> String {
    let mut text = String::with_capacity(comment.len());
    for line in comment.trim().lines() {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let goes_on = !(line.is_empty() || line.starts_with([' ', '-', '*']) || text.ends_with('\n'));
        if !text.is_empty() {
            text.push(if goes_on { ' ' } else { '\n' });
        }
        text.push_str(line);
    }
    text
}

/// Makes schemas and collects the components that they refer to.
#[derive(Debug, Default)]
pub struct Schemas {
    pub comments: Comments,
    components: BTreeMap<String, Value>,
}

impl Schemas {
    pub fn new(comments: Comments) -> Self {
        Self { comments, components: BTreeMap::new() }
    }

    /// The components collected so far.
    pub fn into_components(self) -> Map<String, Value> {
        self.components.into_iter().collect()
    }

    /// The schema of a field's value, with its comment.
    pub fn field(&mut self, field: &FieldDescriptor) -> Value {
        let mut schema = self.bare_field(field);
        if let Some(comment) = self.comments.field(field) {
            schema["description"] = comment.into();
        }
        schema
    }

    fn bare_field(&mut self, field: &FieldDescriptor) -> Value {
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let value = self.kind(&entry.map_entry_value_field().kind());
            return json!({"type": "object", "additionalProperties": value});
        }
        let kind = self.kind(&field.kind());
        if field.is_list() { json!({"type": "array", "items": kind}) } else { kind }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => {
                json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX})
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"})
            }
            Kind::Uint64 | Kind::Fixed64 => {
                json!({"type": "string", "format": "uint64", "pattern": "^[0-9]+$"})
            }
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Enum(kind) => self.enumeration(kind),
            Kind::Message(message) => self.message(message),
        }
    }

    /// The schema of a message: a reference, or for well-known types their JSON form.
    pub fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(known) = self.well_known(message) {
            return known;
        }
        let name = message.full_name().to_owned();
        if !self.components.contains_key(&name) {
            // Taken before its fields are looked at, which may lead back here.
            self.components.insert(name.clone(), Value::Null);
            let schema = self.object(message, &[]);
            self.components.insert(name.clone(), schema);
        }
        reference(&name)
    }

    /// The schema of a message without some of its fields.
    pub fn object(&mut self, message: &MessageDescriptor, without: &[FieldDescriptor]) -> Value {
        let mut properties = Map::new();
        for field in message.fields().filter(|field| !without.contains(field)) {
            properties.insert(field.json_name().to_owned(), self.field(&field));
        }
        let mut schema = json!({"type": "object", "properties": properties});
        let comment = self.comments.get(&message.parent_file(), message.path());
        let oneofs: Vec<Vec<String>> = message
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic())
            .map(|oneof| oneof.fields().map(|field| field.json_name().to_owned()).collect())
            .collect();
        let choices = oneofs.iter().map(|names| format!("At most one of `{}` is set.", names.join("`, `")));
        let description: Vec<String> = comment.into_iter().chain(choices).collect();
        if !description.is_empty() {
            schema["description"] = description.join("\n\n").into();
        }
        // JSON schema could say this only with a `oneOf` of all combinations; the page makes examples with it.
        if !oneofs.is_empty() {
            schema["x-oneofs"] = oneofs.into();
        }
        schema
    }

    fn enumeration(&mut self, kind: &EnumDescriptor) -> Value {
        if kind.full_name() == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        let name = kind.full_name().to_owned();
        if !self.components.contains_key(&name) {
            let file = kind.parent_file();
            let names: Vec<String> = kind.values().map(|value| value.name().to_owned()).collect();
            let mut lines: Vec<String> = self.comments.get(&file, kind.path()).into_iter().collect();
            lines.extend(kind.values().filter_map(|value| {
                let comment = self.comments.get(&file, value.path())?;
                Some(format!("`{}`: {comment}", value.name()))
            }));
            let mut schema = json!({"type": "string", "enum": names});
            if !lines.is_empty() {
                schema["description"] = lines.join("\n\n").into();
            }
            self.components.insert(name.clone(), schema);
        }
        reference(&name)
    }

    fn well_known(&mut self, message: &MessageDescriptor) -> Option<Value> {
        let name = message.full_name().strip_prefix("google.protobuf.")?;
        Some(match name {
            "Timestamp" => json!({"type": "string", "format": "date-time"}),
            "Duration" => {
                json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?s$", "examples": ["1.5s"]})
            }
            "FieldMask" => json!({"type": "string", "examples": ["title,price.minorUnits"]}),
            "Struct" => json!({"type": "object"}),
            "Value" => json!({}),
            "ListValue" => json!({"type": "array", "items": {}}),
            "Empty" => json!({"type": "object", "maxProperties": 0}),
            "Any" => {
                json!({"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}})
            }
            _ if json::is_wrapper(message.full_name()) => {
                self.kind(&message.get_field_by_name("value")?.kind())
            }
            _ => return None,
        })
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_keeps_its_paragraphs_and_lists_and_loses_the_breaks_of_its_lines() {
        assert_eq!(tidy(" One\n two.\n\n Three:\n - a\n - b\n"), "One two.\n\nThree:\n- a\n- b");
        assert_eq!(tidy(" One.\n"), "One.");
    }
}
