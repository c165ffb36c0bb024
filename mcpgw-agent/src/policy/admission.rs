//! What policies ask of a server's callers before any rule: how they prove who they are.

use crate::{
    identity::Caller,
    resources::{Authentication, Demand, Policy, Server},
};

/// What a server's policies ask for, together: the strictest of it.
#[derive(Debug, Default)]
pub struct Admission(Option<Demand>);

/// What holds for direct dials where no policy says otherwise: unmodified clients have no token.
const REDIRECTED: Demand = Demand {
    mode: Authentication::Attested,
    issuers: None,
};

const TOKEN: Demand = Demand {
    mode: Authentication::Token,
    issuers: None,
};

impl Admission {
    /// What these policies of a server ask for. Where its callers' tokens are exchanged, they must have one.
    pub(super) fn of<'a>(server: &Server, policies: impl Iterator<Item = &'a Policy>) -> Self {
        let demands = policies.filter_map(|policy| policy.authentication.as_ref());
        let own = server.exchanges_tokens().then_some(&TOKEN);
        Self(
            own.into_iter()
                .chain(demands)
                .fold(None, |all: Option<Demand>, demand| {
                    Some(all.map_or_else(|| demand.clone(), |all| all.and(demand)))
                }),
        )
    }

    /// What callers must prove who dialled the server itself. The kernel knows each of them.
    pub fn redirected(&self) -> &Demand {
        self.0.as_ref().unwrap_or(&REDIRECTED)
    }

    /// Whether a caller at the gateway, where it has proved what the gateway asks for, has proved enough for this
    /// server. One that is only observed has.
    pub fn admits(&self, caller: &Caller) -> bool {
        let Some(demand) = &self.0 else { return true };
        let kernel = caller.workload.is_some();
        let token = caller.token.as_ref().is_some_and(|token| demand.accepts(&token.issuer));
        caller.observed
            || match demand.mode {
                Authentication::Attested => kernel,
                Authentication::Token => token,
                Authentication::AttestedAndToken => kernel && token && !caller.brings_a_strangers_token(),
                Authentication::Any => kernel || token,
                Authentication::None => true,
            }
    }
}

/// What keeps a caller from a server that it would see else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// It has no token, and one could do.
    Token,
    /// Its token was made for another pod.
    OwnToken,
}

impl Admission {
    /// Whether a token that is shown at the gateway counts for something here.
    pub(super) fn reads_token(&self) -> bool {
        self.0.as_ref().is_some_and(|demand| demand.mode.reads_token())
    }

