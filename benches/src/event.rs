//! What every workload appends: one deposit of some 270 bytes of JSON, with the metadata that ours has, on accounts whose ids
//! are spread over the key space, so that no index is filled in order.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Accounts that exist before a workload reads them.
pub const ACCOUNTS: u64 = 10_000;
/// Events that each of them has then.
pub const EVENTS_PER_ACCOUNT: u64 = 20;
/// What our log writes as metadata. No value may follow its colon as a bare word: pgbench takes `:word` for a variable.
pub const METADATA: &str = r#"{"correlation_id":"6f1f2b1e-8c0a-4d0e-9d0f-4d3b0a5c7e21","actor":"bench"}"#;

/// Spreads the numbers of accounts over 32 bits. Odd, so that no two meet.
pub const SPREAD: u64 = 2_654_435_761;
const NOTE: &str = "Two crates of glazed tiles and one sack of grout, left at the side door with the neighbour from number 5";

/// The content of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    pub account: Uuid,
    pub amount: i64,
    pub currency: String,
    pub reference: String,
    pub note: String,
    /// When its append was called, in nanoseconds since the workload's epoch; 0 where nobody asks.
    pub at: u64,
}

impl Deposit {
    /// A deposit whose amount depends on what was there, as a decision does.
    pub fn after(balance: i64, account: Uuid, at: u64) -> Self {
        Self {
            account,
            amount: balance % 100 + 1,
            currency: "EUR".to_owned(),
            reference: format!("payment/{account}"),
            note: NOTE.to_owned(),
            at,
        }
    }

    /// As it is stored.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data serializes")
    }
}

/// The id of the account with a number.
pub fn account(number: u64) -> Uuid {
    let spread = u128::from(number.wrapping_mul(SPREAD) & 0xffff_ffff);
    Uuid::from_u128((spread << 96) | 0x4000_8000_0000_0000_0000)
}

/// The id of the account whose number an SQL expression says.
fn account_sql(number: &str) -> String {
    let spread = format!("(({number})::bigint * {SPREAD}) & 4294967295");
    format!("(lpad(to_hex({spread}), 8, '0') || '-0000-4000-8000-000000000000')::uuid")
}

/// Rows `n, account, version` in SQL for so many events, one round of all accounts after the other.
pub fn numbered_sql(events: u64) -> String {
    let accounts = events.div_ceil(EVENTS_PER_ACCOUNT);
    let account = account_sql(&format!("n % {accounts}"));
    let last = events as i64 - 1;
    format!(
        "(SELECT n, {account} AS account, n / {accounts} + 1 AS version FROM generate_series(0::bigint, {last}) n) e"
    )
}

/// The id of a command or event, in SQL, from the number `n` of its event. They rise with time, as real ones do.
pub fn id_sql(kind: char) -> String {
    format!("(lpad(to_hex(n), 12, '0') || '{kind}' || substr(md5(n::text), 14))::uuid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_has_the_size_that_the_targets_are_about() {
        let size = Deposit::after(12, account(1), 1_234_567_890).json().len();
        assert!((260..=280).contains(&size), "{size} bytes");
    }

    #[test]
    fn no_two_accounts_have_the_same_id() {
        let ids: std::collections::HashSet<Uuid> = (0..1_000_000).map(account).collect();
        assert_eq!(ids.len(), 1_000_000);
        assert_eq!(account(1).to_string(), "9e3779b1-0000-4000-8000-000000000000");
    }
}
