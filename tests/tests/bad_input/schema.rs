//! Every RPC of the shop with its REST route, and every field of its request, as the descriptors have them. What is
//! added to a proto file is here at once.

use std::collections::BTreeSet;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor,
};
use serde_json::Value;

/// The services, and whose port answers for them. Operations are offered at every port.
const PORTS: [(&str, &str); 6] = [
    ("shop.inventory.v1.InventoryService", "inventory"),
    ("shop.operations.v1.OperationsService", "payment"),
    ("shop.order.v1.OrderService", "order"),
    ("shop.payment.v1.PaymentService", "payment"),
    ("shop.product.v1.ProductService", "product"),
    ("shop.saga.v1.SagaService", "saga"),
];

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Public,
    Shopper,
    Operator,
}

/// The REST side of an RPC.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: String,
    /// With variables in braces, each the name of a field.
    pub template: String,
    /// Whether the rest of the message is a JSON body; else it is the query.
    pub body: bool,
}

/// One RPC.
#[derive(Debug, Clone)]
pub struct Rpc {
    /// `shop.order.v1.OrderService.PlaceOrder`.
    pub name: String,
    /// `/shop.order.v1.OrderService/PlaceOrder`.
    pub path: String,
    pub port: &'static str,
    pub role: Role,
    pub streams: bool,
    pub input: MessageDescriptor,
    pub route: Option<Route>,
}

/// One field of a request, however deep.
#[derive(Debug, Clone)]
pub struct Field {
    /// `shop.order.v1.PlaceOrderRequest.lines.quantity`.
    pub path: String,
    /// `lines[0].quantity`, as a violation names the field of the first entry.
    pub place: String,
    /// `/lines/0/quantity`, where the JSON form has it.
    pub pointer: String,
    pub descriptor: FieldDescriptor,
}

impl Field {
    /// Its name in JSON.
    pub fn json_name(&self) -> &str {
        self.descriptor.json_name()
    }

    /// Whether it stands in the request message itself.
    pub fn is_outermost(&self) -> bool {
        self.pointer.matches('/').count() == 1
    }
}

/// All RPCs of the shop.
///
/// # Panics
/// When the protos have a service that these tests do not know.
pub fn rpcs() -> Vec<Rpc> {
    let pool = DescriptorPool::decode(contracts::FILE_DESCRIPTOR_SET).expect("the descriptors are whole");
    let declared: BTreeSet<String> = pool.services().map(|service| service.full_name().to_owned()).collect();
    let known: BTreeSet<String> = PORTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(declared, known, "a service of the protos is not called here");
    let option = |name| pool.get_extension_by_name(name).expect("the protos declare their options");
    let (http, role) = (option("google.api.http"), option("shop.options.v1.role"));
    let mut rpcs = Vec::new();
    for service in pool.services() {
        let (_, port) = PORTS.iter().find(|(name, _)| *name == service.full_name()).expect("compared above");
        rpcs.extend(service.methods().map(|method| rpc(&method, port, &http, &role)));
    }
    rpcs
}

fn rpc(
    method: &MethodDescriptor,
    port: &'static str,
    http: &ExtensionDescriptor,
    role: &ExtensionDescriptor,
) -> Rpc {
    let options = method.options();
    let rule = options.has_extension(http).then(|| options.get_extension(http).into_owned());
    Rpc {
        name: method.full_name().to_owned(),
        path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
        port,
        role: match options.get_extension(role).as_enum_number() {
            Some(1) => Role::Public,
            Some(2) => Role::Shopper,
            Some(3) => Role::Operator,
            other => panic!("{} has role {other:?}, for which there are no cases", method.full_name()),
        },
        streams: method.is_server_streaming(),
        input: method.input(),
        route: rule.and_then(|rule| rule.as_message().map(route)),
    }
}

fn route(rule: &DynamicMessage) -> Route {
    let text = |name: &str| {
        let value = rule.get_field_by_name(name).expect("HttpRule has it");
        value.as_str().expect("it is a text").to_owned()
    };
    let method = ["get", "post", "patch"].into_iter().find(|method| rule.has_field_by_name(method));
    let method = method.expect("the shop's routes are GET, POST and PATCH");
    let body = text("body");
    assert!(["", "*"].contains(&body.as_str()), "there are no cases for a body that is one field");
    Route { method: method.to_uppercase(), template: text(method), body: body == "*" }
}

impl Route {
    /// The names of the variables in the path.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.template.split('{').skip(1).filter_map(|rest| rest.split('}').next())
    }
}

impl Rpc {
    /// Every field of the request, the outer before the inner.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        collect(&self.input, self.input.full_name(), "", "", &mut fields);
        fields
    }

    /// Whether the field is a variable of the route's path.
    pub fn in_path(&self, field: &Field) -> bool {
        let name = field.descriptor.name();
        let route = self.route.as_ref();
        route.is_some_and(|route| field.is_outermost() && route.variables().any(|variable| variable == name))
    }

    /// Whether the route has the field in its body.
    pub fn in_body(&self, field: &Field) -> bool {
        self.route.as_ref().is_some_and(|route| route.body) && !self.in_path(field)
    }

    /// Whether the route has the field in its query.
    pub fn in_query(&self, field: &Field) -> bool {
        self.route.as_ref().is_some_and(|route| !route.body) && !self.in_path(field)
    }

    /// Whether it changes something: those requests can be repeated.
    pub fn is_mutation(&self) -> bool {
        self.input.get_field_by_name("request_id").is_some()
    }

    /// The request as gRPC has it; `None` for JSON that is no such message.
    pub fn message(&self, json: &Value) -> Option<DynamicMessage> {
        DynamicMessage::deserialize(self.input.clone(), json.clone()).ok()
    }
}

fn collect(message: &MessageDescriptor, path: &str, place: &str, pointer: &str, fields: &mut Vec<Field>) {
    for descriptor in message.fields() {
        let dot = if place.is_empty() { "" } else { "." };
        let field = Field {
            path: format!("{path}.{}", descriptor.name()),
            place: format!("{place}{dot}{}", descriptor.name()),
            pointer: format!("{pointer}/{}", descriptor.json_name()),
            descriptor,
        };
        let inner = match field.descriptor.kind() {
            Kind::Message(inner) if !inner.full_name().starts_with("google.") => Some(inner),
            _ => None,
        };
        let inner = inner.filter(|_| !field.descriptor.is_map());
        let (list_place, list_pointer) = if field.descriptor.is_list() { ("[0]", "/0") } else { ("", "") };
        let (path, place) = (field.path.clone(), format!("{}{list_place}", field.place));
        let pointer = format!("{}{list_pointer}", field.pointer);
        fields.push(field);
        if let Some(inner) = inner {
            collect(&inner, &path, &place, &pointer, fields);
        }
    }
}
