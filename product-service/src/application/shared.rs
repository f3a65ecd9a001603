//! Products as they were read, in Redis, where all replicas of the service find them. Redis is not believed: an entry
//! says up to where in the feeds the tables were when it was read, and a replica takes it only if it knows of no later
//! change of the product, from its own looks at the database ([`ProductCache`](super::ProductCache)). So an entry that
//! comes late, comes back from a backup or was never taken out is a miss and not an old price, and Redis that is slow,
//! away or empty costs a read of the tables.
//!
//! What is told to Redis when a product changes, and what keeps an older entry from replacing a newer one, spares reads;
//! nothing depends on it. Neither does anything on a clock but how long an entry that nobody can use is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis_link::{Redis, Reply, Script};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::Change;
use super::views::ProductView;
use crate::domain::ProductId;

/// How long an entry is kept. It bounds the one change that no position tells of: an operator has a parked message
/// handled again, and Redis does not hear of it.
pub const SHARED_TTL: Duration = Duration::from_secs(60);
/// Larger products are not shared.
const MAX_ENTRY_BYTES: usize = 128 * 1024;
/// How long whoever found nothing may take to bring it, before another one is asked to.
const CLAIM: Duration = Duration::from_millis(100);
/// How often one who was told that another one brings it looks again; the pauses are 1, 2, 4 and 8 ms.
const LOOKS: u32 = 5;
/// The longest time for all looks together; then the tables are read.
const FIND_LIMIT: Duration = Duration::from_millis(25);
/// What waits to be told to Redis, at most. What is more is not told.
const MAX_WAITING: usize = 4096;
/// Changes told at once.
const BATCH: usize = 128;
/// Names the form of an entry. Another form of [`ProductView`] needs another name, since replicas of two releases run
/// beside each other.
const FORM: &str = "1";
/// Longest head of an entry: three numbers.
const MAX_HEAD_BYTES: usize = 64;

/// Counter: what finding a product in Redis came to, by `result`.
const FINDS: &str = "product_shared_reads_total";
/// Counter: what was not told to Redis, since too much waited.
const DROPPED: &str = "product_shared_dropped_total";

/// The version of the tables and the positions at which an entry was read, and the length of its head.
macro_rules! head {
    () => {
        "local function head(key) \
           local text = redis.call('GETRANGE', key, 0, 63) \
           local version, products, stock = string.match(text, '^(%d+):(%d+):(%d+)\\n') \
           if not version then return nil end \
           local length = #version + #products + #stock + 3 \
           return tonumber(version), tonumber(products), tonumber(stock), length \
         end "
    };
}
/// Returns the entry, if it is of the version ARGV[1] of the tables and was read at the positions ARGV[2] and ARGV[3] or
/// later. Else 1: bring it; or 0: another one brings it. KEYS: the entry, the claim. ARGV[4]: milliseconds of a claim.
static FIND: Script = Script::new(concat!(
    head!(),
    "local version, products, stock, length = head(KEYS[1]) \
     local same = version == tonumber(ARGV[1]) \
     if same and products >= tonumber(ARGV[2]) and stock >= tonumber(ARGV[3]) then \
       local entry = redis.call('GET', KEYS[1]) \
       if #entry > length then return entry end \
     end \
     if redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[4]) then return 1 end \
     return 0"
));

/// Stores the entry ARGV[4] that was read at ARGV[1] to ARGV[3], unless what is there is newer in any of these. KEYS: the
/// entry, the claim. ARGV[5]: milliseconds of an entry.
static STORE: Script = Script::new(concat!(
    head!(),
    "local version, products, stock = head(KEYS[1]) \
     redis.call('DEL', KEYS[2]) \
     if version and (version > tonumber(ARGV[1]) or products > tonumber(ARGV[2]) or stock > tonumber(ARGV[3])) then \
       return 0 \
     end \
     redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) \
     return 1"
));

