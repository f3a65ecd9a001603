//! The OpenAPI 3.1 document of all routes, made once at the start from the same bindings that answer requests,
//! so that the two cannot differ. Summaries and descriptions are the comments of the proto files.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::Options;
use crate::binding::{Binding, BodyRule, FieldPath, Role};
use crate::json;
use crate::problem::PROBLEM_JSON;
use crate::schema::{Comments, Schemas};
use crate::template::{Segment, Variable};

/// How deep fields of fields are told as query parameters. Deeper ones work, but are not listed.
const QUERY_DEPTH: usize = 3;

/// The document.
pub fn document(options: &Options, pool: &DescriptorPool, bindings: &[Binding]) -> Value {
    let mut schemas = Schemas::new(Comments::of(pool));
    let mut paths = Paths::default();
    let mut tags = BTreeMap::new();
    for binding in bindings {
        let service = binding.rpc.parent_service();
        tags.entry(service.name().to_owned()).or_insert_with(|| schemas.comments.service(service));
        paths.add(binding, &mut schemas);
    }
    let tags: Vec<Value> = tags
        .into_iter()
        .map(|(name, about)| match about {
            Some(about) => json!({"name": name, "description": about}),
            None => json!({"name": name}),
        })
        .collect();
    let mut components = schemas.into_components();
    components.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {"title": options.title, "version": options.version},
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths.items,
        "components": {
            "schemas": components,
            "responses": problem_responses(),
            "securitySchemes": security_schemes(),
        },
    })
}

#[derive(Default)]
struct Paths {
    items: BTreeMap<String, Map<String, Value>>,
    /// Path and parameter names by shape: OpenAPI takes `/a/{x}` and `/a/{y}` for the same path.
    shapes: BTreeMap<String, (String, Vec<String>)>,
    operation_ids: BTreeSet<String>,
}

impl Paths {
    fn add(&mut self, binding: &Binding, schemas: &mut Schemas) {
        let own = wildcard_names(binding);
        let shape = written(binding, &vec![String::new(); own.len()]);
        let (path, names) =
            self.shapes.entry(shape).or_insert_with(|| (written(binding, &own), own.clone())).clone();
        let operation = self.operation(binding, &names, schemas);
        self.items.entry(path).or_default().insert(binding.method.as_str().to_lowercase(), operation);
    }

    fn operation(&mut self, binding: &Binding, names: &[String], schemas: &mut Schemas) -> Value {
        let service = binding.rpc.parent_service();
        let mut operation = json!({
            "operationId": self.operation_id(&format!("{}_{}", service.name(), binding.rpc.name())),
            "tags": [service.name()],
            "parameters": parameters(binding, names, schemas),
            "responses": responses(binding, schemas),
            "security": security(binding.role),
            "x-grpc-method": binding.rpc.full_name(),
        });
        if let Some(comment) = schemas.comments.method(&binding.rpc) {
            operation["summary"] = first_sentence(&comment).into();
            operation["description"] = comment.into();
        }
        if binding.rpc.method_descriptor_proto().options.as_ref().is_some_and(|options| options.deprecated())
        {
            operation["deprecated"] = true.into();
        }
        if let Some(schema) = body_schema(binding, schemas) {
            let required = matches!(binding.body, BodyRule::Field(_));
            operation["requestBody"] =
                json!({"required": required, "content": {"application/json": {"schema": schema}}});
        }
        operation
    }

    fn operation_id(&mut self, base: &str) -> String {
        let mut id = base.to_owned();
        let mut number = 2;
        while !self.operation_ids.insert(id.clone()) {
            id = format!("{base}_{number}");
            number += 1;
        }
        id
    }
}

fn first_sentence(comment: &str) -> String {
    let line = comment.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    match line.split_once(". ") {
        Some((sentence, _)) => sentence.to_owned(),
        None => line.trim_end_matches('.').to_owned(),
    }
}

/// A parameter name for each wildcard of the template: the variable's own, numbered when it has several.
fn wildcard_names(binding: &Binding) -> Vec<String> {
    let template = &binding.template;
    let covers =
        |variable: &Variable, at: usize| variable.start <= at && variable.end.is_none_or(|end| at < end);
    let wildcards: Vec<usize> = (0..template.segments.len())
        .filter(|at| !matches!(template.segments[*at], Segment::Literal(_)))
        .collect();
    wildcards
        .iter()
        .enumerate()
        .map(|(index, at)| match template.variables.iter().find(|variable| covers(variable, *at)) {
            None => format!("segment_{}", index + 1),
            Some(variable) => {
                let own: Vec<&usize> = wildcards.iter().filter(|other| covers(variable, **other)).collect();
                match own.iter().position(|other| *other == at) {
                    Some(position) if own.len() > 1 => format!("{}_{}", variable.field, position + 1),
                    _ => variable.field.clone(),
                }
            }
        })
        .collect()
}

