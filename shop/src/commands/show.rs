//! `shop show`: one thing as it is or as it was at a time, folded from its events by the service that has them.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use contracts::shop::product::v1 as product;
use contracts::shop::r#type::v1::Money;
use product::product_service_client::ProductServiceClient;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::time;
use crate::config::Location;
use crate::running::{RunningShop, explain};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A product with its variants, prices and prices to come. Not whether something is in stock: inventory knows that.
    Product {
        /// The product's id.
        id: String,
        /// As it was at this time, such as 2030-01-31T12:00:00Z. As it is when left out.
        #[arg(long, value_name = "TIME", value_parser = rfc_3339)]
        at: Option<DateTime<Utc>>,
        /// Print JSON, as the API has it.
        #[arg(long)]
        json: bool,
    },
}

pub async fn run(arguments: Arguments, location: &Location) -> anyhow::Result<u8> {
    let What::Product { id: product_id, at, json } = arguments.what;
    let mut client = ProductServiceClient::new(RunningShop::find(location)?.channel("product").await?);
    let time =
        at.map(|at| Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() });
    let request = product::GetProductAsOfRequest { product_id, time };
    let reply = client.get_product_as_of(request).await.map_err(|s| explain(&s))?.into_inner();
    let shown = reply.product.unwrap_or_default();
    if json {
        println!("{}", json!({"product": as_json(&shown), "time": instant(reply.time.as_ref())}));
    } else {
        print(&shown, reply.time.as_ref());
    }
    Ok(0)
}

fn rfc_3339(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc()).map_err(|_| "a time is written like 2030-01-31T12:00:00Z".to_owned())
}

fn print(shown: &product::Product, at: Option<&Timestamp>) {
    println!("{}  {}", shown.name, shown.status().as_str_name());
    for (name, value) in [
        ("as of", time(at)),
        ("id", shown.product_id.clone()),
        ("handle", shown.handle.clone()),
        ("brand", shown.brand.clone()),
        ("category", shown.category_path.join(" > ")),
        ("supplier", shown.supplier.clone()),
        ("tags", shown.tags.join(", ")),
        ("created", time(shown.created_at.as_ref())),
        ("changed", time(shown.updated_at.as_ref())),
        ("version", shown.etag.clone()),
    ] {
        if !value.is_empty() {
            println!("  {name:<9} {value}");
        }
    }
    for variant in &shown.variants {
        let options: Vec<_> = variant.options.iter().map(|o| format!("{} {}", o.name, o.value)).collect();
        println!("  {:<24} {:>16}  {}", variant.sku, money(variant.price.as_ref()), options.join(", "));
    }
    for to_come in &shown.scheduled_prices {
        let price = money(to_come.price.as_ref());
        let from = time(to_come.effective_time.as_ref());
        println!("  {:<24} {price:>16}  from {from}  {}", to_come.sku, to_come.reason);
    }
}

/// An amount with its decimals.
fn money(money: Option<&Money>) -> String {
    let Some(Money { currency_code, minor_units }) = money else { return "-".to_owned() };
    let decimals = product_service::domain::Currency::from_code(currency_code).map_or(0, |c| c.exponent());
    let unit = 10_i64.pow(decimals);
    let (whole, rest) = (minor_units / unit, minor_units % unit);
    match decimals {
        0 => format!("{whole} {currency_code}"),
        decimals => format!("{whole}.{rest:0width$} {currency_code}", width = decimals as usize),
    }
}

fn as_json(shown: &product::Product) -> Value {
    let images = shown.images.iter().map(|i| json!({"url": i.url, "altText": i.alt_text}));
    let option = |o: &product::OptionValue| json!({"name": o.name, "value": o.value});
    let variants = shown.variants.iter().map(|v| {
        json!({
            "sku": v.sku,
            "options": v.options.iter().map(option).collect::<Vec<_>>(),
            "price": money_json(v.price.as_ref()),
            "barcode": v.barcode,
        })
    });
    let to_come = shown.scheduled_prices.iter().map(|s| {
        json!({
            "scheduleId": s.schedule_id,
            "sku": s.sku,
            "price": money_json(s.price.as_ref()),
            "effectiveTime": instant(s.effective_time.as_ref()),
            "reason": s.reason,
        })
    });
    json!({
        "productId": shown.product_id,
        "handle": shown.handle,
        "name": shown.name,
        "description": shown.description,
        "brand": shown.brand,
        "categoryPath": shown.category_path,
        "supplier": shown.supplier,
        "attributes": shown.attributes,
        "tags": shown.tags,
        "images": images.collect::<Vec<_>>(),
        "status": shown.status().as_str_name(),
        "variants": variants.collect::<Vec<_>>(),
        "createdAt": instant(shown.created_at.as_ref()),
        "updatedAt": instant(shown.updated_at.as_ref()),
        "etag": shown.etag,
        "scheduledPrices": to_come.collect::<Vec<_>>(),
    })
}

/// As canonical JSON has it: a 64-bit number is a text.
fn money_json(money: Option<&Money>) -> Value {
    money.map_or(
        Value::Null,
        |money| json!({"currencyCode": money.currency_code, "minorUnits": money.minor_units.to_string()}),
    )
}

fn instant(at: Option<&Timestamp>) -> Value {
    let at = at.and_then(|at| DateTime::from_timestamp(at.seconds, at.nanos.try_into().ok()?));
    at.map_or(Value::Null, |at| json!(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_has_the_decimals_of_its_currency() {
        for (currency_code, minor_units, expected) in [
            ("EUR", 1450, "14.50 EUR"),
            ("EUR", 5, "0.05 EUR"),
            ("JPY", 1450, "1450 JPY"),
            ("KWD", 1, "0.001 KWD"),
        ] {
            let amount = Money { currency_code: currency_code.into(), minor_units };
            assert_eq!(money(Some(&amount)), expected);
        }
    }

    #[test]
    fn a_time_is_read_with_its_offset_and_nothing_else_is_a_time() {
        let noon = "2030-01-31T12:00:00Z".parse::<DateTime<Utc>>();
        assert_eq!(rfc_3339("2030-01-31T13:00:00+01:00").ok(), noon.ok());
        for wrong in ["", "yesterday", "2030-01-31", "2030-01-31T12:00:00"] {
            assert!(rfc_3339(wrong).is_err(), "{wrong}");
        }
    }
}
