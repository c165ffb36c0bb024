//! `tools/list` and its kin: answered from the catalogues.

use bytes::{BufMut, Bytes};
use http::StatusCode;
use serde_json::value::RawValue;

use super::{
    Call,
    answer::{self, Form},
    view::Kind,
};
use crate::{
    identity::jwt::Refusal,
    mcp::{
        Envelope,
        error::code,
        seal::{Cursor, Token as _},
        splice::json_string,
        version::Era,
    },
    proxy::{now, refused::Refused},
    telemetry::Outcome,
};

/// Answers a list request, and records what its caller was shown.
pub(super) fn answer(call: &Call<'_>, kind: Kind, id: &RawValue, envelope: &Envelope<'_>) -> Result<Bytes, Refused> {
    if call.view.is_of_a_thief() {
        // What it may have is listed, and what it may not have is not; that it tried is not kept quiet.
        call.shared.refuse(Refusal::Stolen.reason(), call.caller);
    }
    let sealer = &call.gateway.sealer;
    let list = (kind.sealed(), call.catalog);
    let cursor = envelope.params.cursor.as_deref();
    let cursor = cursor.map(|text| Cursor::open_for(list, sealer, text, call.owner, now()));
    let cursor = cursor.transpose().map_err(|_| {
        Refused::protocol(StatusCode::OK, code::INVALID_PARAMS, "cursor", "Invalid cursor").to(Some(id))
    })?;
    let last = cursor.as_ref().map(|cursor| &*cursor.position);
    let listed = call.view.list(kind);
    let part = listed.page(last);
    let next = part.next.map(|last| {
        let cursor = Cursor {
            kind: kind.sealed(),
            catalog: call.catalog.map(ToOwned::to_owned),
            owner: call.owner,
            position: last.to_owned(),
            issued: now(),
        };
        cursor.seal(sealer)
    });
    let next = next
        .transpose()
        .map_err(|error| Refused::no_cursor(&error).to(Some(id)))?;
    let form = match call.era {
        Era::Legacy => Form::Legacy,
        Era::Modern => Form::ModernList,
    };
    let list = answer::with_members(id, form, |result| {
        result.reserve(part.items.len() + 256);
        result.put_u8(b'"');
        result.put_slice(kind.member().as_bytes());
        result.put_slice(b"\":[");
        result.put_slice(&part.items);
        result.put_u8(b']');
        if let Some(next) = next {
            result.put_slice(br#","nextCursor":"#);
            result.put_slice(&json_string(&next));
        }
    });
    let method = envelope.method.as_deref().unwrap_or_default();
    let mut record = call.shared.telemetry.call(call.start(method, id, envelope));
    record.status(StatusCode::OK.as_u16());
    record.lists().add(part.count, listed.denied);
    record.add_response_bytes(list.len() as u64);
    record.outcome(Outcome::Ok, None);
    Ok(list)
}
