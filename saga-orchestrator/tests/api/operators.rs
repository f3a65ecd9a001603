//! What operators see and do, over gRPC.

use contracts::shop::saga::v1 as wire;
use contracts::shop::saga::v1::saga_event::Event as Request;
use service_runtime::replay::IDEMPOTENCY_REPLAYED;
use service_runtime::status::reason_of;
use testkit::{SOON, eventually};
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::shop::*;

/// A shop whose inventory never commits.
async fn shop_that_gets_stuck() -> Shop {
    Shop::with(impatient(1), |request| matches!(request, Request::StockCommitRequested(_)).then(Vec::new))
        .await
}

fn retry(saga_id: &str) -> wire::RetrySagaRequest {
    wire::RetrySagaRequest { saga_id: saga_id.to_owned(), ..Default::default() }
}

fn skip(saga_id: &str, reason: &str) -> wire::SkipSagaStepRequest {
    let (saga_id, reason) = (saga_id.to_owned(), reason.to_owned());
    wire::SkipSagaStepRequest { saga_id, reason, ..Default::default() }
}

fn compensate(saga_id: &str) -> wire::CompensateSagaRequest {
    wire::CompensateSagaRequest { saga_id: saga_id.to_owned(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_saga_is_retried_and_skipped_by_hand() {
    let shop = shop_that_gets_stuck().await;
    let instance = shop.start(true).await;
    let order = shop.place(4990);
    let saga_id = format!("checkout-{order}");
    stuck_at(&instance, &saga_id, "CommitStock").await;

    let mut client = instance.client.clone();
    let request = wire::RetrySagaRequest { request_id: "try 1".into(), ..retry(&saga_id) };
    let retried = client.retry_saga(as_operator(request.clone())).await.unwrap();
    assert!(retried.metadata().get(IDEMPOTENCY_REPLAYED).is_none());
    let retried = retried.into_inner();
    let saga = retried.saga.unwrap();
    assert_eq!((saga.status(), saga.attempts), (wire::SagaStatus::Running, 2));
    assert!(!retried.position.is_empty());
    let again = client.retry_saga(as_operator(request)).await.unwrap();
    assert_eq!(again.metadata().get(IDEMPOTENCY_REPLAYED).unwrap(), "true");
    let again = again.into_inner();
    assert_eq!(
        (again.saga.unwrap(), again.position),
        (saga, retried.position),
        "a repeat gets the first answer"
    );

    // The stream, since the list may not have seen the retry yet.
    eventually("the saga is stuck again", SOON, || async {
        let saga = get(&instance, &saga_id).await.unwrap();
        (saga.status() == wire::SagaStatus::Stuck).then_some(())
    })
    .await;
    let skipped = client.skip_saga_step(as_operator(skip(&saga_id, "counted and booked by hand"))).await;
    assert_eq!(skipped.unwrap().into_inner().saga.unwrap().open_step, "ConfirmOrder");
    shop.until(&saga_id, "SagaEnded Completed").await;

    let saga = get(&instance, &order.to_string()).await.unwrap();
    assert_eq!(saga.saga_id, saga_id, "an order's id means its checkout");
    let skipped = saga.timeline.iter().find(|entry| entry.event == "StepSkipped").unwrap();
    assert_eq!(skipped.detail, "by operator: counted and booked by hand");
    assert_eq!(saga.timeline[0].event, "CheckoutStarted");
    assert!(!format!("{saga:?}").contains("tok_success"), "a timeline shows no tokens");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_turns_a_saga_back_before_its_pivot_and_not_after() {
    let shop = Shop::with(impatient(1), |request| {
        matches!(request, Request::PaymentAuthorizationRequested(_) | Request::StockCommitRequested(_))
            .then(Vec::new)
    })
    .await;
    let instance = shop.start(true).await;
    let mut client = instance.client.clone();

    let before = format!("checkout-{}", shop.place(4990));
    stuck_at(&instance, &before, "AuthorizePayment").await;
    let back = client.compensate_saga(as_operator(compensate(&before))).await.unwrap().into_inner();
    assert_eq!(back.saga.unwrap().status(), wire::SagaStatus::Compensating);
    shop.until(&before, "SagaEnded Compensated").await;
    let listed_saga = listed(&instance, &before, wire::SagaStatus::Compensated).await;
    assert_eq!(listed_saga.reason, "COMPENSATED_BY_OPERATOR");

    let after = format!("checkout-{}", shop.place(0));
    stuck_at(&instance, &after, "CommitStock").await;
    let refused = client.compensate_saga(as_operator(compensate(&after))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason_of(&refused).as_str()),
        (Code::FailedPrecondition, "SAGA_PIVOT_PASSED")
    );
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_rules_and_malformed_requests_are_told_apart() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let saga_id = format!("checkout-{}", shop.place(4990));
    shop.until(&saga_id, "SagaEnded Completed").await;
    let mut client = instance.client.clone();

    let ended = client.retry_saga(as_operator(retry(&saga_id))).await.unwrap_err();
    assert_eq!((ended.code(), reason_of(&ended).as_str()), (Code::FailedPrecondition, "SAGA_ENDED"));
    let stale = wire::RetrySagaRequest { etag: "\"v1\"".into(), ..retry(&saga_id) };
    let stale = client.retry_saga(as_operator(stale)).await.unwrap_err();
    assert_eq!((stale.code(), reason_of(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));

    let nobody = format!("cancellation-{}", Uuid::now_v7());
    let absent = get(&instance, &nobody).await.unwrap_err();
    assert_eq!((absent.code(), reason_of(&absent).as_str()), (Code::NotFound, "SAGA_NOT_FOUND"));
    let absent = client.retry_saga(as_operator(retry(&nobody))).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);

    let field = |status: tonic::Status| {
        assert_eq!(status.code(), Code::InvalidArgument);
        status.get_details_bad_request().unwrap().field_violations[0].field.clone()
    };
    assert_eq!(field(get(&instance, "order-7").await.unwrap_err()), "saga_id");
    assert_eq!(field(get(&instance, "").await.unwrap_err()), "saga_id");
    for reason in ["", "  ", "a\nb", "4242 4242 4242 4242", &"x".repeat(201)] {
        let refused = client.skip_saga_step(as_operator(skip(&saga_id, reason))).await.unwrap_err();
        assert_eq!(field(refused), "reason", "{reason}");
    }
    let malformed = wire::RetrySagaRequest { etag: "yesterday".into(), ..retry(&saga_id) };
    assert_eq!(field(client.retry_saga(as_operator(malformed)).await.unwrap_err()), "etag");
    let negative = wire::ListSagasRequest { page_size: -1, ..Default::default() };
    assert_eq!(field(list(&instance, negative).await.unwrap_err()), "page_size");
    let unknown = wire::ListSagasRequest { status: 77, ..Default::default() };
    assert_eq!(field(list(&instance, unknown).await.unwrap_err()), "status");
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_are_for_operators_only() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let mut client = instance.client.clone();
    let refused = client.list_sagas(wire::ListSagasRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    instance.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_from_the_newest_to_the_oldest_page_by_page_and_agrees_with_the_streams() {
    let shop = Shop::open().await;
    let instance = shop.start(true).await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        let saga_id = format!("checkout-{}", shop.place(4990));
        shop.until(&saga_id, "SagaEnded Completed").await;
        listed(&instance, &saga_id, wire::SagaStatus::Completed).await;
        expected.insert(0, saga_id);
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = wire::ListSagasRequest { page_size: 2, page_token, ..Default::default() };
        let page = list(&instance, request).await.unwrap();
        assert!(page.sagas.len() <= 2);
        seen.extend(page.sagas);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let ids: Vec<_> = seen.iter().map(|saga| saga.saga_id.clone()).collect();
    assert_eq!(ids, expected);
    for listed in seen {
        let stream = get(&instance, &listed.saga_id).await.unwrap();
        assert_eq!(listed, wire::Saga { timeline: Vec::new(), ..stream });
    }
    let first = list(&instance, wire::ListSagasRequest { page_size: 1, ..Default::default() }).await.unwrap();
    let stuck = wire::SagaStatus::Stuck.into();
    let another = wire::ListSagasRequest { page_token: first.next_page_token, status: stuck, page_size: 1 };
    assert_eq!(list(&instance, another).await.unwrap_err().code(), Code::InvalidArgument);
    instance.stop().await;
}
