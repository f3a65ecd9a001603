//! The cryptography of personal data: XChaCha20-Poly1305 with random nonces, on two levels. A data key seals
//! texts of one person; a master key wraps data keys. Each sealed value is bound to its place, so that it cannot
//! be moved to another order or person.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Generate, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use service_runtime::Secret;
use sha2::{Digest, Sha256};

use super::PersonalDataError;
use crate::domain::{KeySubject, OrderId, SealedText};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// First byte of a sealed text, should the form ever change.
const FORM: u8 = 1;
/// Bytes of a key's digest that name it.
const KEY_ID_BYTES: usize = 4;

/// Which text of an order is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Contact,
    CancellationNote,
}

impl Field {
    fn associated_data(self, order_id: OrderId) -> String {
        let name = match self {
            Self::Contact => "contact",
            Self::CancellationNote => "cancellation-note",
        };
        format!("order/{order_id}/{name}")
    }
}

/// The key that one person's data is sealed under.
pub struct DataKey(Key);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[data key]")
    }
}

impl DataKey {
    pub fn generate() -> Self {
        Self(Key::generate())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn id(&self) -> KeyId {
        key_id(self.bytes())
    }

    /// Seals a text of an order. Sealing twice gives different results.
    pub fn seal(&self, order_id: OrderId, field: Field, plaintext: &[u8]) -> SealedText {
        let sealed = seal(&self.0, field.associated_data(order_id).as_bytes(), plaintext);
        SealedText(URL_SAFE_NO_PAD.encode([&[FORM], &self.id()[..], &sealed].concat()))
    }

    /// The text; `None` when it was sealed under another key, which then is deleted: a person who was forgotten
    /// and came back has a new one.
    ///
    /// # Errors
    /// [`PersonalDataError::Tampered`] when it was sealed with this key, and not like this or not for this
    /// place.
    pub fn open(
        &self,
        order_id: OrderId,
        field: Field,
        sealed: &SealedText,
    ) -> Result<Option<Vec<u8>>, PersonalDataError> {
        let bytes = URL_SAFE_NO_PAD.decode(&sealed.0).map_err(|_| PersonalDataError::Tampered)?;
        let Some((&FORM, rest)) = bytes.split_first() else { return Err(PersonalDataError::Tampered) };
        let Some((id, sealed)) = rest.split_at_checked(KEY_ID_BYTES) else {
            return Err(PersonalDataError::Tampered);
        };
        if id != self.id() {
            return Ok(None);
        }
        open(&self.0, field.associated_data(order_id).as_bytes(), sealed).map(Some)
    }
}

type KeyId = [u8; KEY_ID_BYTES];

/// Names a key without telling anything of use about it.
fn key_id(key: &[u8]) -> KeyId {
    let digest = Sha256::digest(key);
    std::array::from_fn(|i| digest[i])
}

fn seal(key: &Key, associated_data: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let nonce = XNonce::generate();
    let payload = Payload { msg: plaintext, aad: associated_data };
    let sealed = XChaCha20Poly1305::new(key)
        .encrypt(&nonce, payload)
        .expect("texts are far shorter than the cipher's limit");
    [nonce.as_slice(), &sealed].concat()
}

fn open(key: &Key, associated_data: &[u8], sealed: &[u8]) -> Result<Vec<u8>, PersonalDataError> {
    let Some((nonce, sealed)) = sealed.split_at_checked(NONCE_BYTES) else {
        return Err(PersonalDataError::Tampered);
    };
    let nonce = XNonce::try_from(nonce).map_err(|_| PersonalDataError::Tampered)?;
    let payload = Payload { msg: sealed, aad: associated_data };
    XChaCha20Poly1305::new(key).decrypt(&nonce, payload).map_err(|_| PersonalDataError::Tampered)
}

/// The keys that wrap data keys, the current one first.
///
/// To rotate: add the new key at the end everywhere, then move it to the front everywhere; the data keys are
/// wrapped anew in the background, and once that is done the old one can go.
pub struct MasterKeys(Vec<(KeyId, Key)>);

/// Why master keys were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    #[error("at least one key for personal data is needed")]
    None,
    #[error("a key for personal data is 64 hexadecimal digits")]
    Malformed,
    #[error("a key for personal data is given twice")]
    Twice,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| hex(id))).finish()
    }
}

impl MasterKeys {
    /// Each is 32 bytes as hexadecimal digits.
    pub fn new(keys: &[Secret]) -> Result<Self, MasterKeyError> {
        let mut parsed: Vec<(KeyId, Key)> = Vec::with_capacity(keys.len());
        for key in keys {
            let key = parse(key.expose()).ok_or(MasterKeyError::Malformed)?;
            let id = key_id(&key);
            if parsed.iter().any(|(known, _)| *known == id) {
                return Err(MasterKeyError::Twice);
            }
            parsed.push((id, Key::from(key)));
        }
        if parsed.is_empty() { Err(MasterKeyError::None) } else { Ok(Self(parsed)) }
    }

    /// Names the key that wraps.
    pub(super) fn current(&self) -> KeyId {
        self.0[0].0
    }

    /// Wraps a data key under the current master key.
    pub(super) fn wrap(&self, subject: &KeySubject, key: &DataKey) -> Vec<u8> {
        seal(&self.0[0].1, subject.as_str().as_bytes(), key.bytes())
    }

