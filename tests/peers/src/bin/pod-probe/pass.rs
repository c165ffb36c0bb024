//! Hands a socket from one process to another (`SCM_RIGHTS`), as a workload might to escape its own rules.

use std::{
    io::{IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::dial::{Dial, Outcome};

/// For the other side to appear.
const LIMIT: Duration = Duration::from_secs(5);

/// Makes an unconnected TCP socket and passes it to whoever listens at `path`.
pub fn send(path: &Path, ipv6: bool) -> Result<Value> {
    let socket = Socket::new(if ipv6 { Domain::IPV6 } else { Domain::IPV4 }, Type::STREAM, None)?;
    let deadline = Instant::now() + LIMIT;
    let stream = loop {
        match UnixStream::connect(path) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("connect to {}", path.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    let descriptors = [socket.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<UnixAddr>(
        stream.as_raw_fd(),
        &[IoSlice::new(b"s")],
        &rights,
        MsgFlags::empty(),
        None,
    )
    .context("pass the socket")?;
    Ok(json!({"passed": true}))
}

/// Takes a socket at `path` and connects it.
pub fn receive_and_connect(path: &Path, dial: &Dial) -> Result<Outcome> {
    let listener = UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))?;
    let (stream, _) = listener.accept().context("accept")?;
    let mut byte = [0_u8; 1];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message = recvmsg::<UnixAddr>(stream.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty())
        .context("receive the socket")?;
    for control in message.cmsgs().context("read the control message")? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(descriptor) = descriptors.first()
        {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(*descriptor) });
            return Ok(dial.connect_socket(&socket));
        }
    }
    bail!("the message carried no socket")
}
