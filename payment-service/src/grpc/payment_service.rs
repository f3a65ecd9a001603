//! `shop.payment.v1.PaymentService`: people look at payments and pay back. Who may call is checked before a
//! request comes here.

use chrono::{DateTime, Utc};
use contracts::shop::payment::v1 as pb;
use contracts::shop::r#type::v1 as common;
use eventsourcing::SubscriptionHandle;
use pb::payment_service_server::PaymentService;
use prost_types::Timestamp;
use service_runtime::page::{self, Filter};
use service_runtime::status::{Violations, internal, invalid_field, of_execute_error, of_read_error};
use service_runtime::{RequestContext, etag, replay};
use tonic::{Request, Response};

use super::status;
use crate::application::payments::RefundState;
use crate::application::{ListedRefund, PaymentView, Payments};
use crate::domain::payment::{MAX_MINOR_UNITS, RefundOrder, Status};
use crate::domain::{Currency, Money, OrderId, PaymentCommand, RefundId, RefundReason};

/// Answers the RPCs.
#[derive(Clone)]
pub struct PaymentServiceHandler {
    payments: Payments,
    read_model: SubscriptionHandle,
}

impl PaymentServiceHandler {
    /// `read_model` is what `payments` reads.
    pub fn new(payments: Payments, read_model: SubscriptionHandle) -> Self {
        Self { payments, read_model }
    }

    async fn find(&self, order_id: OrderId) -> Result<pb::Payment, tonic::Status> {
        let found = self.payments.find(order_id).await.map_err(of_read_error)?;
        found.map(payment).ok_or_else(|| status::no_payment(order_id))
    }
}

#[tonic::async_trait]
impl PaymentService for PaymentServiceHandler {
    async fn get_payment(
        &self,
        request: Request<pb::GetPaymentRequest>,
    ) -> Result<Response<pb::GetPaymentResponse>, tonic::Status> {
        let context = RequestContext::of(&request);
        let request = request.into_inner();
        let order_id = order_id(&request.order_id)?;
        context.wait_for_position(&request.min_position, &[&self.read_model]).await?;
        Ok(Response::new(pb::GetPaymentResponse { payment: Some(self.find(order_id).await?) }))
    }

    async fn list_payments(
        &self,
        request: Request<pb::ListPaymentsRequest>,
    ) -> Result<Response<pb::ListPaymentsResponse>, tonic::Status> {
        let method = RequestContext::of(&request).method;
        let mut request = request.into_inner();
        let size = page::page_size(std::mem::take(&mut request.page_size))?;
        let token = std::mem::take(&mut request.page_token);
        let wanted = status_filter(request.status)?;
        let filter = Filter::of(&method, &request);
        let after = filter.decode::<2>(&token)?.map(page_keys).transpose()?;

        // One more than is shown tells whether there is another page.
        let found = self.payments.list(wanted, after, size + 1).await;
        let mut found = found.map_err(of_read_error)?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let next_page_token = match found.last() {
            Some(last) if more => {
                filter.next_token([&page::time_key(last.created_at), &last.order_id.to_string()])
            }
            _ => String::new(),
        };
        let payments = found.into_iter().map(payment).collect();
        Ok(Response::new(pb::ListPaymentsResponse { payments, next_page_token }))
    }

    async fn refund_payment(
        &self,
        request: Request<pb::RefundPaymentRequest>,
    ) -> Result<Response<pb::RefundPaymentResponse>, tonic::Status> {
        let context = RequestContext::of(&request);
        let mut request = request.into_inner();
        let request_id = std::mem::take(&mut request.request_id);
        let command_context = context.command_context(&request_id, &request)?;
        // One command is one refund, so a repeated request names the same one.
        let refund_id = command_context.command_id.to_string();
        let (order_id, order) = refund_order(&refund_id, request)?;

        let command = PaymentCommand::Refund(order);
        let done = self.payments.execute(order_id, command, command_context).await;
        let refused = |error| status::of_payment_error(order_id, error);
        let done = done.map_err(|error| of_execute_error(error, refused))?;
        let position = done.position.to_string();
        context.wait_for_position(&position, &[&self.read_model]).await?;
        let payment = Some(self.find(order_id).await?);
        Ok(replay::response(pb::RefundPaymentResponse { payment, position }, done.replayed))
    }
}

fn order_id(text: &str) -> Result<OrderId, tonic::Status> {
    OrderId::parse(text).map_err(|error| invalid_field("order_id", error.to_string()))
}

