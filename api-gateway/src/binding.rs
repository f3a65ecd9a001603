//! What the annotations of a descriptor set say: for every `google.api.http` rule its method, path template,
//! body, and the fields that headers are mapped to, all resolved to descriptors once, at the start. It does
//! not look at requests.

use std::sync::Arc;

use http::Method;
use http::uri::PathAndQuery;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, OneofDescriptor, Value,
};

use crate::GatewayError;
use crate::json;
use crate::template::Template;
use crate::wire::{Plans, Transcoder};

const HTTP_OPTION: &str = "google.api.http";
const ROLE_OPTION: &str = "shop.options.v1.role";
const RATE_CLASS_OPTION: &str = "shop.options.v1.rate_class";

/// The fields from a message to one of its, from the outside in. Never empty.
pub type FieldPath = Vec<FieldDescriptor>;

/// Where a request's body goes.
#[derive(Debug, Clone)]
pub enum BodyRule {
    None,
    Whole,
    Field(FieldDescriptor),
}

/// Who may call an RPC, as its method option says. The gateway only documents it; services check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Public,
    Shopper,
    Operator,
    Service,
}

/// Which of a client's quotas a request is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateClass {
    Reads,
    Changes,
    Search,
    Orders,
}

/// One REST route of one RPC.
#[derive(Debug, Clone)]
pub struct Binding {
    pub rpc: MethodDescriptor,
    pub grpc_path: PathAndQuery,
    pub method: Method,
    pub template: Template,
    /// The template as written; it names the route in metrics and logs.
    pub label: Arc<str>,
    /// The fields of `template.variables`, in their order.
    pub variables: Vec<FieldPath>,
    pub input: MessageDescriptor,
    pub output: MessageDescriptor,
    /// Writes answers that are no streams.
    pub transcoder: Transcoder,
    pub body: BodyRule,
    pub response_body: Option<FieldDescriptor>,
    pub role: Role,
    pub rate_class: RateClass,
    /// Request field of the header `Idempotency-Key`.
    pub request_id: Option<FieldDescriptor>,
    /// Request field of the header `If-Match`.
    pub if_match: Option<FieldPath>,
    /// Request field of the header `X-Min-Position`.
    pub min_position: Option<FieldDescriptor>,
    /// Request field of the header `Last-Event-ID`; in streams only.
    pub resume_after: Option<FieldDescriptor>,
    /// Response field of the header `ETag`.
    pub etag: Option<FieldPath>,
    /// Response field of the header `X-Position`, unless the service sends it as metadata.
    pub position: Option<FieldDescriptor>,
    /// Field of each streamed message that is its SSE id.
    pub event_id: Option<FieldDescriptor>,
    /// The oneof of each streamed message whose set member is its SSE event name.
    pub event_kind: Option<OneofDescriptor>,
}

impl Binding {
    /// Whether answers are server-sent events.
    pub fn is_stream(&self) -> bool {
        self.rpc.is_server_streaming()
    }

    /// The full name of the service.
    pub fn service(&self) -> &str {
        self.rpc.parent_service().full_name()
    }
}

/// All bindings of a descriptor set, in the order of its files.
///
/// # Errors
/// Names the RPC whose annotation does not fit its messages.
pub fn bindings(pool: &DescriptorPool) -> Result<Vec<Binding>, GatewayError> {
    let Some(http) = pool.get_extension_by_name(HTTP_OPTION) else { return Err(GatewayError::NoAnnotations) };
    let role = pool.get_extension_by_name(ROLE_OPTION);
    let rate_class = pool.get_extension_by_name(RATE_CLASS_OPTION);
    let all = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let plans = Plans::of(all.map(|rpc| rpc.output()));
    let mut bindings = Vec::new();
    for rpc in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let options = rpc.options();
        if !options.has_extension(&http) {
            continue;
        }
        let invalid = |problem: String| GatewayError::Annotation { rpc: rpc.full_name().to_owned(), problem };
        if rpc.is_client_streaming() {
            return Err(invalid("a client stream has no REST form".to_owned()));
        }
        let role = role.as_ref().and_then(|role| role_of(&options, role));
        let role = role.ok_or_else(|| invalid(format!("it names no role with ({ROLE_OPTION})")))?;
        let extension = options.get_extension(&http);
        let rule = extension.as_message().ok_or_else(|| invalid("the option is no message".to_owned()))?;
        let rate_class = rate_class.as_ref().and_then(|class| rate_class_of(&options, class));
        bindings.push(binding(&rpc, rule, role, rate_class, &plans).map_err(invalid)?);
        for additional in messages(rule, "additional_bindings") {
            bindings.push(binding(&rpc, &additional, role, rate_class, &plans).map_err(invalid)?);
        }
    }
    Ok(bindings)
}

fn role_of(options: &DynamicMessage, role: &ExtensionDescriptor) -> Option<Role> {
    let kind = role.kind();
    let number = options.get_extension(role).as_enum_number()?;
    match kind.as_enum()?.get_value(number)?.name() {
        "ROLE_PUBLIC" => Some(Role::Public),
        "ROLE_SHOPPER" => Some(Role::Shopper),
        "ROLE_OPERATOR" => Some(Role::Operator),
        "ROLE_SERVICE" => Some(Role::Service),
        _ => None,
    }
}

/// The class that an RPC names; none is for its method to tell.
fn rate_class_of(options: &DynamicMessage, class: &ExtensionDescriptor) -> Option<RateClass> {
    let kind = class.kind();
    let number = options.get_extension(class).as_enum_number()?;
    match kind.as_enum()?.get_value(number)?.name() {
        "RATE_CLASS_SEARCH" => Some(RateClass::Search),
        "RATE_CLASS_ORDER" => Some(RateClass::Orders),
        _ => None,
    }
}

