//! The one question of Kafka's protocol that tells whether a broker serves: an open port does not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// For a broker on this machine, busy as it may be.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Length, key 3 (Metadata), version 1, correlation id 1, no client id, no topics.
const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
/// A handful of brokers without topics.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The ports of all brokers that the one at `broker` knows to be up, on the listener that it is asked on.
pub(super) fn members(broker: SocketAddr) -> io::Result<Vec<u16>> {
    let mut stream = TcpStream::connect_timeout(&broker, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(&REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST_ANSWER {
        return Err(malformed());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    parse(&answer).ok_or_else(malformed)
}

/// Correlation id, then each broker: id, host, port, rack.
fn parse(answer: &[u8]) -> Option<Vec<u16>> {
    let mut rest = answer.get(4..)?;
    let brokers = u32::from_be_bytes(take(&mut rest)?);
    let mut ports = Vec::new();
    for _ in 0..brokers {
        let _id: [u8; 4] = take(&mut rest)?;
        skip_text(&mut rest)?;
        ports.push(u16::try_from(u32::from_be_bytes(take(&mut rest)?)).ok()?);
        skip_text(&mut rest)?;
    }
    Some(ports)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

/// A length of -1 is no text.
fn skip_text(rest: &mut &[u8]) -> Option<()> {
    let length = i16::from_be_bytes(take(rest)?).max(0);
    *rest = rest.get(usize::try_from(length).ok()?..)?;
    Some(())
}

fn malformed() -> io::Error {
    io::Error::other("this is not how Kafka answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: [u8; 37] =
        *b"\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x09127.0.0.1\0\0\xe6\xd4\xff\xff\0\0\0\x01\0\0\0\0";

    #[test]
    fn a_broker_names_the_brokers_that_are_up() {
        assert_eq!(parse(&ANSWER), Some(vec![0xe6d4]));
    }

    #[test]
    fn half_an_answer_is_no_answer() {
        assert!((0..29).all(|length| parse(&ANSWER[..length]).is_none()));
    }
}
