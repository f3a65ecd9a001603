//! Which rule each field of each request has. A field that is not here fails the test, so that none can be forgotten;
//! a line whose field is gone fails it, too.

use Presence::{Optional, Required};
use Rule::{
    Currency, Cursor, Enum, Etag, Flag, Id, List, Map, Mask, Member, Message, MinPosition, Nonzero, Number,
    PageSize, PageToken, RequestId, Time,
};

use crate::rules::{Entries, Presence, Rule, Text, Told};
use crate::stage::{EXPENSIVE, TAKEN_SKU};

const SKU: Text = Text::of(100).bytes(240).required().unframed().may_hold_cards();
const HANDLE: Text = Text::of(255).bytes(240).may_hold_cards().not(&[
    "Upper",
    "two words",
    "a/b",
    "a?b",
    "a#b",
    "a%b",
    "a\\b",
]);
/// Catalogue data on one line.
const NAME: Text = Text::of(255).unframed().may_hold_cards();
const FILLED: Text = NAME.required();
const DESCRIPTION: Text =
    Text { max_bytes: Some(512 * 1024), ..Text::of(512 * 1024).breaks().may_hold_cards() };
const CATEGORY: Text = FILLED.not(&["Home > Kitchen", ">"]);
const URL: Text = Text::of(2_048).may_hold_cards().beginning("https://images.example/").not(&[
    "",
    "javascript:alert(1)",
    "data:text/html,x",
    "//images.example/a",
    "ftp://images.example/a",
    "https://images.example/two words",
]);
const CATEGORIES: Rule = List(0, 10, Entries::Texts(CATEGORY));
const TAGS: Rule = List(0, 250, Entries::Texts(FILLED));
const IMAGES: Rule = List(0, 250, Entries::Messages);
const ALT_TEXT: Rule = Rule::Text(Text::of(512).unframed().may_hold_cards());
const ATTRIBUTES: Rule = Map(100, FILLED, Text::of(1_000).unframed().may_hold_cards());
const VARIANTS: Rule = List(1, 2_048, Entries::Messages);
const NEW_SKU: Rule = Rule::Text(SKU.unknown(TAKEN_SKU, Told::Rule("SKU_TAKEN")));
const OPTIONS: Rule = List(0, 3, Entries::Messages);
const PRICE: Rule = Number(0, 100_000_000_000, None);
const BARCODE: Rule = Rule::Text(Text::of(64).unframed().may_hold_cards());
const FILTER: Rule =
    Rule::Text(Text { max_bytes: Some(1_020), ..Text::of(1_020).unframed().may_hold_cards() });
/// What shoppers type.
const QUERY: Text = Text::of(200).may_hold_cards();
/// A value of a filter that takes several.
const CHOSEN: Text =
    Text { max_bytes: Some(1_020), ..Text::of(1_020).required().unframed().may_hold_cards() };
const CHOSEN_OPTION: Text =
    Text { max_bytes: Some(2_041), ..Text::of(2_041).required().unframed().may_hold_cards() }
        .beginning("Size=")
        .not(&["Size"]);
/// What people write to explain themselves.
const REASON: Text = Text::of(200);
const EMAIL: Text = Text::of(254).required().not(&["nobody", "@", "a@", "@b", "two words@mail.example"]);
const ADDRESS: Text = Text::of(100).required();
const COUNTRY: Text = Text::of(2).required().not(&["de", "ZZ", "DEU", "D", "Germany"]);
const CUSTOMER: Text = Text::of(64).not(&["ada@mail.example", "two words", "ä", "a/b"]);
const PAYMENT_TOKEN: Text = Text::of(255).not(&["tok with blanks", "tök"]);
const SAGA_ID: Text = Text::of(100)
    .required()
    .not(&["7", "checkout", "checkout-", "checkout-7", "order-018f0000-0000-7000-8000-000000000000"])
    .unknown("checkout-018f0000-0000-7000-8000-000000000000", Told::NotFound("SAGA_NOT_FOUND"));
