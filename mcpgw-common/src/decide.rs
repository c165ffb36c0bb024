//! The verdicts. Pure: everything they depend on is in their argument.

use crate::{
    Address, Reason,
    layout::{GOVERNED_GATEWAY, GOVERNED_REDIRECT, MODE_OBSERVE, MODE_OFF, QUOTA, Settings, Workload},
};

/// What the map of governed addresses says about a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Governed {
    /// It is no governed address.
    No,
    /// Dials go to the listener.
    Redirect,
    /// Dials are refused.
    Refuse,
    /// It is the gateway's own: as [`Self::Redirect`], and whom the kernel does not know may dial it.
    Gateway,
}

impl Governed {
    /// From the value in the map, if there is an entry.
    #[inline(always)]
    pub const fn from_value(value: Option<u32>) -> Self {
        match value {
            None => Self::No,
            Some(GOVERNED_REDIRECT) => Self::Redirect,
            Some(GOVERNED_GATEWAY) => Self::Gateway,
            Some(_) => Self::Refuse,
        }
    }

    /// Whether it is a governed address.
    #[inline(always)]
    pub const fn is_governed(self) -> bool {
        !matches!(self, Self::No)
    }
}

/// What a connect hook knows.
#[derive(Clone, Copy, Debug)]
pub struct Connect {
    /// The address that is dialled.
    pub destination: Address,
    /// Its port, host order.
    pub port: u32,
    /// What the map of governed addresses says about (destination, port).
    pub governed: Governed,
    /// Whether the socket is TCP (or MPTCP).
    pub tcp: bool,
    /// Id of the calling task's own cgroup.
    pub task_cgroup: u64,
    /// The workload whose cgroup holds the calling task, if one is enrolled.
    pub workload: Option<Workload>,
    /// Cookie of the socket's network namespace.
    pub netns_cookie: u64,
    /// Whether that namespace belongs to a workload that is enforced.
    pub netns_enforced: bool,
    /// Connections of the workload that wait to be accepted.
    pub waiting: u64,
    /// Whether the agent is alive and listens in the socket's namespace. Counts for observed workloads alone.
    pub served: bool,
}

/// What happens to a connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes where it was meant to go.
    Pass(Reason),
    /// It goes to the workload's listener.
    Redirect(Reason),
    /// The application gets `ECONNREFUSED`.
    Refuse(Reason),
}

impl Verdict {
    /// Why.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Pass(reason) | Self::Redirect(reason) | Self::Refuse(reason) => reason,
        }
    }
}

/// Whether a connect needs more than its destination to be decided. Everything else passes at once: the
/// price that ungoverned traffic pays is this and one map lookup.
#[inline(always)]
pub const fn concerns_us(settings: &Settings, destination: &Address, port: u32, governed: Governed) -> bool {
    governed.is_governed() || is_listener(settings, destination, port)
}

#[inline(always)]
const fn is_listener(settings: &Settings, destination: &Address, port: u32) -> bool {
    port == settings.listener_port && destination.is_loopback()
}

/// Decides a connect.
#[inline(always)]
pub const fn connect(settings: &Settings, c: &Connect) -> Verdict {
    let listener = is_listener(settings, &c.destination, c.port);
    let governed = c.governed.is_governed();
    if !governed && !listener {
        return Verdict::Pass(Reason::NotGoverned);
    }
    if settings.agent_cgroup != 0 && c.task_cgroup == settings.agent_cgroup {
        return Verdict::Pass(Reason::Agent);
    }
    let workload = match c.workload {
        Some(workload) => workload,
        // A task that belongs to no workload, with a socket of one: handed over, or moved out.
        None if c.netns_enforced => return Verdict::Refuse(Reason::IdentityMismatch),
        // On the loopback of an unknown namespace there is no listener of ours.
        None if listener && !governed => return Verdict::Pass(Reason::NotGoverned),
        None if matches!(c.governed, Governed::Gateway) => return Verdict::Pass(Reason::UnknownPassed),
        None if settings.refuse_unknown != 0 => return Verdict::Refuse(Reason::UnknownRefused),
        None => return Verdict::Pass(Reason::UnknownPassed),
    };
    if workload.mode == MODE_OFF {
        // An enforced workload's socket is not freed by passing it to a workload that is off.
        return if c.netns_enforced {
            Verdict::Refuse(Reason::IdentityMismatch)
        } else {
            Verdict::Pass(Reason::ModeOff)
        };
    }
    if workload.mode == MODE_OBSERVE {
        return observed(&workload, c);
    }
    if workload.netns_cookie == 0 {
        return Verdict::Refuse(Reason::NoListener);
    }
    if workload.netns_cookie != c.netns_cookie {
        return Verdict::Refuse(Reason::IdentityMismatch);
    }
    if listener {
        return Verdict::Refuse(Reason::ListenerDialled);
    }
    if matches!(c.governed, Governed::Refuse) {
        return Verdict::Refuse(Reason::GatewayOnly);
    }
    if !c.tcp {
        return Verdict::Refuse(Reason::NotTcp);
    }
    if workload.listener_v4 == 0 {
        return Verdict::Refuse(Reason::NoListener);
    }
    if !c.destination.is_v4() && workload.listener_v6 == 0 {
        return Verdict::Refuse(Reason::NoListenerV6);
    }
    if c.waiting >= QUOTA {
        return Verdict::Refuse(Reason::Quota);
    }
    Verdict::Redirect(Reason::Governed)
}

/// What a workload gets that is only observed: the proxy, if nothing at all is in the way, and else what it dials.
#[inline(always)]
const fn observed(workload: &Workload, c: &Connect) -> Verdict {
    // An enforced workload's socket is not freed by passing it on.
    if c.netns_enforced {
        return Verdict::Refuse(Reason::IdentityMismatch);
    }
    let own = workload.netns_cookie != 0 && workload.netns_cookie == c.netns_cookie;
    let listens = workload.listener_v4 != 0 && (c.destination.is_v4() || workload.listener_v6 != 0);
    let reachable = c.served && own && listens;
    if !c.governed.is_governed() {
        // The listener's port: without us nobody would be there, and while we are, nobody else is.
        return match reachable {
            true => Verdict::Refuse(Reason::ListenerDialled),
            false => Verdict::Pass(Reason::Observed),
        };
    }
    match reachable && c.tcp && c.waiting < QUOTA {
        true => Verdict::Redirect(Reason::Governed),
        false => Verdict::Pass(Reason::Observed),
    }
}

/// Whether a process may bind `port`: in an enrolled workload the listener's port is the agent's.
///
/// `workload` is the one whose cgroup holds the calling task, `netns_enforced` as in [`Connect`]; UDP is
/// left alone, since the listener is TCP.
#[inline(always)]
pub const fn bind(
    settings: &Settings,
    port: u32,
    tcp: bool,
    task_cgroup: u64,
    workload: Option<Workload>,
    netns_enforced: bool,
) -> Verdict {
    if port != settings.listener_port || !tcp {
        return Verdict::Pass(Reason::NotGoverned);
    }
    if settings.agent_cgroup != 0 && task_cgroup == settings.agent_cgroup {
        return Verdict::Pass(Reason::Agent);
    }
    match workload {
        Some(workload) if workload.is_enforced() => Verdict::Refuse(Reason::ListenerPortBound),
        _ if netns_enforced => Verdict::Refuse(Reason::ListenerPortBound),
        _ => Verdict::Pass(Reason::NotGoverned),
    }
}