fn refund_order(
    refund_id: &str,
    request: pb::RefundPaymentRequest,
) -> Result<(OrderId, RefundOrder), tonic::Status> {
    let mut violations = Violations::new();
    let order_id = OrderId::parse(&request.order_id);
    let reason = RefundReason::parse(&request.reason);
    let currency = request.amount.as_ref().map(|amount| Currency::parse(&amount.currency_code)).transpose();
    if let Err(error) = &order_id {
        violations.add("order_id", error.to_string());
    }
    if let Err(error) = &reason {
        violations.add("reason", error.to_string());
    }
    if let Err(error) = &currency {
        violations.add("amount.currency_code", error.to_string());
    }
    if let Some(amount) = &request.amount {
        let rule = format!("must be from 1 to {MAX_MINOR_UNITS}");
        violations.check((1..=MAX_MINOR_UNITS).contains(&amount.minor_units), "amount.minor_units", rule);
    }
    violations.into_result()?;
    let refund_id =
        RefundId::parse(refund_id).map_err(|error| invalid_field("request_id", error.to_string()))?;
    match (order_id, reason, currency) {
        (Ok(order_id), Ok(reason), Ok(currency)) => {
            let amount = currency.zip(request.amount);
            let amount = amount.map(|(currency, amount)| Money::new(currency, amount.minor_units));
            Ok((order_id, RefundOrder { refund_id, amount, reason }))
        }
        _ => Err(internal("a violation was not reported")),
    }
}

fn status_filter(status: i32) -> Result<Option<Status>, tonic::Status> {
    let unknown = || invalid_field("status", "must be one of the statuses of a payment");
    let status = pb::PaymentStatus::try_from(status).map_err(|_| unknown())?;
    Ok(match status {
        pb::PaymentStatus::Unspecified => None,
        pb::PaymentStatus::Authorizing => Some(Status::Authorizing),
        pb::PaymentStatus::Authorized => Some(Status::Authorized),
        pb::PaymentStatus::Declined => Some(Status::Declined),
        pb::PaymentStatus::Capturing => Some(Status::Capturing),
        pb::PaymentStatus::Captured => Some(Status::Captured),
        pb::PaymentStatus::CaptureFailed => Some(Status::CaptureFailed),
        pb::PaymentStatus::Voiding => Some(Status::Voiding),
        pb::PaymentStatus::Voided => Some(Status::Voided),
        pb::PaymentStatus::Unknown => Some(Status::Unknown),
    })
}

fn page_keys([created_at, order_id]: [String; 2]) -> Result<(DateTime<Utc>, OrderId), tonic::Status> {
    let order_id = OrderId::parse(&order_id).map_err(|_| page::malformed_token())?;
    Ok((page::time_of_key(&created_at)?, order_id))
}

fn payment(view: PaymentView) -> pb::Payment {
    let currency = view.currency.unwrap_or_default();
    let money = |minor_units| common::Money { currency_code: currency.clone(), minor_units };
    pb::Payment {
        order_id: view.order_id.to_string(),
        status: payment_status(view.status).into(),
        amount: view.amount.map(money),
        captured: view.captured.map(money),
        refunded: view.refunded.map(money),
        reason: view.reason.unwrap_or_default(),
        provider_reference: view.provider_reference.unwrap_or_default(),
        refunds: view.refunds.into_iter().map(|listed| refund(listed, &currency)).collect(),
        updated_at: Some(timestamp(view.updated_at)),
        etag: etag::of(view.version),
    }
}

fn payment_status(status: Status) -> pb::PaymentStatus {
    match status {
        Status::Authorizing => pb::PaymentStatus::Authorizing,
        Status::Authorized => pb::PaymentStatus::Authorized,
        Status::Declined => pb::PaymentStatus::Declined,
        Status::Capturing => pb::PaymentStatus::Capturing,
        Status::Captured => pb::PaymentStatus::Captured,
        Status::CaptureFailed => pb::PaymentStatus::CaptureFailed,
        Status::Voiding => pb::PaymentStatus::Voiding,
        Status::Voided => pb::PaymentStatus::Voided,
        Status::Unknown => pb::PaymentStatus::Unknown,
    }
}

fn refund(listed: ListedRefund, currency: &str) -> pb::Refund {
    let status = match listed.status {
        RefundState::Pending => pb::RefundStatus::Pending,
        RefundState::Succeeded => pb::RefundStatus::Succeeded,
        RefundState::Failed => pb::RefundStatus::Failed,
    };
    let amount = listed.amount;
    pb::Refund {
        refund_id: listed.refund_id,
        amount: amount.map(|minor_units| common::Money { currency_code: currency.to_owned(), minor_units }),
        reason: listed.reason,
        status: status.into(),
    }
}

fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos() as i32 }
}