const STOCK: Rule = Rule::Text(SKU.unknown("NEVER-RECEIVED", Told::NotFound("UNKNOWN_SKU")));
const PIECES: Rule = Number(1, 1_000_000, None);
const PRODUCT: Rule = Id("PRODUCT_NOT_FOUND");
const ORDER: Rule = Id("ORDER_NOT_FOUND");
/// The name of a subscription or a key: what an operator looks for, which may be anything.
const PARKED: Text = Text { max_bytes: Some(255), ..Text::of(255).may_hold_cards() };
const PARKED_WANTED: Rule =
    Rule::Text(PARKED.required().unknown("nonsense", Told::NotFound("PARKED_MESSAGE_NOT_FOUND")));
const MODEL: Rule = Rule::Text(PARKED.required().unknown("nonsense", Told::NotFound("READ_MODEL_NOT_FOUND")));
const RELAYED_TOPIC: Rule =
    Rule::Text(PARKED.required().unknown("nonsense", Told::NotFound("RELAY_NOT_FOUND")));
const SUBSCRIPTION: Rule =
    Rule::Text(PARKED.required().unknown("nonsense", Told::NotFound("SUBSCRIPTION_NOT_FOUND")));
const PARKED_POSITION: Rule =
    Number(1, i64::MAX, Some((i64::MAX, Told::NotFound("PARKED_MESSAGE_NOT_FOUND"))));

