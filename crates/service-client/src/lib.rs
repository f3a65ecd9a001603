//! The client side of gRPC between processes: one [`ServiceClient`] stands for all replicas of a service. It looks
//! their name up again and again, keeps a few HTTP/2 connections to each, sends a call to the less busy of two,
//! repeats what may be repeated, and fails fast while nobody answers. It knows no business, adds no credential, and
//! encrypts nothing: that is a mesh's work.
//!
//! # The way of one call
//!
//! A `Gate` admits it or has it wait in a bounded queue; `circuit` refuses it at once if the service has been
//! unreachable; `methods` knows whether it may be repeated; `replicas` chooses a connection (`lane`), which is ready
//! only while the replica's health says so; `attempt` sends it with the time that is left and says what became of
//! it; `call` decides whether it is tried again.
//!
//! # What is tried again
//!
//! | what happened | tried again |
//! |---|---|
//! | it was never taken: connection refused, closed before it was sent, or refused by GOAWAY or REFUSED_STREAM | always |
//! | the connection broke, or the answer is UNAVAILABLE | reads, and changes that carry a request id; never a stream that has begun |
//! | any other answer | never |
//!
//! The first costs a replica nothing, and is bounded by the number of tries and the deadline. The second is bounded
//! by the retry budget of the service as well, so that an outage is not made worse by those who suffer from it.

mod address;
mod attempt;
mod body;
mod call;
mod circuit;
mod lane;
mod meters;
mod methods;
mod names;
mod options;
mod replicas;

pub use address::Address;
pub use call::ServiceClient;
pub use meters::names as metric_names;
pub use methods::{Methods, MethodsError};
pub use names::{Names, NamesError};
pub use options::{ClientOptions, RetryOptions};