/// Leaves of entries, and of what is just being brought, a head that keeps older ones out. KEYS: pairs of an entry and a
/// claim. ARGV[1]: milliseconds of a head; then for each pair the positions that it changed at.
static CHANGED: Script = Script::new(concat!(
    head!(),
    "for pair = 1, #KEYS / 2 do \
       local entry, claim = KEYS[2 * pair - 1], KEYS[2 * pair] \
       local version, products, stock = head(entry) \
       if version or redis.call('EXISTS', claim) == 1 then \
         products = math.max(products or 0, tonumber(ARGV[2 * pair])) \
         stock = math.max(stock or 0, tonumber(ARGV[2 * pair + 1])) \
         local left = string.format('%.0f:%.0f:%.0f', version or 0, products, stock) \
         redis.call('SET', entry, left .. '\\n', 'PX', ARGV[1]) \
       end \
     end \
     return 0"
));

/// Which tables serve, and up to where in the feeds they show everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AsOf {
    /// Counts how often a model that was made anew has taken the place of the one that served.
    pub version: i64,
    /// In this service's log.
    pub products: i64,
    /// In inventory's feed.
    pub stock: i64,
}

impl AsOf {
    /// The later one of each position.
    pub fn max(self, other: Self) -> Self {
        let (products, stock) = (self.products.max(other.products), self.stock.max(other.stock));
        Self { version: self.version.max(other.version), products, stock }
    }

    /// With a change.
    pub fn and(self, at: Change) -> Self {
        self.max(match at {
            Change::Product(products) => Self { products, ..Self::default() },
            Change::Stock(stock) => Self { stock, ..Self::default() },
        })
    }

    fn satisfies(&self, needed: &Self) -> bool {
        self.version == needed.version && self.products >= needed.products && self.stock >= needed.stock
    }
}

/// What was found.
#[derive(Debug)]
pub enum Found {
    /// The product, right for who asked.
    Product(Box<ProductView>),
    /// It has to be read from the tables, and is to be stored if `fill` says so.
    Nothing { fill: bool },
}

/// The shared products.
#[derive(Clone)]
pub struct SharedProducts {
    redis: Redis,
    prefix: Arc<str>,
    told: mpsc::Sender<Tell>,
}

/// What Redis is told, when there is time.
enum Tell {
    Entry { product_id: ProductId, as_of: AsOf, entry: Vec<u8> },
    Changed { product_id: ProductId, at: Change },
}

impl SharedProducts {
    /// In this Redis, for a log and a feed of these incarnations: positions of others mean something else. Redis is told
    /// on a task of `tracker` until `stop`.
    pub fn start(
        redis: Redis,
        (log, inventory): (i32, i32),
        stop: CancellationToken,
        tracker: &TaskTracker,
    ) -> Self {
        let (told, tell) = mpsc::channel(MAX_WAITING);
        let prefix = format!("storeline:product:{FORM}:{log}:{inventory}:").into();
        let shared = Self { redis, prefix, told };
        let teller = Teller { redis: shared.redis.clone(), prefix: Arc::clone(&shared.prefix), tell };
        tracker.spawn(async move { stop.run_until_cancelled(teller.run()).await });
        shared
    }

    /// The product, if an entry is there that was read at `needed` or later.
    pub async fn find(&self, product_id: ProductId, needed: AsOf) -> Found {
        let found = tokio::time::timeout(FIND_LIMIT, self.look(product_id, needed)).await;
        let (found, result) = found.unwrap_or((Found::Nothing { fill: false }, "late"));
        metrics::counter!(FINDS, "result" => result).increment(1);
        found
    }

    async fn look(&self, product_id: ProductId, needed: AsOf) -> (Found, &'static str) {
        let [entry, claim] = keys(&self.prefix, product_id);
        let millis = i64::try_from(CLAIM.as_millis()).unwrap_or(i64::MAX);
        let AsOf { version, products, stock } = needed;
        let arguments = [version, products, stock, millis].map(|number| number.to_string());
        let arguments = arguments.each_ref().map(String::as_bytes);
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(Duration::from_millis(1 << (look - 1))).await;
            }
            let nothing = |fill| Found::Nothing { fill };
            match self.redis.run("product_find", &FIND, &[&entry, &claim], &arguments).await {
                Ok(Reply::Bytes(entry)) => {
                    // Whatever Redis says: what is answered is checked here.
                    return match read(&entry, product_id, &needed) {
                        Some(product) => (Found::Product(Box::new(product)), "hit"),
                        None => (nothing(true), "unusable"),
                    };
                }
                Ok(Reply::Number(1)) => return (nothing(true), "miss"),
                Ok(Reply::Number(0)) => {}
                Ok(_) | Err(_) => return (nothing(false), "away"),
            }
        }
        (Found::Nothing { fill: false }, "busy")
    }

    /// Shares a product that was read when the tables were at `as_of` or later, by the word of the tables themselves.
    pub fn store(&self, as_of: AsOf, product: &ProductView) {
        if let Some(entry) = written(as_of, product) {
            self.tell(Tell::Entry { product_id: product.product_id, as_of, entry });
        }
    }

    /// Tells that the tables have a change of a product.
    pub fn changed(&self, product_id: ProductId, at: Change) {
        self.tell(Tell::Changed { product_id, at });
    }

    fn tell(&self, tell: Tell) {
        if !self.redis.is_available() || self.told.try_send(tell).is_err() {
            metrics::counter!(DROPPED).increment(1);
        }
    }
}

