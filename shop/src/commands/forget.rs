//! `shop forget`: deletes the key that a person's data is sealed under.

use clap::Args;
use contracts::shop::order::v1 as order;
use order::order_service_client::OrderServiceClient;

use crate::config::Location;
use crate::running::{RunningShop, explain};

/// Whom to forget.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Arguments {
    /// The guest who placed this order.
    #[arg(long)]
    order: Option<String>,
    /// This customer, with all orders.
    #[arg(long)]
    customer: Option<String>,
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    use order::forget_person_request::Person;
    let person = arguments.order.map(Person::OrderId).or(arguments.customer.map(Person::CustomerId));
    let mut orders = OrderServiceClient::new(RunningShop::find(location)?.channel("order").await?);
    let request = order::ForgetPersonRequest { person };
    let reply = orders.forget_person(request).await.map_err(|status| explain(&status))?.into_inner();
    match reply.keys_deleted {
        0 => println!("There was nothing to forget."),
        keys => {
            println!("Forgotten: {keys} key(s) deleted. What was sealed with them cannot be read any more.")
        }
    }
    Ok(0)
}
