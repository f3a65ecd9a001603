//! Reads an enum whose variant's name and content are stored apart, as if they stood together in one JSON text. That
//! spares writing such a text for every event that is read.

use serde::Deserializer as _;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, EnumAccess, VariantAccess, Visitor};
use serde::de::{Error as _, IntoDeserializer, Unexpected};
use serde_json::{Deserializer, Error};

/// Reads the variant `name` with this JSON as its content.
pub(super) fn read<T: DeserializeOwned>(name: &str, content: &str) -> Result<T, Error> {
    T::deserialize(Tagged { name, content })
}

#[derive(Clone, Copy)]
struct Tagged<'a> {
    name: &'a str,
    content: &'a str,
}

impl<'de> serde::Deserializer<'de> for Tagged<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Tagged<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name: StrDeserializer<'de, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Err(Error::invalid_type(Unexpected::UnitVariant, &"a variant with content"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let mut content = Deserializer::from_str(self.content);
        let value = seed.deserialize(&mut content)?;
        content.end()?;
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        let mut content = Deserializer::from_str(self.content);
        let value = content.deserialize_seq(visitor)?;
        content.end()?;
        Ok(value)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut content = Deserializer::from_str(self.content);
        let value = content.deserialize_struct("", fields, visitor)?;
        content.end()?;
        Ok(value)
    }
}