fn binding(
    rpc: &MethodDescriptor,
    rule: &DynamicMessage,
    role: Role,
    rate_class: Option<RateClass>,
    plans: &Arc<Plans>,
) -> Result<Binding, String> {
    let (method, label) = pattern(rule)?;
    let template = Template::parse(&label).map_err(|error| format!("{label}: {error}"))?;
    let (input, output) = (rpc.input(), rpc.output());
    let variables = template
        .variables
        .iter()
        .map(|variable| {
            resolve(&input, &variable.field)
                .filter(|path| {
                    path.last().is_some_and(|field| !field.is_list() && json::expected(field).is_some())
                })
                .ok_or_else(|| {
                    format!("{label}: {{{}}} names no single field of {}", variable.field, input.name())
                })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let body = body_rule(rule, &input)?;
    let response_body = match text(rule, "response_body").as_str() {
        "" => None,
        name => Some(output.get_field_by_name(name).ok_or_else(|| format!("no response field {name}"))?),
    };
    let stream = rpc.is_server_streaming();
    let event_kind = output.oneofs().find(|oneof| stream && !oneof.is_synthetic());
    let grpc_path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
    let by_method = if method.is_safe() { RateClass::Reads } else { RateClass::Changes };
    Ok(Binding {
        rpc: rpc.clone(),
        grpc_path: PathAndQuery::try_from(grpc_path).map_err(|error| error.to_string())?,
        method,
        template,
        label: label.into(),
        variables,
        role,
        rate_class: rate_class.unwrap_or(by_method),
        request_id: single_string(&input, "request_id"),
        if_match: request_etag(&input, &body),
        min_position: input.get_field_by_name("min_position").filter(|field| field.kind() == Kind::String),
        resume_after: stream.then(|| first_field(&input, &["after", "cursor"])).flatten(),
        etag: response_etag(&output).filter(|_| !stream),
        position: single_string(&output, "position"),
        event_id: stream.then(|| first_field(&output, &["cursor", "event_id"])).flatten(),
        event_kind,
        transcoder: Transcoder::new(plans, output.clone()).ok_or("no plan for its answer")?,
        input,
        output,
        body,
        response_body,
    })
}

fn pattern(rule: &DynamicMessage) -> Result<(Method, String), String> {
    for (field, method) in [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ] {
        if rule.has_field_by_name(field) {
            return Ok((method, text(rule, field)));
        }
    }
    let custom = rule.get_field_by_name("custom").and_then(|value| value.as_message().cloned());
    let custom = custom.filter(|_| rule.has_field_by_name("custom")).ok_or("it names no method and path")?;
    let kind = text(&custom, "kind");
    let method = Method::from_bytes(kind.as_bytes()).map_err(|_| format!("{kind} is no HTTP method"))?;
    match method {
        Method::HEAD | Method::OPTIONS | Method::CONNECT | Method::TRACE => {
            Err(format!("{kind} is not for RPCs"))
        }
        _ => Ok((method, text(&custom, "path"))),
    }
}

fn body_rule(rule: &DynamicMessage, input: &MessageDescriptor) -> Result<BodyRule, String> {
    match text(rule, "body").as_str() {
        "" => Ok(BodyRule::None),
        "*" => Ok(BodyRule::Whole),
        name => {
            let field = input.get_field_by_name(name);
            field
                .map(BodyRule::Field)
                .ok_or_else(|| format!("the body names no field of {}: {name}", input.name()))
        }
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn messages(message: &DynamicMessage, field: &str) -> Vec<DynamicMessage> {
    let value = message.get_field_by_name(field);
    let list = value.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    list.iter().filter_map(Value::as_message).cloned().collect()
}

/// Follows a path of field names, each as in the proto file or as in JSON, with dots between them.
pub fn resolve(message: &MessageDescriptor, path: &str) -> Option<FieldPath> {
    let mut fields: FieldPath = Vec::new();
    let mut message = message.clone();
    for name in path.split('.') {
        if let Some(outer) = fields.last() {
            message = outer.kind().as_message().filter(|_| !outer.is_list() && !outer.is_map())?.clone();
        }
        fields.push(message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))?);
    }
    Some(fields)
}

fn single_string(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).filter(json::is_single_string)
}

fn first_field(message: &MessageDescriptor, names: &[&str]) -> Option<FieldDescriptor> {
    let mut fields = names.iter().filter_map(|name| message.get_field_by_name(name));
    fields.find(|field| !field.is_list() && json::expected(field).is_some())
}

fn request_etag(input: &MessageDescriptor, body: &BodyRule) -> Option<FieldPath> {
    if let Some(etag) = single_string(input, "etag") {
        return Some(vec![etag]);
    }
    let BodyRule::Field(resource) = body else { return None };
    let etag = single_string(resource.kind().as_message()?, "etag")?;
    (!resource.is_list()).then(|| vec![resource.clone(), etag])
}

fn response_etag(output: &MessageDescriptor) -> Option<FieldPath> {
    if let Some(etag) = single_string(output, "etag") {
        return Some(vec![etag]);
    }
    let mut resources =
        output.fields().filter(|field| !field.is_list() && !field.is_map()).filter_map(|field| {
            let etag = single_string(field.kind().as_message()?, "etag")?;
            Some(vec![field, etag])
        });
    let only = resources.next()?;
    resources.next().is_none().then_some(only)
}