    /// What a caller that is not admitted would need; `None` where nothing that it could bring would help.
    pub fn lacks(&self, caller: &Caller) -> Option<Lacks> {
        let demand = self.0.as_ref()?;
        if self.admits(caller) || demand.mode.needs_kernel() && caller.workload.is_none() {
            return None;
        }
        match &caller.token {
            None => demand.mode.reads_token().then_some(Lacks::Token),
            Some(token) => {
                (demand.accepts(&token.issuer) && caller.brings_a_strangers_token()).then_some(Lacks::OwnToken)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        identity::{ServiceAccount, Token, WorkloadIdentity},
        resources::ObjectName,
    };

    fn name(namespace: &str, name: &str) -> ObjectName {
        ObjectName {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn server() -> Server {
        Server::at(name("tools", "calc"), vec![])
    }

    fn demand(mode: Authentication, issuers: Option<&[&str]>) -> Policy {
        Policy {
            name: name("tools", "p"),
            authentication: Some(Demand {
                mode,
                issuers: issuers.map(|issuers| issuers.iter().map(|issuer| Arc::from(*issuer)).collect()),
            }),
            ..Policy::default()
        }
    }

    /// A caller that the kernel knows as `agents/pod-1`, or not, with a token of issuer `i` for a pod, or of a user.
    fn caller(attested: bool, token: Option<Option<&str>>) -> Caller {
        Caller {
            workload: attested.then(|| Arc::new(WorkloadIdentity::new(name("agents", "pod-1"), "ci".into()))),
            token: token.map(|pod| {
                Arc::new(Token {
                    ends: u64::MAX,
                    issuer: "i".into(),
                    subject: "s".into(),
                    groups: vec![],
                    claims: Default::default(),
                    service_account: pod.map(|pod| ServiceAccount {
                        name: name("agents", "ci"),
                        pod: (!pod.is_empty()).then(|| name("agents", pod)),
                        pod_uid: None,
                    }),
                })
            }),
            destination: "10.0.0.1:1".parse().unwrap(),
            client: None,
            process: None,
            observed: false,
        }
    }

    #[test]
    fn the_strictest_of_several_policies_holds() {
        use Authentication::{Any, Attested, AttestedAndToken, Token};
        let of = |policies: &[Policy]| Admission::of(&server(), policies.iter()).redirected().clone();
        assert_eq!(of(&[]).mode, Attested);
        assert_eq!(of(&[demand(Any, None)]).mode, Any);
        let both = [demand(Token, Some(&["i", "j"])), demand(Attested, Some(&["i"]))];
        assert_eq!(of(&both).mode, AttestedAndToken);
        assert_eq!(of(&both).issuers, Some(vec!["i".into()]));
    }

    #[test]
    fn each_mode_admits_whom_it_names() {
        use Authentication::{Any, Attested, AttestedAndToken, Token};
        let user = Some(None);
        let rows = [
            // mode, issuers; kernel alone, token alone, both, both with the token of another pod, neither
            (Attested, None, [true, false, true, true, false]),
            (Token, None, [false, true, true, true, false]),
            (AttestedAndToken, None, [false, false, true, false, false]),
            (Any, None, [true, true, true, true, false]),
            (Token, Some(&["other"][..]), [false; 5]),
            (Any, Some(&["other"][..]), [true, false, true, true, false]),
            (AttestedAndToken, Some(&["i"][..]), [false, false, true, false, false]),
        ];
        for (mode, issuers, expected) in rows {
            let admission = Admission::of(&server(), [demand(mode, issuers)].iter());
            let admits = |attested, token| admission.admits(&caller(attested, token));
            let found = [
                admits(true, None),
                admits(false, user),
                admits(true, Some(Some("pod-1"))),
                admits(true, Some(Some("pod-2"))),
                admits(false, None),
            ];
            assert_eq!(found, expected, "{mode:?} {issuers:?}");
        }
        let rows = [
            // mode, issuers; kernel alone, token of another issuer, both with the token of another pod, neither
            (Attested, None, [None; 4]),
            (Token, None, [Some(Lacks::Token), None, None, Some(Lacks::Token)]),
            (
                AttestedAndToken,
                None,
                [Some(Lacks::Token), None, Some(Lacks::OwnToken), None],
            ),
            (Any, None, [None, None, None, Some(Lacks::Token)]),
            (
                Token,
                Some(&["other"][..]),
                [Some(Lacks::Token), None, None, Some(Lacks::Token)],
            ),
            (
                AttestedAndToken,
                Some(&["other"][..]),
                [Some(Lacks::Token), None, None, None],
            ),
        ];
        for (mode, issuers, expected) in rows {
            let admission = Admission::of(&server(), [demand(mode, issuers)].iter());
            let lacks = |attested, token| admission.lacks(&caller(attested, token));
            let found = [
                lacks(true, None),
                lacks(false, user),
                lacks(true, Some(Some("pod-2"))),
                lacks(false, None),
            ];
            assert_eq!(found, expected, "{mode:?} {issuers:?}");
        }
        let both = Admission::of(&server(), [demand(AttestedAndToken, None)].iter());
        assert!(both.admits(&caller(true, user)), "a user's token is no pod's");
        assert!(
            !both.admits(&caller(true, Some(Some("")))),
            "a token that is bound to no pod could be anybody's"
        );
        assert!(Admission::default().admits(&caller(false, None)));
    }
}