/// By the full path of the field.
pub const RULES: &[(&str, Rule)] = &[
    ("shop.inventory.v1.ReceiveStockRequest.request_id", RequestId),
    ("shop.inventory.v1.ReceiveStockRequest.sku", Rule::Text(SKU)),
    ("shop.inventory.v1.ReceiveStockRequest.quantity", PIECES),
    ("shop.inventory.v1.ReceiveStockRequest.reference", Rule::Text(REASON)),
    ("shop.inventory.v1.AdjustStockRequest.request_id", RequestId),
    ("shop.inventory.v1.AdjustStockRequest.sku", STOCK),
    (
        "shop.inventory.v1.AdjustStockRequest.delta",
        Nonzero(1_000_000, (-1_000_000, Told::Rule("MORE_THAN_ON_HAND"))),
    ),
    ("shop.inventory.v1.AdjustStockRequest.reason", Rule::Text(REASON.required())),
    ("shop.inventory.v1.AdjustStockRequest.etag", Etag),
    ("shop.inventory.v1.GetStockRequest.sku", STOCK),
    ("shop.inventory.v1.GetStockRequest.min_position", MinPosition),
    ("shop.inventory.v1.ListStockRequest.page_size", PageSize),
    ("shop.inventory.v1.ListStockRequest.page_token", PageToken(Some(("shortfallOnly", "true")))),
    ("shop.inventory.v1.ListStockRequest.shortfall_only", Flag),
    ("shop.inventory.v1.ListStockRequest.min_position", MinPosition),
    ("shop.inventory.v1.GetReservationRequest.order_id", Id("UNKNOWN_RESERVATION")),
    ("shop.inventory.v1.GetReservationRequest.min_position", MinPosition),
    ("shop.operations.v1.RefillTopicRequest.topic", RELAYED_TOPIC),
    ("shop.operations.v1.ResumeRelayRequest.topic", RELAYED_TOPIC),
    ("shop.operations.v1.ResumeRelayRequest.position", Number(0, i64::MAX, None)),
    ("shop.operations.v1.GetSubscriptionRequest.subscription", SUBSCRIPTION),
    ("shop.operations.v1.ResumeSubscriptionRequest.subscription", SUBSCRIPTION),
    ("shop.operations.v1.ResumeSubscriptionRequest.from_beginning", Flag),
    ("shop.operations.v1.ResumeSubscriptionRequest.checked", Message(Optional)),
    ("shop.operations.v1.ResumeSubscriptionRequest.checked.incarnation", Number(1, i32::MAX as i64, None)),
    ("shop.operations.v1.ResumeSubscriptionRequest.checked.position", Number(0, i64::MAX, None)),
    ("shop.operations.v1.ListParkedMessagesRequest.subscription", Rule::Text(PARKED)),
    ("shop.operations.v1.ListParkedMessagesRequest.page_size", PageSize),
    ("shop.operations.v1.ListParkedMessagesRequest.page_token", PageToken(None)),
    ("shop.operations.v1.GetParkedMessageRequest.subscription", PARKED_WANTED),
    ("shop.operations.v1.GetParkedMessageRequest.position", PARKED_POSITION),
    ("shop.operations.v1.RedriveParkedMessagesRequest.subscription", PARKED_WANTED),
    ("shop.operations.v1.RedriveParkedMessagesRequest.key", PARKED_WANTED),
    ("shop.operations.v1.DiscardParkedMessageRequest.subscription", PARKED_WANTED),
    ("shop.operations.v1.DiscardParkedMessageRequest.position", PARKED_POSITION),
    ("shop.operations.v1.GetRebuildRequest.model", MODEL),
    ("shop.operations.v1.StartRebuildRequest.model", MODEL),
    ("shop.operations.v1.AbandonRebuildRequest.model", MODEL),
    ("shop.operations.v1.SwitchBackRebuildRequest.model", MODEL),
    ("shop.order.v1.PlaceOrderRequest.request_id", RequestId),
    ("shop.order.v1.PlaceOrderRequest.lines", List(1, 100, Entries::Messages)),
    (
        "shop.order.v1.PlaceOrderRequest.lines.sku",
        Rule::Text(Text { max_bytes: None, ..SKU.unknown("NEVER-SOLD", Told::Rule("UNKNOWN_SKU")) }),
    ),
    ("shop.order.v1.PlaceOrderRequest.lines.quantity", Number(1, 1_000, None)),
    ("shop.order.v1.PlaceOrderRequest.expected_total", Message(Optional)),
    (
        "shop.order.v1.PlaceOrderRequest.expected_total.currency_code",
        Currency(Some(Told::Rule("PRICE_CHANGED"))),
    ),
    (
        "shop.order.v1.PlaceOrderRequest.expected_total.minor_units",
        Number(0, i64::MAX, Some((1, Told::Rule("PRICE_CHANGED")))),
    ),
    ("shop.order.v1.PlaceOrderRequest.payment_token", Rule::Text(PAYMENT_TOKEN)),
    ("shop.order.v1.PlaceOrderRequest.contact", Message(Required)),
    ("shop.order.v1.PlaceOrderRequest.contact.email", Rule::Text(EMAIL)),
    ("shop.order.v1.PlaceOrderRequest.contact.shipping_address", Message(Required)),
    ("shop.order.v1.PlaceOrderRequest.contact.shipping_address.recipient", Rule::Text(ADDRESS)),
    (
        "shop.order.v1.PlaceOrderRequest.contact.shipping_address.lines",
        List(1, 5, Entries::TextsAsOne(ADDRESS)),
    ),
    ("shop.order.v1.PlaceOrderRequest.contact.shipping_address.postal_code", Rule::Text(Text::of(20))),
    ("shop.order.v1.PlaceOrderRequest.contact.shipping_address.city", Rule::Text(ADDRESS)),
    ("shop.order.v1.PlaceOrderRequest.contact.shipping_address.country_code", Rule::Text(COUNTRY)),
    ("shop.order.v1.PlaceOrderRequest.contact.delivery_note", Rule::Text(Text::of(500).breaks())),
    ("shop.order.v1.PlaceOrderRequest.customer_id", Rule::Text(CUSTOMER)),
    ("shop.order.v1.PlaceOrderRequest.min_position", MinPosition),
    ("shop.order.v1.GetOrderRequest.order_id", ORDER),
    ("shop.order.v1.GetOrderRequest.min_position", MinPosition),
    ("shop.order.v1.ListOrdersRequest.page_size", PageSize),
    ("shop.order.v1.ListOrdersRequest.page_token", PageToken(Some(("customerId", "somebody-else")))),
    ("shop.order.v1.ListOrdersRequest.status", Enum(&[])),
    ("shop.order.v1.ListOrdersRequest.customer_id", Rule::Text(CUSTOMER)),
    ("shop.order.v1.ListOrdersRequest.min_position", MinPosition),
    ("shop.order.v1.GetOrderHistoryRequest.order_id", ORDER),
    ("shop.order.v1.GetOrderHistoryRequest.min_position", MinPosition),
    ("shop.order.v1.WatchOrderRequest.order_id", ORDER),
    ("shop.order.v1.WatchOrderRequest.after", Cursor),
    ("shop.order.v1.CancelOrderRequest.request_id", RequestId),
    ("shop.order.v1.CancelOrderRequest.order_id", ORDER),
    ("shop.order.v1.CancelOrderRequest.reason", Rule::Text(REASON)),
    ("shop.order.v1.CancelOrderRequest.etag", Etag),
    ("shop.order.v1.ShipOrderRequest.request_id", RequestId),
    ("shop.order.v1.ShipOrderRequest.order_id", ORDER),
    ("shop.order.v1.ShipOrderRequest.etag", Etag),
    ("shop.order.v1.DeliverOrderRequest.request_id", RequestId),
    ("shop.order.v1.DeliverOrderRequest.order_id", ORDER),
    ("shop.order.v1.DeliverOrderRequest.etag", Etag),
    (
        "shop.order.v1.ForgetPersonRequest.order_id",
        Member(
            "person",
            Text::of(36)
                .required()
                .not(&["7", "not-an-identifier"])
                .unknown(crate::rules::NOBODY, Told::NotFound("ORDER_NOT_FOUND")),
        ),
    ),
    ("shop.order.v1.ForgetPersonRequest.customer_id", Member("person", CUSTOMER.required())),
    ("shop.payment.v1.GetPaymentRequest.order_id", Id("PAYMENT_NOT_FOUND")),
    ("shop.payment.v1.GetPaymentRequest.min_position", MinPosition),
    ("shop.payment.v1.ListPaymentsRequest.page_size", PageSize),
    ("shop.payment.v1.ListPaymentsRequest.page_token", PageToken(Some(("status", "PAYMENT_STATUS_VOIDED")))),
    ("shop.payment.v1.ListPaymentsRequest.status", Enum(&[])),
    ("shop.payment.v1.RefundPaymentRequest.request_id", RequestId),
    ("shop.payment.v1.RefundPaymentRequest.order_id", Id("PAYMENT_NOT_FOUND")),
    ("shop.payment.v1.RefundPaymentRequest.amount", Message(Optional)),
    (
        "shop.payment.v1.RefundPaymentRequest.amount.currency_code",
        Currency(Some(Told::Rule("CURRENCY_MISMATCH"))),
    ),
    (
        "shop.payment.v1.RefundPaymentRequest.amount.minor_units",
        Number(1, 1_000_000_000_000, Some((EXPENSIVE, Told::Rule("REFUND_EXCEEDS_CAPTURE")))),
    ),
    ("shop.payment.v1.RefundPaymentRequest.reason", Rule::Text(Text::of(500).breaks())),
    ("shop.product.v1.CreateProductRequest.request_id", RequestId),
    ("shop.product.v1.CreateProductRequest.handle", Rule::Text(HANDLE)),
    ("shop.product.v1.CreateProductRequest.name", Rule::Text(FILLED)),
    ("shop.product.v1.CreateProductRequest.description", Rule::Text(DESCRIPTION)),
    ("shop.product.v1.CreateProductRequest.brand", Rule::Text(NAME)),
    ("shop.product.v1.CreateProductRequest.category_path", CATEGORIES),
    ("shop.product.v1.CreateProductRequest.supplier", Rule::Text(NAME)),
    ("shop.product.v1.CreateProductRequest.attributes", ATTRIBUTES),
    ("shop.product.v1.CreateProductRequest.tags", TAGS),
    ("shop.product.v1.CreateProductRequest.images", IMAGES),
    ("shop.product.v1.CreateProductRequest.images.url", Rule::Text(URL)),
    ("shop.product.v1.CreateProductRequest.images.alt_text", ALT_TEXT),
    ("shop.product.v1.CreateProductRequest.status", Enum(&[3])),
    ("shop.product.v1.CreateProductRequest.variants", VARIANTS),
    ("shop.product.v1.CreateProductRequest.variants.sku", NEW_SKU),
    ("shop.product.v1.CreateProductRequest.variants.options", OPTIONS),
    ("shop.product.v1.CreateProductRequest.variants.options.name", Rule::Text(FILLED)),
    ("shop.product.v1.CreateProductRequest.variants.options.value", Rule::Text(FILLED)),
    ("shop.product.v1.CreateProductRequest.variants.price", Message(Required)),
    ("shop.product.v1.CreateProductRequest.variants.price.currency_code", Currency(None)),
    ("shop.product.v1.CreateProductRequest.variants.price.minor_units", PRICE),
    ("shop.product.v1.CreateProductRequest.variants.barcode", BARCODE),
    ("shop.product.v1.CreateProductRequest.variants.in_stock", Flag),
    ("shop.product.v1.GetProductRequest.product_id", PRODUCT),
    ("shop.product.v1.GetProductRequest.min_position", MinPosition),
    ("shop.product.v1.GetProductAsOfRequest.product_id", PRODUCT),
    (
        "shop.product.v1.GetProductAsOfRequest.time",
        Time(
            Optional,
            &[
                ("2020-01-31T12:00:00Z", Told::NotFound("PRODUCT_NOT_THERE_YET")),
                ("0001-01-01T00:00:00Z", Told::NotFound("PRODUCT_NOT_THERE_YET")),
                ("9999-12-31T23:59:59.999999999Z", Told::Invalid),
            ],
        ),
    ),
    ("shop.product.v1.ListProductsRequest.page_size", PageSize),
    ("shop.product.v1.ListProductsRequest.page_token", PageToken(Some(("brand", "Another brand")))),
    ("shop.product.v1.ListProductsRequest.brand", FILTER),
    (
        "shop.product.v1.ListProductsRequest.category",
        Rule::Text(Text { max_bytes: Some(10_230), ..Text::of(10_230).unframed().may_hold_cards() }),
    ),
    ("shop.product.v1.ListProductsRequest.supplier", FILTER),
    ("shop.product.v1.ListProductsRequest.min_price", Number(0, i64::MAX, None)),
    ("shop.product.v1.ListProductsRequest.max_price", Number(0, i64::MAX, None)),
    ("shop.product.v1.ListProductsRequest.currency_code", Currency(None)),
    ("shop.product.v1.ListProductsRequest.in_stock", Flag),
    ("shop.product.v1.ListProductsRequest.status", Enum(&[])),
    ("shop.product.v1.ListProductsRequest.handle", Rule::Text(HANDLE)),
    ("shop.product.v1.ListProductsRequest.sku", Rule::Text(Text { required: false, ..SKU })),
    ("shop.product.v1.ListProductsRequest.min_position", MinPosition),
    ("shop.product.v1.SearchProductsRequest.query", Rule::Text(QUERY)),
    ("shop.product.v1.SearchProductsRequest.brand", List(0, 20, Entries::Texts(CHOSEN))),
    (
        "shop.product.v1.SearchProductsRequest.category",
        Rule::Text(Text { max_bytes: Some(10_230), ..Text::of(10_230).unframed().may_hold_cards() }),
    ),
    ("shop.product.v1.SearchProductsRequest.supplier", FILTER),
    ("shop.product.v1.SearchProductsRequest.min_price", Number(0, i64::MAX, None)),
    ("shop.product.v1.SearchProductsRequest.max_price", Number(0, i64::MAX, None)),
    ("shop.product.v1.SearchProductsRequest.currency_code", Currency(None)),
    ("shop.product.v1.SearchProductsRequest.option", List(0, 20, Entries::Texts(CHOSEN_OPTION))),
    ("shop.product.v1.SearchProductsRequest.in_stock", Flag),
    ("shop.product.v1.SearchProductsRequest.status", Enum(&[])),
    ("shop.product.v1.SearchProductsRequest.order_by", Enum(&[])),
    ("shop.product.v1.SearchProductsRequest.page_size", PageSize),
    ("shop.product.v1.SearchProductsRequest.page_token", PageToken(Some(("query", "another")))),
    ("shop.product.v1.SearchProductsRequest.min_position", MinPosition),
    ("shop.product.v1.SuggestProductsRequest.query", Rule::Text(QUERY)),
    ("shop.product.v1.UpdateProductRequest.request_id", RequestId),
    ("shop.product.v1.UpdateProductRequest.product_id", PRODUCT),
    ("shop.product.v1.UpdateProductRequest.update_mask", Mask),
    ("shop.product.v1.UpdateProductRequest.etag", Etag),
    ("shop.product.v1.UpdateProductRequest.name", Rule::Text(FILLED)),
    ("shop.product.v1.UpdateProductRequest.description", Rule::Text(DESCRIPTION)),
    ("shop.product.v1.UpdateProductRequest.brand", Rule::Text(NAME)),
    ("shop.product.v1.UpdateProductRequest.category_path", CATEGORIES),
    ("shop.product.v1.UpdateProductRequest.supplier", Rule::Text(NAME)),
    ("shop.product.v1.UpdateProductRequest.attributes", ATTRIBUTES),
    ("shop.product.v1.UpdateProductRequest.tags", TAGS),
    ("shop.product.v1.UpdateProductRequest.images", IMAGES),
    ("shop.product.v1.UpdateProductRequest.images.url", Rule::Text(URL)),
    ("shop.product.v1.UpdateProductRequest.images.alt_text", ALT_TEXT),
    ("shop.product.v1.UpdateProductRequest.status", Enum(&[3])),
    ("shop.product.v1.AddVariantsRequest.request_id", RequestId),
    ("shop.product.v1.AddVariantsRequest.product_id", PRODUCT),
    ("shop.product.v1.AddVariantsRequest.etag", Etag),
    ("shop.product.v1.AddVariantsRequest.variants", VARIANTS),
    ("shop.product.v1.AddVariantsRequest.variants.sku", NEW_SKU),
    ("shop.product.v1.AddVariantsRequest.variants.options", OPTIONS),
    ("shop.product.v1.AddVariantsRequest.variants.options.name", Rule::Text(FILLED)),
    ("shop.product.v1.AddVariantsRequest.variants.options.value", Rule::Text(FILLED)),
    ("shop.product.v1.AddVariantsRequest.variants.price", Message(Required)),
    (
        "shop.product.v1.AddVariantsRequest.variants.price.currency_code",
        Currency(Some(Told::Rule("CURRENCY_DIFFERS"))),
    ),
    ("shop.product.v1.AddVariantsRequest.variants.price.minor_units", PRICE),
    ("shop.product.v1.AddVariantsRequest.variants.barcode", BARCODE),
    ("shop.product.v1.AddVariantsRequest.variants.in_stock", Flag),
    ("shop.product.v1.ChangePriceRequest.request_id", RequestId),
    ("shop.product.v1.ChangePriceRequest.product_id", PRODUCT),
    (
        "shop.product.v1.ChangePriceRequest.sku",
        Rule::Text(SKU.unknown("NEVER-ADDED", Told::NotFound("VARIANT_NOT_FOUND"))),
    ),
    ("shop.product.v1.ChangePriceRequest.price", Message(Required)),
    (
        "shop.product.v1.ChangePriceRequest.price.currency_code",
        Currency(Some(Told::Rule("CURRENCY_DIFFERS"))),
    ),
    ("shop.product.v1.ChangePriceRequest.price.minor_units", PRICE),
    ("shop.product.v1.ChangePriceRequest.reason", Rule::Text(REASON.unframed())),
    ("shop.product.v1.ChangePriceRequest.etag", Etag),
    ("shop.product.v1.DiscontinueProductRequest.request_id", RequestId),
    ("shop.product.v1.DiscontinueProductRequest.product_id", PRODUCT),
    ("shop.product.v1.DiscontinueProductRequest.reason", Rule::Text(REASON.unframed())),
    ("shop.product.v1.DiscontinueProductRequest.etag", Etag),
    ("shop.product.v1.SchedulePriceChangeRequest.request_id", RequestId),
    ("shop.product.v1.SchedulePriceChangeRequest.product_id", PRODUCT),
    (
        "shop.product.v1.SchedulePriceChangeRequest.sku",
        Rule::Text(SKU.unknown("NEVER-ADDED", Told::NotFound("VARIANT_NOT_FOUND"))),
    ),
    ("shop.product.v1.SchedulePriceChangeRequest.price", Message(Required)),
    (
        "shop.product.v1.SchedulePriceChangeRequest.price.currency_code",
        Currency(Some(Told::Rule("CURRENCY_DIFFERS"))),
    ),
    ("shop.product.v1.SchedulePriceChangeRequest.price.minor_units", PRICE),
    (
        "shop.product.v1.SchedulePriceChangeRequest.effective_time",
        Time(
            Required,
            &[
                ("2020-01-31T12:00:00Z", Told::Rule("EFFECTIVE_TIME_NOT_AHEAD")),
                ("0001-01-01T00:00:00Z", Told::Rule("EFFECTIVE_TIME_NOT_AHEAD")),
                ("9999-12-31T23:59:59.999999999Z", Told::Rule("EFFECTIVE_TIME_TOO_FAR")),
            ],
        ),
    ),
    ("shop.product.v1.SchedulePriceChangeRequest.reason", Rule::Text(REASON.unframed())),
    ("shop.product.v1.SchedulePriceChangeRequest.etag", Etag),
    ("shop.product.v1.WithdrawScheduledPriceRequest.request_id", RequestId),
    ("shop.product.v1.WithdrawScheduledPriceRequest.product_id", PRODUCT),
    ("shop.product.v1.WithdrawScheduledPriceRequest.schedule_id", Id("SCHEDULED_PRICE_NOT_FOUND")),
    ("shop.product.v1.WithdrawScheduledPriceRequest.reason", Rule::Text(REASON.unframed())),
    ("shop.product.v1.WithdrawScheduledPriceRequest.etag", Etag),
    ("shop.product.v1.ReinstateProductRequest.request_id", RequestId),
    ("shop.product.v1.ReinstateProductRequest.product_id", PRODUCT),
    ("shop.product.v1.ReinstateProductRequest.reason", Rule::Text(REASON.unframed())),
    ("shop.product.v1.ReinstateProductRequest.etag", Etag),
    ("shop.product.v1.ImportProductRequest.request_id", RequestId),
    ("shop.product.v1.ImportProductRequest.validate_only", Flag),
    ("shop.product.v1.ImportProductRequest.attributes", ATTRIBUTES),
    ("shop.product.v1.ExportProductsRequest.min_position", MinPosition),
    ("shop.product.v1.ImportProductRequest.handle", Rule::Text(HANDLE.required())),
    ("shop.product.v1.ImportProductRequest.name", Rule::Text(FILLED)),
    ("shop.product.v1.ImportProductRequest.description", Rule::Text(DESCRIPTION)),
    ("shop.product.v1.ImportProductRequest.brand", Rule::Text(NAME)),
    ("shop.product.v1.ImportProductRequest.category_path", CATEGORIES),
    ("shop.product.v1.ImportProductRequest.supplier", Rule::Text(NAME)),
    ("shop.product.v1.ImportProductRequest.tags", TAGS),
    ("shop.product.v1.ImportProductRequest.images", IMAGES),
    ("shop.product.v1.ImportProductRequest.images.url", Rule::Text(URL)),
    ("shop.product.v1.ImportProductRequest.images.alt_text", ALT_TEXT),
    ("shop.product.v1.ImportProductRequest.status", Enum(&[])),
    ("shop.product.v1.ImportProductRequest.variants", VARIANTS),
    ("shop.product.v1.ImportProductRequest.variants.sku", NEW_SKU),
    ("shop.product.v1.ImportProductRequest.variants.options", OPTIONS),
    ("shop.product.v1.ImportProductRequest.variants.options.name", Rule::Text(FILLED)),
    ("shop.product.v1.ImportProductRequest.variants.options.value", Rule::Text(FILLED)),
    ("shop.product.v1.ImportProductRequest.variants.price", Message(Required)),
    ("shop.product.v1.ImportProductRequest.variants.price.currency_code", Currency(None)),
    ("shop.product.v1.ImportProductRequest.variants.price.minor_units", PRICE),
    ("shop.product.v1.ImportProductRequest.variants.barcode", BARCODE),
    ("shop.product.v1.ImportProductRequest.variants.in_stock", Flag),
    ("shop.product.v1.GetPriceHistoryRequest.product_id", PRODUCT),
    ("shop.product.v1.GetPriceHistoryRequest.sku", Rule::Text(Text { required: false, ..SKU })),
    ("shop.product.v1.GetPriceHistoryRequest.page_size", PageSize),
    ("shop.product.v1.GetPriceHistoryRequest.page_token", PageToken(Some(("sku", "ANOTHER-SKU")))),
    ("shop.product.v1.GetPriceHistoryRequest.min_position", MinPosition),
    ("shop.saga.v1.GetSagaRequest.saga_id", Rule::Text(SAGA_ID)),
    ("shop.saga.v1.ListSagasRequest.page_size", PageSize),
    ("shop.saga.v1.ListSagasRequest.page_token", PageToken(Some(("status", "SAGA_STATUS_STUCK")))),
    ("shop.saga.v1.ListSagasRequest.status", Enum(&[])),
    ("shop.saga.v1.RetrySagaRequest.request_id", RequestId),
    ("shop.saga.v1.RetrySagaRequest.saga_id", Rule::Text(SAGA_ID)),
    ("shop.saga.v1.RetrySagaRequest.etag", Etag),
    ("shop.saga.v1.SkipSagaStepRequest.request_id", RequestId),
    ("shop.saga.v1.SkipSagaStepRequest.saga_id", Rule::Text(SAGA_ID)),
    ("shop.saga.v1.SkipSagaStepRequest.reason", Rule::Text(REASON.required())),
    ("shop.saga.v1.SkipSagaStepRequest.etag", Etag),
    ("shop.saga.v1.CompensateSagaRequest.request_id", RequestId),
    ("shop.saga.v1.CompensateSagaRequest.saga_id", Rule::Text(SAGA_ID)),
    ("shop.saga.v1.CompensateSagaRequest.reason", Rule::Text(REASON)),
    ("shop.saga.v1.CompensateSagaRequest.etag", Etag),
];
