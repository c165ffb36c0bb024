//! TLS: towards a server, from a client, and the certificates for it.

use super::{
    Certificate, ClientTls, UpstreamTls,
    fields::{Field, Fields, Schema, Sink},
    host, path,
};

const UPSTREAM: Schema = Schema {
    known: &["serverName", "caFile"],
    later: &["caSecretRef", "clientCertificate"],
};
const CLIENT: Schema = Schema {
    known: &["mode", "certificateFile", "keyFile"],
    later: &["secretRef"],
};
const CERTIFICATE: Schema = Schema {
    known: &["certificateFile", "keyFile"],
    later: &["secretRef"],
};

/// `tls` of a server. `{}` is a wish of its own: TLS with everything by default.
pub(super) fn upstream(field: &Field, sink: &mut Sink) -> Option<UpstreamTls> {
    let fields = field.fields(&UPSTREAM, sink)?;
    let server_name = match fields.optional("serverName") {
        Some(field) => Some(host::server_name(&field, sink)?.into()),
        None => None,
    };
    let authorities = match fields.optional("caFile") {
        Some(field) => Some(path::pem(&field, sink)?),
        None => None,
    };
    Some(UpstreamTls {
        server_name,
        authorities,
    })
}

/// `clientTLS` of a server.
pub(super) fn client(field: &Field, sink: &mut Sink) -> Option<ClientTls> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Mode {
        Terminate,
        Refuse,
        Passthrough,
    }
    let fields = field.fields(&CLIENT, sink)?;
    let choices = [
        ("Terminate", Mode::Terminate),
        ("Refuse", Mode::Refuse),
        ("Passthrough", Mode::Passthrough),
    ];
    let mode = fields.required("mode", sink)?.choice(&choices, &[], sink)?;
    if mode == Mode::Terminate {
        return certificate(&fields, sink).map(ClientTls::Terminate);
    }
    let mut alone = true;
    for name in ["certificateFile", "keyFile"] {
        if let Some(field) = fields.optional(name) {
            field.report(sink, "says something with mode Terminate only; leave it out");
            alone = false;
        }
    }
    alone.then_some(match mode {
        Mode::Passthrough => ClientTls::Passthrough,
        _ => ClientTls::Refuse,
    })
}

/// `tls` of the gateway.
pub(super) fn gateway(field: &Field, sink: &mut Sink) -> Option<Certificate> {
    certificate(&field.fields(&CERTIFICATE, sink)?, sink)
}

fn certificate(fields: &Fields, sink: &mut Sink) -> Option<Certificate> {
    let mut file = |name| fields.required(name, sink).and_then(|field| path::pem(&field, sink));
    let (certificate, key) = (file("certificateFile"), file("keyFile"));
    Some(Certificate {
        certificate: certificate?,
        key: key?,
    })
}