/// Tells Redis one thing after another.
struct Teller {
    redis: Redis,
    prefix: Arc<str>,
    tell: mpsc::Receiver<Tell>,
}

impl Teller {
    async fn run(mut self) {
        let mut waiting = Vec::with_capacity(BATCH);
        while self.tell.recv_many(&mut waiting, BATCH).await > 0 {
            let mut changed: HashMap<ProductId, AsOf> = HashMap::new();
            for tell in waiting.drain(..) {
                match tell {
                    Tell::Changed { product_id, at } => {
                        let positions = changed.entry(product_id).or_default();
                        *positions = positions.and(at);
                    }
                    Tell::Entry { product_id, as_of, entry } => {
                        self.changed(std::mem::take(&mut changed)).await;
                        self.entry(product_id, as_of, &entry).await;
                    }
                }
            }
            self.changed(changed).await;
        }
    }

    async fn entry(&self, product_id: ProductId, as_of: AsOf, entry: &[u8]) {
        let [key, claim] = keys(&self.prefix, product_id);
        let numbers = [as_of.version, as_of.products, as_of.stock].map(|number| number.to_string());
        let [version, products, stock] = numbers.each_ref().map(String::as_bytes);
        let ttl = SHARED_TTL.as_millis().to_string();
        let arguments = [version, products, stock, entry, ttl.as_bytes()];
        // Without an answer it is there or not, which is both right.
        let _ = self.redis.run("product_store", &STORE, &[&key, &claim], &arguments).await;
    }

    async fn changed(&self, changed: HashMap<ProductId, AsOf>) {
        if changed.is_empty() {
            return;
        }
        let names: Vec<String> = changed.keys().flat_map(|id| keys(&self.prefix, *id)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let positions = changed.values().flat_map(|at| [at.products.to_string(), at.stock.to_string()]);
        let arguments: Vec<String> =
            std::iter::once(SHARED_TTL.as_millis().to_string()).chain(positions).collect();
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let _ = self.redis.run("product_changed", &CHANGED, &names, &arguments).await;
    }
}

/// The keys of an entry, and of the claim of who brings it.
fn keys(prefix: &str, product_id: ProductId) -> [String; 2] {
    [format!("{prefix}{product_id}"), format!("{prefix}{product_id}:claim")]
}

/// An entry: where it was read, and the product; none for one that is too large.
fn written(as_of: AsOf, product: &ProductView) -> Option<Vec<u8>> {
    let AsOf { version, products, stock } = as_of;
    let mut entry = format!("{version}:{products}:{stock}\n").into_bytes();
    serde_json::to_writer(&mut entry, product).ok()?;
    (entry.len() <= MAX_ENTRY_BYTES).then_some(entry)
}

/// The product of an entry, if it is that one and was read late enough.
fn read(entry: &[u8], product_id: ProductId, needed: &AsOf) -> Option<ProductView> {
    let length = entry.iter().take(MAX_HEAD_BYTES).position(|byte| *byte == b'\n')?;
    let mut numbers = std::str::from_utf8(&entry[..length]).ok()?.split(':').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let as_of = AsOf { version: next()?, products: next()?, stock: next()? };
    if numbers.next().is_some() || !as_of.satisfies(needed) || entry.len() > MAX_ENTRY_BYTES {
        return None;
    }
    let product: ProductView = serde_json::from_slice(&entry[length + 1..]).ok()?;
    (product.product_id == product_id).then_some(product)
}

#[cfg(test)]
mod tests;
