//! A name server on a node, whose answers a test changes.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::Node;

/// How soon it ends.
const TICK: Duration = Duration::from_millis(100);
/// A question, and all that comes before and after it.
const DATAGRAM: usize = 1500;
const HEADER: usize = 12;
/// Type `A`.
const ADDRESS: [u8; 2] = [0, 1];

/// Addresses by name; a name that is not there is refused.
type Names = Arc<Mutex<HashMap<String, Vec<Ipv4Addr>>>>;

/// A name server on a node's loopback. It knows IPv4 addresses, and says that nobody may keep them.
pub struct NameServer {
    names: Names,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Where it is asked; each node has a loopback of its own.
    pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Starts one that knows no names.
    pub fn new(node: &Node) -> Result<Self> {
        let socket = node.netns().run(|| UdpSocket::bind(SocketAddr::new(Self::ADDRESS, 53)));
        let socket = socket.context("listen as a name server")?;
        socket.set_read_timeout(Some(TICK))?;
        let (names, ended) = (Names::default(), Arc::<AtomicBool>::default());
        let thread = thread::spawn({
            let (names, ended) = (Arc::clone(&names), Arc::clone(&ended));
            move || {
                while !ended.load(Ordering::Relaxed) {
                    // A question that cannot be answered is asked again.
                    let _ = answer_one(&socket, &names);
                }
            }
        });
        Ok(Self {
            names,
            ended,
            thread: Some(thread),
        })
    }

    /// From now on the name has these addresses.
    pub fn say(&self, name: &str, addresses: &[Ipv4Addr]) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name.to_owned(), addresses.to_vec());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_one(socket: &UdpSocket, names: &Names) -> io::Result<()> {
    let mut bytes = [0; DATAGRAM];
    let (length, from) = socket.recv_from(&mut bytes)?;
    let answer = answer(&bytes[..length], names).ok_or(io::ErrorKind::InvalidData)?;
    socket.send_to(&answer, from).map(drop)
}

/// The answer to a message with one question.
fn answer(asked: &[u8], names: &Names) -> Option<Vec<u8>> {
    let (name, question) = question(asked.get(HEADER..)?)?;
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    let known = names.get(&name);
    let kind = question.get(question.len() - 4..question.len() - 2)?;
    let addresses = known.filter(|_| kind == ADDRESS).map(Vec::as_slice).unwrap_or_default();
    let refused = u8::from(known.is_none()) * 5;
    let mut answer = asked.get(..2)?.to_vec();
    answer.extend([
        0x81,
        0x80 | refused,
        0,
        1,
        0,
        u8::try_from(addresses.len()).ok()?,
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    for address in addresses {
        // The name of the question, in class IN, good for 0 s.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that is asked for, and the question as it stands.
fn question(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (mut name, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        let label = bytes.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(label).to_lowercase());
    }
    Some((name.join("."), bytes.get(..at + 4)?))
}
