//! The table of data keys. It is the only place where something is deleted for good; no key is kept in memory
//! beyond the call that needs it, so a deletion counts at once in every process.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::PersonalDataError;
use super::sealing::{DataKey, MasterKeys};
use crate::domain::{KeySubject, OrderId};

/// Keys that are wrapped anew at a time.
const REWRAP_BATCH: i64 = 500;
/// Subject of the key that requests are fingerprinted with. It is no person's, and never deleted.
const FINGERPRINTS: &str = "service:request-fingerprints";

/// A cheap handle to the keys.
#[derive(Clone)]
pub struct PersonalData {
    pool: PgPool,
    masters: Arc<MasterKeys>,
    fingerprints: Hmac<Sha256>,
}

/// A key that is about to be used for an order.
#[derive(Debug)]
pub struct KeyInUse {
    pub key: DataKey,
    /// It did not exist before.
    pub is_new: bool,
}

/// A key as it stands in the table, read together with what it opens.
pub struct WrappedKey {
    pub master_key: Vec<u8>,
    pub sealed_key: Vec<u8>,
}

impl PersonalData {
    /// # Errors
    /// [`PersonalDataError::UnknownMasterKey`] when this database was used with other master keys.
    pub async fn open(pool: PgPool, masters: MasterKeys) -> Result<Self, PersonalDataError> {
        let masters = Arc::new(masters);
        let subject = KeySubject::from_name(FINGERPRINTS);
        let key = use_key(&pool, &masters, &subject, Uuid::nil()).await?.key;
        let fingerprints = Hmac::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
        Ok(Self { pool, masters, fingerprints })
    }

    /// The key of a person, made if there is none, for the use of one order. It is durable before anything is that
    /// this database is told afterwards.
    pub async fn key_for(
        &self,
        subject: &KeySubject,
        order_id: OrderId,
    ) -> Result<KeyInUse, PersonalDataError> {
        use_key(&self.pool, &self.masters, subject, order_id.uuid()).await
    }

    /// The key of a person; `None` when the person was forgotten.
    pub async fn find(&self, subject: &KeySubject) -> Result<Option<DataKey>, PersonalDataError> {
        let row = sqlx::query("SELECT master_key, sealed_key FROM personal_data_keys WHERE subject = $1")
            .bind(subject.as_str())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let wrapped = WrappedKey { master_key: row.try_get(0)?, sealed_key: row.try_get(1)? };
        self.unwrap(subject, &wrapped).map(Some)
    }

    /// Opens a key that was read elsewhere.
    pub fn unwrap(&self, subject: &KeySubject, key: &WrappedKey) -> Result<DataKey, PersonalDataError> {
        self.masters.unwrap(subject, &key.master_key, &key.sealed_key)
    }

    /// Removes a key that was made for an order which did not come to be, unless another order has used it.
    pub async fn remove_orphan(
        &self,
        subject: &KeySubject,
        order_id: OrderId,
    ) -> Result<(), PersonalDataError> {
        sqlx::query("DELETE FROM personal_data_keys WHERE subject = $1 AND last_used_by = $2")
            .bind(subject.as_str())
            .bind(order_id.uuid())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Deletes a person's key. Returns how many there were: 0 if the person was forgotten before.
    pub async fn forget(&self, subject: &KeySubject) -> Result<u64, PersonalDataError> {
        let deleted = sqlx::query("DELETE FROM personal_data_keys WHERE subject = $1")
            .bind(subject.as_str())
            .execute(&self.pool)
            .await?;
        Ok(deleted.rows_affected())
    }

    /// A fingerprint of a request that cannot be used to guess what is in it, the key being secret. It is the
    /// same for the same request for as long as the database lives, whatever master key is current.
    pub fn fingerprint(&self, request: &[u8]) -> [u8; 32] {
        self.fingerprints.clone().chain_update(request).finalize().into_bytes().into()
    }

    /// Wraps keys anew that are not wrapped under the current master key. Returns how many.
    pub async fn rewrap(&self) -> Result<u64, PersonalDataError> {
        let mut rewrapped = 0;
        loop {
            let rows = sqlx::query(
                "SELECT subject, master_key, sealed_key FROM personal_data_keys WHERE master_key <> $1 LIMIT $2",
            )
            .bind(&self.masters.current()[..])
            .bind(REWRAP_BATCH)
            .fetch_all(&self.pool)
            .await?;
            if rows.is_empty() {
                return Ok(rewrapped);
            }
            for row in rows {
                let subject = KeySubject::from_name(row.try_get::<String, _>(0)?);
                let old = WrappedKey { master_key: row.try_get(1)?, sealed_key: row.try_get(2)? };
                let key = self.unwrap(&subject, &old)?;
                // By compare-and-set: another replica may be at it, or the person just forgotten.
                let update = "UPDATE personal_data_keys SET sealed_key = $3, master_key = $4 \
                               WHERE subject = $1 AND sealed_key = $2";
                let done = sqlx::query(update)
                    .bind(subject.as_str())
                    .bind(&old.sealed_key)
                    .bind(self.masters.wrap(&subject, &key))
                    .bind(&self.masters.current()[..])
                    .execute(&self.pool)
                    .await?;
                rewrapped += done.rows_affected();
            }
        }
    }
}

/// One statement, so that of several who need the first key of a customer all get the same.
///
/// It does not wait for the disk. What is sealed under the key is appended to the log of the same database later,
/// so it stands behind the key in one write-ahead log: the flush that makes the event durable, here or on a replica,
/// makes the key durable first. A crash in between loses a key that nothing is sealed under.
async fn use_key(
    pool: &PgPool,
    masters: &MasterKeys,
    subject: &KeySubject,
    user: Uuid,
) -> Result<KeyInUse, PersonalDataError> {
    let row = sqlx::query(
        "INSERT INTO personal_data_keys (subject, sealed_key, master_key, last_used_by) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (subject) DO UPDATE SET last_used_by = excluded.last_used_by \
         RETURNING sealed_key, master_key, xmax = 0, set_config('synchronous_commit', 'off', true)",
    )
    .bind(subject.as_str())
    .bind(masters.wrap(subject, &DataKey::generate()))
    .bind(&masters.current()[..])
    .bind(user)
    .fetch_one(pool)
    .await?;
    let (sealed_key, master_key): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(KeyInUse { key: masters.unwrap(subject, &master_key, &sealed_key)?, is_new: row.try_get(2)? })
}