    pub(super) fn unwrap(
        &self,
        subject: &KeySubject,
        master_key: &[u8],
        wrapped: &[u8],
    ) -> Result<DataKey, PersonalDataError> {
        let Some((_, master)) = self.0.iter().find(|(id, _)| id == master_key) else {
            return Err(PersonalDataError::UnknownMasterKey { id: hex(master_key) });
        };
        let key = open(master, subject.as_str().as_bytes(), wrapped)?;
        Ok(DataKey(Key::try_from(key.as_slice()).map_err(|_| PersonalDataError::Tampered)?))
    }
}

fn parse(digits: &str) -> Option<[u8; KEY_BYTES]> {
    if digits.len() != 2 * KEY_BYTES || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn order(number: u128) -> OrderId {
        OrderId::new(Uuid::from_u128(number))
    }

    fn master(digit: char) -> Secret {
        Secret::new(digit.to_string().repeat(64))
    }

    #[test]
    fn what_is_sealed_can_be_opened_where_it_belongs_and_nowhere_else() {
        let key = DataKey::generate();
        let sealed = key.seal(order(1), Field::Contact, b"12 Ring Road");
        let opened = key.open(order(1), Field::Contact, &sealed).unwrap();
        assert_eq!(opened.as_deref(), Some(&b"12 Ring Road"[..]));
        for (id, field) in [(order(2), Field::Contact), (order(1), Field::CancellationNote)] {
            assert!(matches!(key.open(id, field, &sealed), Err(PersonalDataError::Tampered)));
        }
    }

    #[test]
    fn what_was_sealed_under_a_deleted_key_stays_closed_and_is_no_error() {
        let sealed = DataKey::generate().seal(order(1), Field::Contact, b"12 Ring Road");
        let opened = DataKey::generate().open(order(1), Field::Contact, &sealed).unwrap();
        assert_eq!(opened, None);
    }

    #[test]
    fn sealing_twice_gives_different_texts_that_do_not_show_the_plaintext() {
        let key = DataKey::generate();
        let seal = || key.seal(order(1), Field::Contact, b"Ring Road");
        assert_ne!(seal(), seal());
        let bytes = URL_SAFE_NO_PAD.decode(seal().0).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"Ring"));
    }

    #[test]
    fn damaged_texts_are_refused() {
        let key = DataKey::generate();
        let whole = key.seal(order(1), Field::Contact, b"Ring Road").0;
        for damaged in
            ["", "x", "%%%", "AQ", &whole[..whole.len() - 2], &format!("{}AAAA", &whole[..whole.len() - 4])]
        {
            let damaged = SealedText(damaged.to_owned());
            assert!(key.open(order(1), Field::Contact, &damaged).is_err());
        }
    }

    #[test]
    fn a_wrapped_key_opens_with_its_master_key_for_its_person() {
        let subject = KeySubject::from_name("customer:c-1");
        let old = MasterKeys::new(&[master('a')]).unwrap();
        let key = DataKey::generate();
        let wrapped = old.wrap(&subject, &key);

        let rotated = MasterKeys::new(&[master('b'), master('a')]).unwrap();
        let unwrapped = rotated.unwrap(&subject, &old.current(), &wrapped).unwrap();
        assert_eq!(unwrapped.bytes(), key.bytes());
        assert_ne!(rotated.current(), old.current());

        let another = KeySubject::from_name("customer:c-2");
        assert!(matches!(old.unwrap(&another, &old.current(), &wrapped), Err(PersonalDataError::Tampered)));
        let stranger = MasterKeys::new(&[master('c')]).unwrap();
        let refused = stranger.unwrap(&subject, &old.current(), &wrapped);
        assert!(matches!(refused, Err(PersonalDataError::UnknownMasterKey { .. })));
    }

    #[test]
    fn malformed_missing_or_repeated_master_keys_are_refused_and_none_is_shown() {
        assert_eq!(MasterKeys::new(&[]).unwrap_err(), MasterKeyError::None);
        for wrong in ["", "abc", &"x".repeat(64), &"+".repeat(64), &"a".repeat(66), &"é".repeat(32)] {
            assert_eq!(
                MasterKeys::new(&[Secret::new(wrong)]).unwrap_err(),
                MasterKeyError::Malformed,
                "{wrong}"
            );
        }
        assert_eq!(MasterKeys::new(&[master('a'), master('A')]).unwrap_err(), MasterKeyError::Twice);
        assert!(!format!("{:?} {:?}", MasterKeys::new(&[master('a')]), DataKey::generate()).contains("aaaa"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: if testkit::is_long() { 200_000 } else { 2_000 },
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn nothing_but_what_was_sealed_is_ever_opened(
            plaintext: Vec<u8>, anything in ".{0,80}", flipped: usize, bit in 0..8_u32, cut: usize,
        ) {
            let key = DataKey::generate();
            let sealed = key.seal(order(1), Field::Contact, &plaintext);
            let opened = key.open(order(1), Field::Contact, &sealed).expect("it is whole");
            proptest::prop_assert_eq!(opened.as_ref(), Some(&plaintext));
            let mut bytes = URL_SAFE_NO_PAD.decode(&sealed.0).expect("it is base64");
            let at = flipped % bytes.len();
            bytes[at] ^= 1 << bit;
            let flipped = URL_SAFE_NO_PAD.encode(&bytes);
            let cut = sealed.0[..cut % sealed.0.len()].to_owned();
            for text in [flipped, cut, anything] {
                let opened = key.open(order(1), Field::Contact, &SealedText(text));
                // Under another key's name it is somebody else's, and closed.
                proptest::prop_assert!(!matches!(opened, Ok(Some(_))));
            }
        }
    }
}
