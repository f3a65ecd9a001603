//! Personal data at rest. It stands in events and read models sealed under a key of its own per customer or
//! guest order; the keys stand in one table, outside the log, each wrapped under a master key that only the
//! configuration holds. Deleting the key row forgets the person: events, folds and audits stay as they are.
//!
//! What happens when a person is forgotten while they order: the key row is durable before the event that
//! needs it, both being in one database, and nobody keeps keys in memory. If the row is deleted between the two, the event is stored with a
//! contact that nobody can open, so the order is as forgotten as those before it; an order that begins
//! afterwards gets a new key, since its sender has come back.
//!
//! Backups made before still hold the wrapped key: whoever must be forgotten there too waits until those have
//! expired, or rotates the master key and destroys the old one.
//!
//! A row that a crash left behind without an order opens nothing and says nothing; such rows are not searched
//! for.

mod keys;
mod sealing;

pub use keys::{PersonalData, WrappedKey};
pub use sealing::{Field, MasterKeyError, MasterKeys};

/// Why personal data could not be sealed or read. That its key is deleted is not an error.
#[derive(Debug, thiserror::Error)]
pub enum PersonalDataError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(
        "personal data is sealed under a master key (id {id}) that is not configured: add it behind the current \
         one until all keys are wrapped anew"
    )]
    UnknownMasterKey { id: String },
    #[error("sealed data was changed, or belongs to another order")]
    Tampered,
}
