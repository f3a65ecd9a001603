//! The requests of checkout and cancellation. Each becomes one command, and each command one answering event,
//! also when the request makes no sense: somebody waits for it.

use contracts::shop::saga::v1::{SagaEvent, saga_event::Event};
use contracts::shop::r#type::v1 as common;
use eventsourcing::{Commands, HandlerError, IntegrationEvent, Reactor};
use prost::Message;

use crate::application::Payments;
use crate::domain::payment::RefundOrder;
use crate::domain::{
    Currency, MalformedValue, Money, OrderId, PaymentCommand, PaymentToken, Reason, RefundId, RefundReason,
};

/// The reactor on the saga's feed.
pub struct SagaRequests {
    pub payments: Payments,
}

impl Reactor for SagaRequests {
    type Message = IntegrationEvent;

    fn name(&self) -> &'static str {
        "payment.saga-requests"
    }

    async fn react(&self, message: &IntegrationEvent, commands: &Commands) -> Result<(), HandlerError> {
        let Some((order_id, command)) = command_of(&message.data)? else { return Ok(()) };
        self.payments.execute(order_id, command, commands.context(0)).await?;
        Ok(())
    }
}

/// The command that an event of the saga stands for; `None` when it is for somebody else.
pub fn command_of(data: &[u8]) -> Result<Option<(OrderId, PaymentCommand)>, HandlerError> {
    let saga_event = SagaEvent::decode(data)
        .map_err(|error| HandlerError::Poison(format!("not an event of the saga: {error}")))?;
    saga_event.event.map_or(Ok(None), command)
}

fn command(event: Event) -> Result<Option<(OrderId, PaymentCommand)>, HandlerError> {
    let (order_id, command) = match event {
        Event::PaymentAuthorizationRequested(request) => {
            (request.order_id, authorize(request.amount.as_ref(), &request.payment_token))
        }
        Event::PaymentCaptureRequested(request) => (request.order_id, PaymentCommand::Capture),
        Event::PaymentVoidRequested(request) => (request.order_id, PaymentCommand::Void),
        Event::PaymentRefundRequested(request) => {
            let refund_id =
                RefundId::parse(&request.refund_id).map_err(|error| poison("refund id", error))?;
            (request.order_id, refund(refund_id, request.amount.as_ref(), &request.reason))
        }
        Event::StockReservationRequested(_)
        | Event::StockReleaseRequested(_)
        | Event::ReservationPinRequested(_)
        | Event::StockCommitRequested(_)
        | Event::StockRestockRequested(_)
        | Event::OrderConfirmationRequested(_)
        | Event::OrderRejectionRequested(_)
        | Event::OrderCancellationCompletionRequested(_) => return Ok(None),
    };
    // Without an order there is nobody to answer to.
    let order_id = OrderId::parse(&order_id).map_err(|error| poison("order id", error))?;
    Ok(Some((order_id, command)))
}

fn poison(field: &str, error: MalformedValue) -> HandlerError {
    HandlerError::Poison(format!("the {field} of a request {error}"))
}

fn authorize(amount: Option<&common::Money>, token: &str) -> PaymentCommand {
    let refuse = |code: &str| PaymentCommand::RefuseAuthorization { reason: Reason::of(code) };
    match (amount.and_then(money), PaymentToken::parse(token)) {
        (_, Err(MalformedValue::CardNumber)) => refuse("CARD_NUMBER_REFUSED"),
        (_, Err(_)) => refuse("PAYMENT_TOKEN_MALFORMED"),
        (None, _) => refuse("AMOUNT_MALFORMED"),
        (Some(amount), Ok(payment_token)) => PaymentCommand::Authorize { amount, payment_token },
    }
}

fn refund(refund_id: RefundId, amount: Option<&common::Money>, reason: &str) -> PaymentCommand {
    let reason = RefundReason::or_withheld(reason);
    match amount.map(money) {
        None => PaymentCommand::RequestRefund(RefundOrder { refund_id, amount: None, reason }),
        Some(Some(amount)) => {
            PaymentCommand::RequestRefund(RefundOrder { refund_id, amount: Some(amount), reason })
        }
        Some(None) => PaymentCommand::RefuseRefund { refund_id, reason: Reason::of("AMOUNT_MALFORMED") },
    }
}

fn money(amount: &common::Money) -> Option<Money> {
    let currency = Currency::parse(&amount.currency_code).ok()?;
    Some(Money::new(currency, amount.minor_units))
}

#[cfg(test)]
mod tests {
    use contracts::shop::saga::v1 as saga;

    use super::*;

    const ORDER: &str = "0190f3c2-7a4b-7c3d-9e2f-1a2b3c4d5e6f";

    fn authorization(token: &str, currency: &str) -> PaymentCommand {
        let amount = common::Money { currency_code: currency.into(), minor_units: 5 };
        let request = saga::PaymentAuthorizationRequested {
            order_id: ORDER.into(),
            amount: Some(amount),
            payment_token: token.into(),
        };
        command(Event::PaymentAuthorizationRequested(request)).unwrap().unwrap().1
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused_and_so_answered() {
        for (token, currency, code) in [
            ("4242-4242-4242-4242", "EUR", "CARD_NUMBER_REFUSED"),
            ("", "EUR", "PAYMENT_TOKEN_MALFORMED"),
            ("tok_success", "euro", "AMOUNT_MALFORMED"),
        ] {
            let refused = PaymentCommand::RefuseAuthorization { reason: Reason::of(code) };
            assert_eq!(authorization(token, currency), refused);
        }
    }

    #[test]
    fn a_request_without_an_order_is_poison_and_does_not_quote_its_token() {
        let request = saga::PaymentAuthorizationRequested {
            order_id: "4242424242424242".into(),
            amount: None,
            payment_token: "tok_secret".into(),
        };
        let error = command(Event::PaymentAuthorizationRequested(request)).unwrap_err();
        assert!(!error.to_string().contains("tok_secret") && !error.to_string().contains("4242"));
    }

    #[test]
    fn requests_to_others_are_theirs() {
        let request = saga::StockReleaseRequested { order_id: ORDER.into() };
        assert!(command(Event::StockReleaseRequested(request)).unwrap().is_none());
    }
}
