//! A DNS server over UDP that says what the test wants, by hand: one question, A records.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

/// Length of a message's header.
const HEADER: usize = 12;
const TYPE_A: u16 = 1;

/// What it answers to every name.
#[derive(Clone, Debug)]
pub enum Says {
    Addresses(Vec<Ipv4Addr>, u32),
    NoSuchName,
    Nothing,
}

pub struct DnsServer {
    pub address: SocketAddr,
    says: Arc<Mutex<Says>>,
    task: tokio::task::JoinHandle<()>,
}

impl DnsServer {
    pub async fn start(says: Says) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, says) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(says)));
        let current = Arc::clone(&says);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, asker)) = socket.recv_from(&mut buffer).await {
                let says = current.lock().unwrap().clone();
                if let Some(answer) = answer(&buffer[..length], &says) {
                    let _ = socket.send_to(&answer, asker).await;
                }
            }
        });
        Self { address, says, task }
    }

    pub fn now_says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(query: &[u8], says: &Says) -> Option<Vec<u8>> {
    let name = query[HEADER..].iter().position(|length| *length == 0)? + HEADER + 1;
    let question = &query[HEADER..name + 4];
    let wants_a = query[name..name + 2] == TYPE_A.to_be_bytes();
    let (addresses, ttl, code): (&[Ipv4Addr], u32, u8) = match says {
        Says::Addresses(addresses, ttl) if wants_a => (addresses, *ttl, 0),
        Says::Addresses(_, ttl) => (&[], *ttl, 0),
        Says::NoSuchName => (&[], 0, 3),
        Says::Nothing => return None,
    };
    let count = u16::try_from(addresses.len()).unwrap();
    // Id; an answer with recursion; one question, so many records.
    let mut message = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1];
    message.extend(count.to_be_bytes());
    message.extend([0, 0, 0, 0]);
    message.extend(question);
    for address in addresses {
        // The name of the question, type A, class IN.
        message.extend([0xc0, 0x0c, 0, 1, 0, 1]);
        message.extend(ttl.to_be_bytes());
        message.extend([0, 4]);
        message.extend(address.octets());
    }
    Some(message)
}
