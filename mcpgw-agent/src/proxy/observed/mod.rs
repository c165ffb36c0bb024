//! Connections of workloads that are only observed: their bytes go to the server that they dialled and back, as they
//! are. What would be decided about them is found out from a copy, aside.
//!
//! Nothing that is found out there has a way back to the bytes: what it writes is thrown away, and it has no connection
//! of its own. So an outcome cannot change, whatever the rules say and whatever may be wrong with them.
//!
//! ```text
//! mod      the connection: to the server and back
//! tap      the copy of one direction, within bounds
//! shadow   the copy of the requests, taken through the same decisions as those of governed workloads
//! answers  the copy of the answers, in the order of the requests
//! ```

mod answers;
mod shadow;
mod tap;

use std::{io, sync::Arc, time::Duration};

use hyper::rt::Executor;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
    try_join,
};
use tokio_util::sync::CancellationToken;

pub(super) use answers::Answers;

use super::{
    Shared,
    limits::{OBSERVED_BUFFER, OBSERVED_CONNECT_TIMEOUT},
    room::Room,
};
use crate::identity::Caller;
use tap::Tap;

/// Takes a connection to the server that it was meant for. Dropping the future breaks both sides off.
pub(super) async fn serve(mut client: TcpStream, caller: Arc<Caller>, room: Room, shared: Arc<Shared>) {
    let connect = timeout(OBSERVED_CONNECT_TIMEOUT, TcpStream::connect(caller.destination));
    let server = connect.await.unwrap_or_else(|late| Err(late.into()));
    let mut server = match server.and_then(|server| server.set_nodelay(true).map(|()| server)) {
        Ok(server) => server,
        Err(error) => {
            tracing::debug!(%error, "an observed connection cannot be made");
            return reset(&client);
        }
    };
    let (requests, answers) = (Tap::new(&room.tapped), Tap::new(&room.tapped));
    let broken = CancellationToken::new();
    let until_broken = broken.clone().drop_guard();
    let shadow = shadow::watch(requests.clone(), answers.clone(), caller, room.clone(), shared);
    room.tasks.execute(async move {
        broken.run_until_cancelled(shadow).await;
    });
    let passed = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        try_join!(
            pass(&mut from_client, &mut to_server, &requests),
            pass(&mut from_server, &mut to_client, &answers),
        )
    };
    match passed {
        Ok(_) => drop(until_broken.disarm()),
        // Each side learns that the other has broken off.
        Err(_) => {
            reset(&client);
            reset(&server);
        }
    }
}

/// Passes bytes on until there are no more, and then says so.
async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), copy: &Tap) -> io::Result<()> {
    let mut bytes = vec![0; OBSERVED_BUFFER];
    loop {
        match from.read(&mut bytes).await? {
            0 => break,
            read => {
                to.write_all(&bytes[..read]).await?;
                copy.push(&bytes[..read]);
            }
        }
    }
    copy.end();
    to.shutdown().await
}

/// Lets a connection end with a reset when it is closed.
fn reset(stream: &TcpStream) {
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection cannot be reset");
    }
}
