//! A service at work, whatever it is: what a process serves, watches and stops. How it is started is the service's.

use eventsourcing::{Rebuilds, Subscriptions};

use crate::grpc::Services;

/// A running service. Its work ends with the token that it was started with.
pub struct Running {
    /// Its RPCs, without any layer.
    pub services: Services,
    pub subscriptions: Subscriptions,
    pub rebuilds: Rebuilds,
}
