//! Settings that an agent takes over when it starts, and not while it runs.

use super::{Authentication, Certificate, Gateway, Settings};

impl Settings {
    /// Puts back what differs from the settings that a running agent was started with and takes a restart to change;
    /// returns the paths of the fields that were put back.
    ///
    /// What is safe on one listener is not on another: where the listeners have changed, their certificate is left as
    /// it is `in_force` and their authentication put back with them, and never is that given up while running.
    pub fn keep_until_restart(&mut self, running: &Self, in_force: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        match (&mut self.gateway, &running.gateway) {
            (Some(wanted), Some(running)) => {
                let certificate = in_force.gateway.as_ref().and_then(|gateway| gateway.tls.clone());
                keep(wanted, running, certificate, &mut kept);
            }
            (wanted, None) if wanted.is_some() => {
                *wanted = None;
                kept.push("spec.gateway");
            }
            // It listens on as it does now.
            (wanted @ None, Some(_)) => {
                wanted.clone_from(&in_force.gateway);
                kept.push("spec.gateway");
            }
            _ => {}
        }
        if self.session_keys != running.session_keys {
            self.session_keys.clone_from(&running.session_keys);
            kept.push("spec.sessionKeysFile");
        }
        if self.pins != running.pins {
            self.pins.clone_from(&running.pins);
            kept.push("spec.pinsDirectory");
        }
        kept
    }
}

fn keep(wanted: &mut Gateway, running: &Gateway, certificate: Option<Certificate>, kept: &mut Vec<&'static str>) {
    let Gateway {
        listen,
        tls,
        // Read anew for each request.
        allowed_origins: _,
        authentication,
    } = wanted;
    let moved = *listen != running.listen;
    if moved {
        listen.clone_from(&running.listen);
        kept.push("spec.gateway.listen");
    }
    if moved && *tls != certificate {
        *tls = certificate;
        kept.push("spec.gateway.tls");
    }
    // What proves who callers are may change, but nobody is let in on a listener that was not meant for it.
    if *authentication != running.authentication && (moved || *authentication == Authentication::None) {
        *authentication = running.authentication;
        kept.push("spec.gateway.authentication");
    }
}
