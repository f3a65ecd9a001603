//! What the service does, one file for each group of use cases. Requests become commands, commands become
//! intents, intents become calls to the provider, and whatever the provider says becomes a command again.

pub mod payments;
pub mod provider;
pub mod provider_calls;
pub mod webhooks;

pub use payments::{ListedRefund, PaymentView, Payments};
pub use provider::{Action, CallError, Found, Notification, Outcome, PaymentProvider, ProviderCall};
pub use provider_calls::{CallOptions, ProviderCalls};