fn written(binding: &Binding, names: &[String]) -> String {
    let mut names = names.iter();
    let mut path = String::new();
    for segment in &binding.template.segments {
        path.push('/');
        match segment {
            Segment::Literal(text) => path.push_str(text),
            _ => path.push_str(&format!("{{{}}}", names.next().map_or("", String::as_str))),
        }
    }
    if let Some(verb) = &binding.template.verb {
        path.push(':');
        path.push_str(verb);
    }
    path
}

fn parameters(binding: &Binding, names: &[String], schemas: &mut Schemas) -> Vec<Value> {
    let mut parameters = Vec::new();
    for (name, own) in names.iter().zip(wildcard_names(binding)) {
        let variable =
            binding.template.variables.iter().zip(&binding.variables).find(|(known, _)| known.field == own);
        let mut parameter =
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
        if let Some((_, fields)) = variable {
            parameter = described(parameter, fields, schemas);
        }
        parameters.push(parameter);
    }
    if !matches!(binding.body, BodyRule::Whole) {
        query_parameters(binding, &binding.input, &mut Vec::new(), schemas, &mut parameters);
    }
    for (there, name, about) in [
        (
            binding.request_id.is_some(),
            "Idempotency-Key",
            "The field requestId: a repetition with the same key and the same request gets the first answer.",
        ),
        (
            binding.if_match.is_some(),
            "If-Match",
            "The header ETag of a read or a change, or the field etag: refused with 412 when the resource has \
                changed since.",
        ),
        (
            binding.etag.is_some() && binding.method.is_safe(),
            "If-None-Match",
            "Answered with 304 when the answer still has one of these entity tags.",
        ),
        (
            binding.min_position.is_some(),
            "X-Min-Position",
            "The field minPosition: waits until the answer includes what led to this position.",
        ),
        (binding.resume_after.is_some(), "Last-Event-ID", "Continues after the event with this id."),
    ] {
        if there {
            parameters.push(
                json!({"name": name, "in": "header", "description": about, "schema": {"type": "string"}}),
            );
        }
    }
    parameters
}

fn described(mut parameter: Value, fields: &FieldPath, schemas: &mut Schemas) -> Value {
    if let Some(field) = fields.last() {
        let mut schema = schemas.field(field);
        if let Some(about) = schema.as_object_mut().and_then(|schema| schema.remove("description")) {
            parameter["description"] = about;
        }
        parameter["schema"] = schema;
    }
    parameter
}

fn query_parameters(
    binding: &Binding,
    message: &MessageDescriptor,
    outer: &mut FieldPath,
    schemas: &mut Schemas,
    parameters: &mut Vec<Value>,
) {
    for field in message.fields() {
        if outer.is_empty() && matches!(&binding.body, BodyRule::Field(body) if *body == field) {
            continue;
        }
        outer.push(field.clone());
        if binding.variables.contains(outer) {
            outer.pop();
            continue;
        }
        if json::expected(&field).is_some() {
            let name = outer.iter().map(FieldDescriptor::json_name).collect::<Vec<_>>().join(".");
            parameters.push(described(json!({"name": name, "in": "query"}), outer, schemas));
        } else if let (Kind::Message(inner), false, true) =
            (field.kind(), field.is_list() || field.is_map(), outer.len() < QUERY_DEPTH)
        {
            query_parameters(binding, &inner, outer, schemas, parameters);
        }
        outer.pop();
    }
}

fn body_schema(binding: &Binding, schemas: &mut Schemas) -> Option<Value> {
    match &binding.body {
        BodyRule::None => None,
        BodyRule::Field(field) => Some(schemas.field(field)),
        BodyRule::Whole => {
            let in_path: Vec<FieldDescriptor> =
                binding.variables.iter().filter(|path| path.len() == 1).flatten().cloned().collect();
            Some(if in_path.is_empty() {
                schemas.message(&binding.input)
            } else {
                schemas.object(&binding.input, &in_path)
            })
        }
    }
}

