//! Paths: of a server's MCP endpoint, of a cgroup, of a network namespace, of a file with a certificate or keys.

use std::path::PathBuf;

use super::{
    bounds::{MAX_FILE_PATH_BYTES, MAX_PATH_BYTES},
    fields::{Field, Sink},
    problem::quote,
};

/// The HTTP path at `field`: one that can be written in one way only, so that no two spellings of it are
/// treated differently.
pub(super) fn http(field: &Field, sink: &mut Sink) -> Option<String> {
    let text = field.text(sink)?;
    let reason = if text.len() > MAX_PATH_BYTES {
        format!("is {} bytes long; at most {MAX_PATH_BYTES} are allowed", text.len())
    } else if !text.starts_with('/') {
        format!("{} does not begin with \"/\"", quote(text))
    } else if let Some(strange) = text.chars().find(|c| !allowed_in_http_path(*c)) {
        format!(
            "{} has a {strange:?}; use letters, digits and -._~!$&'()*+,=:@/",
            quote(text)
        )
    } else if let Some(reason) = ambiguous(text) {
        reason
    } else {
        return Some(text.to_owned());
    };
    field.report(sink, reason);
    None
}

/// The cgroup at `field`, below the cgroup v2 mount.
pub(super) fn cgroup(field: &Field, sink: &mut Sink) -> Option<PathBuf> {
    let text = field.text(sink)?;
    if text == "/" {
        field.report(sink, "\"/\" is the root cgroup: every process would be this workload");
        return None;
    }
    // No cgroup is called so: it would wait for ever, and its processes would dial directly meanwhile.
    if text.starts_with("/sys/fs/cgroup") {
        let reason = format!(
            "{} is the whole path; give the path below the cgroup v2 mount",
            quote(text)
        );
        field.report(sink, reason);
        return None;
    }
    file(
        field,
        sink,
        "below the cgroup v2 mount, for example \"/agents/researcher\"",
    )
}

/// The path of the file that names a network namespace, at `field`.
pub(super) fn network_namespace(field: &Field, sink: &mut Sink) -> Option<PathBuf> {
    file(field, sink, "for example \"/run/netns/researcher\"")
}

/// The path of a file with a certificate, an authority or keys, at `field`. Whether it is there is found out
/// when it is read.
pub(super) fn pem(field: &Field, sink: &mut Sink) -> Option<PathBuf> {
    file(field, sink, "for example \"/etc/mcpgw/tls.pem\"")
}

/// The path of a file that is written to, at `field`.
pub(super) fn log(field: &Field, sink: &mut Sink) -> Option<PathBuf> {
    file(field, sink, "for example \"/var/log/mcpgw/audit.jsonl\"")
}

/// The path of a file with a secret, at `field`.
pub(super) fn secret(field: &Field, sink: &mut Sink) -> Option<PathBuf> {
    file(field, sink, "for example \"/etc/mcpgw/token\"")
}

/// The path of a file with an issuer's keys, at `field`.
pub(super) fn key_set(field: &Field, sink: &mut Sink) -> Option<PathBuf> {
    file(field, sink, "for example \"/etc/mcpgw/jwks.json\"")
}

fn file(field: &Field, sink: &mut Sink, example: &str) -> Option<PathBuf> {
    let text = field.text(sink)?;
    let reason = if text.len() > MAX_FILE_PATH_BYTES {
        format!(
            "is {} bytes long; at most {MAX_FILE_PATH_BYTES} are allowed",
            text.len()
        )
    } else if !text.starts_with('/') || text == "/" {
        format!("{} is not a path that begins with \"/\", {example}", quote(text))
    } else if text.contains('\0') {
        format!("{} has a NUL byte", quote(text))
    } else if let Some(reason) = ambiguous(text) {
        reason
    } else {
        return Some(PathBuf::from(text));
    };
    field.report(sink, reason);
    None
}

fn allowed_in_http_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,=:@/".contains(c)
}

/// Why a path that begins with `/` has a second spelling.
fn ambiguous(path: &str) -> Option<String> {
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Some(format!("{} has a \".\" or \"..\" segment", quote(path)));
    }
    if path.contains("//") {
        return Some(format!("{} has an empty segment (\"//\")", quote(path)));
    }
    if path.len() > 1 && path.ends_with('/') {
        return Some(format!(
            "{} ends with \"/\"; write it as {}",
            quote(path),
            quote(path.trim_end_matches('/'))
        ));
    }
    None
}
