//! Why a connection was decided as it was. One closed list: the kernel counts by it, metrics label by it,
//! `mcpgw explain` prints it.

/// The reason of a decision; its number is the index in the counters map.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The destination is no governed address. Not counted: it is not our traffic.
    NotGoverned = 0,
    /// The caller is the agent itself.
    Agent = 1,
    /// The workload's mode is `off`.
    ModeOff = 2,
    /// No workload is known for the caller's cgroup, and `unknownWorkloads` is `Pass`.
    UnknownPassed = 3,
    /// Governed: sent to the listener in the workload's network namespace.
    Governed = 4,
    /// No workload is known for the caller's cgroup, and `unknownWorkloads` is `Refuse`.
    UnknownRefused = 5,
    /// The socket's network namespace and the calling task's cgroup do not belong to one workload.
    IdentityMismatch = 6,
    /// The workload is enrolled, but has no listener yet (or no longer).
    NoListener = 7,
    /// The workload has no IPv6 listener, and the socket is native IPv6.
    NoListenerV6 = 8,
    /// Governed addresses are for TCP; this socket is of another protocol.
    NotTcp = 9,
    /// The listener's own port on loopback was dialled.
    ListenerDialled = 10,
    /// Too many connections of the workload wait to be accepted.
    Quota = 11,
    /// The socket is bound to a device, and the binding could not be cleared.
    DeviceBound = 12,
    /// The kernel had no memory for the original destination.
    NoStorage = 13,
    /// Someone tried to bind the listener's port.
    ListenerPortBound = 14,
    /// `sock_ops`: a connection to the listener without a stored destination, or over the hard ceiling.
    NotCommitted = 15,
    /// The address is a server's that is reached through the gateway only.
    GatewayOnly = 16,
    /// The workload is only observed, and cannot be taken to the proxy now: it dials as if there were none.
    Observed = 17,
    /// Nobody listens where the connection would be sent: no agent runs.
    NoAgent = 18,
}

impl Reason {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 19] = [
        Self::NotGoverned,
        Self::Agent,
        Self::ModeOff,
        Self::UnknownPassed,
        Self::Governed,
        Self::UnknownRefused,
        Self::IdentityMismatch,
        Self::NoListener,
        Self::NoListenerV6,
        Self::NotTcp,
        Self::ListenerDialled,
        Self::Quota,
        Self::DeviceBound,
        Self::NoStorage,
        Self::ListenerPortBound,
        Self::NotCommitted,
        Self::GatewayOnly,
        Self::Observed,
        Self::NoAgent,
    ];

    /// The name in metrics, status and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotGoverned => "not_governed",
            Self::Agent => "agent",
            Self::ModeOff => "mode_off",
            Self::UnknownPassed => "unknown_passed",
            Self::Governed => "governed",
            Self::UnknownRefused => "unknown_refused",
            Self::IdentityMismatch => "identity_mismatch",
            Self::NoListener => "no_listener",
            Self::NoListenerV6 => "no_listener_v6",
            Self::NotTcp => "not_tcp",
            Self::ListenerDialled => "listener_dialled",
            Self::Quota => "quota",
            Self::DeviceBound => "device_bound",
            Self::NoStorage => "no_storage",
            Self::ListenerPortBound => "listener_port_bound",
            Self::NotCommitted => "not_committed",
            Self::GatewayOnly => "gateway_only",
            Self::Observed => "observed",
            Self::NoAgent => "no_agent",
        }
    }

    /// What the decision with this reason is called in metrics: `pass`, `redirect` or `refuse`.
    pub const fn decision(self) -> &'static str {
        match self {
            Self::NotGoverned | Self::Agent | Self::ModeOff | Self::UnknownPassed | Self::Observed => "pass",
            Self::Governed => "redirect",
            _ => "refuse",
        }
    }

    /// Where in the kernel it is decided: `connect`, `bind` or `sock_ops`.
    pub const fn layer(self) -> &'static str {
        match self {
            Self::ListenerPortBound => "bind",
            Self::NotCommitted => "sock_ops",
            _ => "connect",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_stands_at_the_index_of_its_number() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