fn responses(binding: &Binding, schemas: &mut Schemas) -> Value {
    let answer = match &binding.response_body {
        Some(field) => schemas.field(field),
        None => schemas.message(&binding.output),
    };
    let ok = if binding.is_stream() {
        json!({
            "description": "Server-sent events; the data of each is one message. `end` is the last event of a \
                complete stream, `error` carries a problem document.",
            "content": {"text/event-stream": {"schema": {
                "type": "string", "contentMediaType": "application/json", "contentSchema": answer,
            }}},
        })
    } else {
        let mut headers = Map::new();
        for (there, name, about) in [
            (
                binding.etag.is_some(),
                "ETag",
                if binding.method.is_safe() {
                    "Entity tag of this answer, for If-None-Match and If-Match."
                } else {
                    "The field etag of the changed resource, for If-Match."
                },
            ),
            (
                !binding.method.is_safe(),
                "X-Position",
                "The position that this change reached, for X-Min-Position.",
            ),
            (
                binding.request_id.is_some(),
                "Idempotency-Replayed",
                "true when this is the stored answer of an earlier request.",
            ),
        ] {
            if there {
                headers.insert(name.to_owned(), json!({"description": about, "schema": {"type": "string"}}));
            }
        }
        json!({"description": "Done.", "headers": headers, "content": {"application/json": {"schema": answer}}})
    };
    let mut responses = Map::from_iter([("200".to_owned(), ok)]);
    let mut refer = |status: &str, there: bool| {
        if there {
            responses.insert(status.to_owned(), json!({"$ref": format!("#/components/responses/{status}")}));
        }
    };
    refer("304", binding.etag.is_some() && binding.method.is_safe());
    refer("400", true);
    refer("401", binding.role != Role::Public);
    refer("403", binding.role != Role::Public);
    refer("404", !binding.variables.is_empty());
    refer("409", !binding.method.is_safe());
    refer("412", binding.if_match.is_some());
    refer("422", !binding.method.is_safe());
    refer("429", true);
    refer("503", true);
    refer("default", true);
    Value::Object(responses)
}

fn problem_responses() -> Value {
    let mut responses = Map::new();
    for (status, about) in [
        ("400", "The request does not fit the schema; `violations` names the fields."),
        ("401", "A credential is missing or not valid."),
        ("403", "The credential does not allow this."),
        ("404", "There is no such thing."),
        ("409", "It exists already, or a race was lost and the request may be repeated."),
        ("412", "The resource has changed: its entity tag is not that of If-Match."),
        ("422", "A rule forbids this, or the Idempotency-Key was used for another request."),
        (
            "429",
            "Too much: the client's quota is used up (`RATE_LIMITED`), or the service's own limit reached.",
        ),
        ("503", "Not available at the moment; `Retry-After` says when to try again."),
        ("default", "Any other failure."),
    ] {
        let content = json!({PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}});
        let mut response = json!({"description": about, "content": content});
        let mut header = |name: &str, about: &str| {
            response["headers"][name] = json!({"description": about, "schema": {"type": "string"}});
        };
        if ["429", "503"].contains(&status) {
            header("Retry-After", "Seconds after which the request may be sent again.");
        }
        if status == "429" {
            header(
                "RateLimit-Policy",
                "The quota that is used up, when it was the client's: `q` requests in `w` seconds.",
            );
            header(
                "RateLimit",
                "What is left of it, `r`, and after how many seconds, `t`, it is whole again.",
            );
        }
        responses.insert(status.to_owned(), response);
    }
    responses.insert("304".to_owned(), json!({"description": "Not changed since If-None-Match."}));
    Value::Object(responses)
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string", "format": "uri-reference", "description": "Names the request."},
            "reason": {"type": "string", "description": "What went wrong, for programs; unique within the domain."},
            "domain": {"type": "string"},
            "violations": {"type": "array", "items": {
                "type": "object",
                "required": ["field", "description"],
                "properties": {
                    "field": {
                        "type": "string",
                        "description": "Path of the field, with names as in the proto files, such as \
                            `lines[0].unit_price`; the name of a header; or empty for the body as a whole.",
                    },
                    "description": {"type": "string"},
                },
            }},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    })
}

fn security(role: Role) -> Value {
    match role {
        Role::Public => json!([]),
        Role::Shopper => json!([{"orderToken": []}, {"operatorToken": []}]),
        Role::Operator => json!([{"operatorToken": []}]),
        Role::Service => json!([{"serviceToken": []}, {"operatorToken": []}]),
    }
}

fn security_schemes() -> Value {
    let bearer = |about: &str| json!({"type": "http", "scheme": "bearer", "description": about});
    json!({
        "orderToken": bearer("The access token that came with the thing asked about, such as an order."),
        "operatorToken": bearer("The token of the people who run the shop."),
        "serviceToken": bearer("The token of the shop's other services."),
    })
}
