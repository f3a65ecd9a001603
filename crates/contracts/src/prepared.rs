//! Answers that may have been encoded before they are given. A service that answers the same again and again encodes it
//! once and hands out the bytes. On the wire nothing is different, and whoever reads such an answer sees a message.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, message, skip_field};
use prost::{DecodeError, Message};

use crate::shop::product::v1::Product;

/// The number of the field `product`.
const PRODUCT: u32 = 1;

/// `shop.product.v1.GetProductResponse`, whose product may have been encoded before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GetProductResponse {
    pub product: Option<Product>,
    /// All of the message instead of `product`; empty when there is none.
    prepared: Bytes,
}

impl GetProductResponse {
    pub fn new(product: Product) -> Self {
        Self { product: Some(product), prepared: Bytes::new() }
    }

    /// What [`prepared`](Self::prepared) takes.
    pub fn prepare(product: Product) -> Bytes {
        Self::new(product).encode_to_vec().into()
    }

    /// An answer for the wire alone: `product` is not there to be looked at.
    pub fn prepared(prepared: Bytes) -> Self {
        Self { product: None, prepared }
    }
}

impl Message for GetProductResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.prepared.is_empty() {
            if let Some(product) = &self.product {
                message::encode(PRODUCT, product, buf);
            }
        } else {
            buf.put_slice(&self.prepared);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            PRODUCT => message::merge(wire_type, self.product.get_or_insert_default(), buf, ctx),
            _ => skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        match &self.product {
            _ if !self.prepared.is_empty() => self.prepared.len(),
            Some(product) => message::encoded_len(PRODUCT, product),
            None => 0,
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{DescriptorProto, FileDescriptorSet};

    use super::*;

    fn product() -> Product {
        Product { name: "Mug".to_owned(), tags: vec!["kitchen".to_owned()], ..Default::default() }
    }

    fn described() -> DescriptorProto {
        let files =
            FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("it was encoded by the build");
        let mut messages = files.file.into_iter().flat_map(|file| file.message_type);
        messages.find(|message| message.name() == "GetProductResponse").expect("it is described")
    }

    #[test]
    fn the_message_has_the_one_field_that_is_written_by_hand() {
        let fields = described().field;
        let fields: Vec<_> = fields.iter().map(|f| (f.name(), f.number(), f.type_name())).collect();
        assert_eq!(fields, [("product", PRODUCT.cast_signed(), ".shop.product.v1.Product")]);
    }

    #[test]
    fn a_prepared_answer_is_read_as_the_message_that_it_was_made_of() {
        let answer = GetProductResponse::new(product());
        let prepared = GetProductResponse::prepared(GetProductResponse::prepare(product()));
        assert_eq!(prepared.encode_to_vec(), answer.encode_to_vec());
        assert_eq!(prepared.encoded_len(), answer.encoded_len());
        let read = GetProductResponse::decode(&*prepared.encode_to_vec()).expect("it is a message");
        assert_eq!(read, answer);
        let empty = GetProductResponse::default();
        assert_eq!((empty.encoded_len(), empty.encode_to_vec().len()), (0, 0));
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut bytes = GetProductResponse::new(product()).encode_to_vec();
        bytes.extend([0x10, 0x05]);
        let read = GetProductResponse::decode(&*bytes).expect("it is a message");
        assert_eq!(read, GetProductResponse::new(product()));
    }
}
