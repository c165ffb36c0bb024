//! Settings that an agent takes over when it starts, and not while it runs.

use super::{Gateway, Settings};

impl Settings {
    /// Puts back what differs from the settings of a running agent and takes a restart to change; returns the
    /// paths of the fields that were put back.
    ///
    /// The gateway's listeners, its TLS and its authentication change together or not at all: what is safe on
    /// one listener is not on another.
    pub fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        match (&mut self.gateway, &running.gateway) {
            (Some(wanted), Some(running)) => keep(wanted, running, &mut kept),
            (wanted, running) if wanted != running => {
                wanted.clone_from(running);
                kept.push("spec.gateway");
            }
            _ => {}
        }
        if self.session_keys != running.session_keys {
            self.session_keys.clone_from(&running.session_keys);
            kept.push("spec.sessionKeysFile");
        }
        kept
    }
}

fn keep(wanted: &mut Gateway, running: &Gateway, kept: &mut Vec<&'static str>) {
    let Gateway {
        listen,
        tls,
        // The one field of a gateway that is read anew for each request.
        allowed_origins: _,
        authentication,
    } = wanted;
    if *listen != running.listen {
        listen.clone_from(&running.listen);
        kept.push("spec.gateway.listen");
    }
    if *tls != running.tls {
        tls.clone_from(&running.tls);
        kept.push("spec.gateway.tls");
    }
    if *authentication != running.authentication {
        *authentication = running.authentication;
        kept.push("spec.gateway.authentication");
    }
}
