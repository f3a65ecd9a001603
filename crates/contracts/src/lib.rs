//! The wire format: what tonic and prost generate from `proto/`, and the descriptors that reflection, the
//! gateway and the role checks read. There is no logic here, and nothing here is a domain model: each service
//! has value types of its own and converts at its edge.

/// The compiled descriptors of every file below `proto/`, options and comments included, as an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[expect(clippy::all, missing_docs, reason = "generated code")]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/modules.rs"));
}

mod codec;
mod prepared;

pub use codec::MessageCodec;
pub use generated::{google, shop};
pub use prepared::GetProductResponse;
