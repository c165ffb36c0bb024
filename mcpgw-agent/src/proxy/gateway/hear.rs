//! What a server says unasked in a session: its one stream, listened to for as long as somebody wants to hear it.

use std::{ops::ControlFlow, sync::Arc};

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::sleep;

use super::{
    limits::{MAX_EVENT_BYTES, RETRY},
    link::Link,
    session::Session,
};
use crate::{
    mcp::sse::{Event, Parser},
    upstream::{Upstream, UpstreamBody},
};

/// Who hears it.
pub(super) trait Ear {
    /// The server lets itself be heard from now on.
    fn opened(&mut self) {}

    /// An event came; `Break` if nobody wants to hear more.
    fn hear(&mut self, link: &Arc<Link>, event: Event) -> impl Future<Output = ControlFlow<()>> + Send;
}

/// How a stream ended.
enum End {
    /// There is none: HTTP 405, or 404 in a session that is well.
    Never,
    /// Nobody listens any more.
    Unheard,
    /// It broke off, the server has become another, or something was in the way. Whether anything was heard before.
    Broken(bool),
    /// The server has lost the session.
    Lost,
}

/// Listens to a server in a session, until nobody wants to hear more, or the server has no such stream. One that breaks
/// off is opened again after a while, in a new session where the server has lost the old one, or has become another. A
/// server that is gone is looked for again.
pub(super) async fn hear(session: &Arc<Session>, server: impl Fn() -> Option<Arc<Upstream>>, ear: &mut impl Ear) {
    let mut pause = RETRY.0;
    loop {
        let end = match server() {
            Some(upstream) => at(session, &upstream, ear).await,
            None => End::Broken(false),
        };
        match end {
            End::Never | End::Unheard => return,
            End::Broken(true) => pause = RETRY.0,
            End::Broken(false) | End::Lost => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

async fn at(session: &Arc<Session>, upstream: &Arc<Upstream>, ear: &mut impl Ear) -> End {
    let server = &upstream.server().name;
    match session.link(upstream).await {
        Ok(link) => {
            let end = tokio::select! {
                end = once(&link, ear) => end,
                () = upstream.until_left() => End::Broken(true),
            };
            if matches!(end, End::Lost)
                && let Err(error) = session.reopen(upstream, &link).await
            {
                tracing::debug!(%server, %error, "a lost session could not be opened again");
            }
            end
        }
        Err(error) => {
            tracing::debug!(%server, %error, "a server cannot be listened to");
            End::Broken(false)
        }
    }
}

async fn once(link: &Arc<Link>, ear: &mut impl Ear) -> End {
    let Ok(response) = link.listen(None).await else {
        return End::Broken(false);
    };
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => End::Never,
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if link.is_lost().await => End::Lost,
        // Some servers have nothing at all where others refuse the method.
        StatusCode::NOT_FOUND => End::Never,
        status if status.is_success() => {
            ear.opened();
            let body = response.into_body().without_call_deadline();
            let mut heard = false;
            let following = follow(link, body, ear, &mut heard);
            match link.while_it_lasts(following).await {
                Some(ControlFlow::Break(())) => End::Unheard,
                Some(ControlFlow::Continue(())) | None => End::Broken(heard),
            }
        }
        // Also 409: the server does not know yet that the stream before has ended.
        _ => End::Broken(false),
    }
}

async fn follow(link: &Arc<Link>, mut body: UpstreamBody, ear: &mut impl Ear, heard: &mut bool) -> ControlFlow<()> {
    let mut parser = Parser::new(MAX_EVENT_BYTES, body.payer());
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(chunk) = frame.into_data() else { continue };
        parser.feed(&chunk);
        for event in parser.by_ref() {
            let Ok(event) = event else {
                return ControlFlow::Continue(());
            };
            *heard = true;
            ear.hear(link, event).await?;
        }
    }
    ControlFlow::Continue(())
}
