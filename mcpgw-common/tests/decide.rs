//! What must hold for every connect, whatever the rest of the facts are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mcpgw_common::{
    Address, Endpoint, Reason,
    decide::{self, Connect, Governed, Verdict},
    layout::{MODE_ENFORCE, MODE_OBSERVE, MODE_OFF, QUOTA, Settings, Workload},
};
use proptest::prelude::*;

const PORT: u32 = 17_017;

fn ips() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|o| IpAddr::V4(Ipv4Addr::from(o))),
        any::<[u8; 16]>().prop_map(|o| IpAddr::V6(Ipv6Addr::from(o))),
        Just(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Just(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Just(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        Just(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    ]
}

fn ports() -> impl Strategy<Value = u32> {
    prop_oneof![Just(PORT), 1..65_536_u32]
}

prop_compose! {
    fn settings()(agent_cgroup in 0..4_u64, refuse_unknown in 0..2_u32) -> Settings {
        Settings { agent_cgroup, listener_port: PORT, refuse_unknown }
    }
}

prop_compose! {
    fn workloads()(netns_cookie in 0..4_u64, mode in 0..4_u32, v4 in 0..2_u32, v6 in 0..2_u32) -> Workload {
        Workload { netns_cookie, mode, slot: 0, listener_v4: v4, listener_v6: v6 }
    }
}

fn governed() -> impl Strategy<Value = Governed> {
    proptest::option::of(0..5_u32).prop_map(Governed::from_value)
}

prop_compose! {
    fn connects()(
        ip in ips(),
        port in ports(),
        governed in governed(),
        tcp: bool,
        task_cgroup in 1..6_u64,
        workload in proptest::option::of(workloads()),
        netns_cookie in 1..4_u64,
        netns_enforced: bool,
        served: bool,
        waiting in prop_oneof![Just(0), Just(QUOTA - 1), QUOTA..u64::MAX],
    ) -> Connect {
        Connect { destination: ip.into(), port, governed, tcp, task_cgroup, workload, netns_cookie, netns_enforced, waiting, served }
    }
}

proptest! {
    /// The mission in one property.
    #[test]
    fn an_enforced_workload_never_reaches_a_governed_address_directly(s in settings(), c in connects()) {
        let enforced = c.workload.is_some_and(|w| w.is_enforced());
        let agent = s.agent_cgroup != 0 && c.task_cgroup == s.agent_cgroup;
        if c.governed.is_governed() && enforced && !agent {
            let passed = matches!(decide::connect(&s, &c), Verdict::Pass(_));
            prop_assert!(!passed);
        }
    }

    /// Neither does anyone else with a socket of an enforced workload's namespace.
    #[test]
    fn a_socket_of_an_enforced_namespace_never_reaches_a_governed_address_directly(s in settings(), c in connects()) {
        let agent = s.agent_cgroup != 0 && c.task_cgroup == s.agent_cgroup;
        if c.governed.is_governed() && c.netns_enforced && !agent {
            let passed = matches!(decide::connect(&s, &c), Verdict::Pass(_));
            prop_assert!(!passed);
        }
    }

    #[test]
    fn a_redirect_is_a_governed_tcp_connect_of_an_enforced_workload_in_its_own_namespace(s in settings(), c in connects()) {
        if let Verdict::Redirect(reason) = decide::connect(&s, &c) {
            let w = c.workload.unwrap();
            prop_assert_eq!(reason, Reason::Governed);
            prop_assert!(c.governed.is_governed() && (w.mode == MODE_OBSERVE || c.governed != Governed::Refuse) && c.tcp && w.mode != MODE_OFF && w.netns_cookie == c.netns_cookie);
            prop_assert!(w.listener_v4 == 1 && (c.destination.is_v4() || w.listener_v6 == 1));
            prop_assert!(c.waiting < QUOTA);
        }
    }

    /// Its outcome is its own, but where it has another workload's socket.
    #[test]
    fn an_observed_workload_is_never_refused_what_it_could_have(s in settings(), c in connects()) {
        let mut c = c;
        c.workload = c.workload.map(|w| Workload { mode: MODE_OBSERVE, ..w });
        c.netns_enforced = false;
        let agent = s.agent_cgroup != 0 && c.task_cgroup == s.agent_cgroup;
        if let (Some(w), true, false) = (c.workload, c.governed.is_governed(), agent) {
            let verdict = decide::connect(&s, &c);
            prop_assert!(!matches!(verdict, Verdict::Refuse(_)), "{verdict:?}");
            prop_assert!(c.served || verdict == Verdict::Pass(Reason::Observed));
            prop_assert!(w.netns_cookie == c.netns_cookie || verdict == Verdict::Pass(Reason::Observed));
        }
    }

    #[test]
    fn what_is_neither_governed_nor_the_listener_passes_untouched(s in settings(), c in connects()) {
        if !decide::concerns_us(&s, &c.destination, c.port, c.governed) {
            prop_assert_eq!(decide::connect(&s, &c), Verdict::Pass(Reason::NotGoverned));
        }
    }

    #[test]
    fn an_unknown_workload_gets_what_the_setting_says(s in settings(), mut c in connects()) {
        c.workload = None;
        c.netns_enforced = false;
        c.task_cgroup = 9;
        prop_assume!(c.governed.is_governed());
        let refused = matches!(decide::connect(&s, &c), Verdict::Refuse(_));
        prop_assert_eq!(refused, s.refuse_unknown == 1 && c.governed != Governed::Gateway);
    }

    #[test]
    fn the_listener_port_is_bound_by_nobody_in_an_enforced_workload(s in settings(), w in workloads(), netns_enforced: bool) {
        let verdict = decide::bind(&s, PORT, true, 9, Some(w), netns_enforced);
        let refused = matches!(verdict, Verdict::Refuse(_));
        prop_assert_eq!(refused, w.is_enforced() || netns_enforced);
    }

    #[test]
    fn other_ports_and_protocols_are_bound_freely(s in settings(), w in workloads(), port in 0..65_536_u32, tcp: bool) {
        if port != PORT || !tcp {
            let passed = matches!(decide::bind(&s, port, tcp, 9, Some(w), true), Verdict::Pass(_));
            prop_assert!(passed);
        }
    }

    #[test]
    fn an_address_survives_the_way_through_the_maps(ip in ips(), port: u16) {
        let addr = SocketAddr::new(ip, port);
        let back = SocketAddr::from(Endpoint::from(addr));
        prop_assert_eq!(back, SocketAddr::new(ip.to_canonical(), port));
    }

    #[test]
    fn loopback_is_what_stays_in_the_namespace(ip in ips()) {
        let ip = ip.to_canonical();
        let expected = ip.is_loopback() || ip.is_unspecified();
        let zero_net = matches!(ip, IpAddr::V4(v4) if v4.octets() == [0, 0, 0, 0]);
        prop_assert_eq!(Address::from(ip).is_loopback(), expected || zero_net);
    }
}

#[test]
fn the_agent_is_exempt_and_a_mode_that_is_not_known_is_enforce() {
    let settings = Settings {
        agent_cgroup: 7,
        listener_port: PORT,
        refuse_unknown: 1,
    };
    let workload = Workload {
        netns_cookie: 1,
        mode: 77,
        slot: 0,
        listener_v4: 1,
        listener_v6: 0,
    };
    let mut connect = Connect {
        destination: IpAddr::from([10, 0, 0, 1]).into(),
        port: 80,
        governed: Governed::Redirect,
        tcp: true,
        task_cgroup: 7,
        workload: Some(workload),
        netns_cookie: 1,
        netns_enforced: true,
        waiting: 0,
        served: false,
    };
    assert_eq!(decide::connect(&settings, &connect), Verdict::Pass(Reason::Agent));
    connect.task_cgroup = 8;
    assert_eq!(
        decide::connect(&settings, &connect),
        Verdict::Redirect(Reason::Governed)
    );
    connect.governed = Governed::from_value(Some(77));
    let refused = Verdict::Refuse(Reason::GatewayOnly);
    assert_eq!(decide::connect(&settings, &connect), refused, "neither is a kind");
    connect.workload = Some(Workload {
        mode: MODE_ENFORCE,
        netns_cookie: 2,
        ..workload
    });
    assert_eq!(
        decide::connect(&settings, &connect),
        Verdict::Refuse(Reason::IdentityMismatch)
    );
}
