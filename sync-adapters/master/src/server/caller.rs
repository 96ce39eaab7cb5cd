//! Who is asking, proved: which rows are theirs, and by which names they may call themselves.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sync_core::two_way::{Access, Peer};
use sync_core::{ErrorKind, Result, Value};

use super::keys::Claims;
use super::revoked::Revoked;
use super::scope::Scope;
use crate::refusal::refuse;
use crate::wire::is_peer;

/// Somebody who has proved who they are. Only a verified token makes one.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    subject: String,
    client: String,
    branch: Option<String>,
    access: Access,
    /// What was verified; nothing where the host lets everybody in.
    claims: Option<Arc<Claims>>,
}

/// Names that the hub keeps for peers over HTTP begin with it; a replica's own name never does.
const MARK: char = '~';

/// What stands as it is in the parts of a name.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

impl Caller {
    pub(super) fn new(subject: String, client: String, branch: Option<String>, access: Access) -> Self {
        Self { subject, client, branch, access, claims: None }
    }

    /// The same, proved by a token that says this.
    pub(super) fn proved_by(self, claims: Claims) -> Self {
        Self { claims: Some(Arc::new(claims)), ..self }
    }

    /// Until when it is proved who this is: when the token expires.
    pub(super) fn until(&self) -> Option<DateTime<Utc>> {
        self.claims.as_ref().map(|claims| claims.until())
    }

    /// Whether the token was revoked since.
    pub(super) fn is_revoked(&self, revoked: &Revoked) -> bool {
        self.claims.as_ref().is_some_and(|claims| revoked.has(claims))
    }

    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// Whose quota it is: that of a tenant's branch, or of a person.
    pub(super) fn principal(&self) -> String {
        format!("{}{}", self.prefix(), utf8_percent_encode(&self.subject, &PLAIN))
    }

    /// What the names of this caller's replicas begin with inside. No other caller's begin so.
    pub(super) fn prefix(&self) -> String {
        let branch = self.branch.as_deref().unwrap_or_default();
        // A client-wide caller and a branch without a name would be the same: the ids of branches are never empty.
        format!("{}{}/", self.client_prefix(), utf8_percent_encode(branch, &PLAIN))
    }

    /// What the prefixes of all callers of this client begin with.
    pub(super) fn client_prefix(&self) -> String {
        format!("{MARK}{}/", utf8_percent_encode(&self.client, &PLAIN))
    }

    /// The name under which the hub knows a replica of this caller.
    ///
    /// # Errors
    /// `bad_peer` where it is not 1 to 64 visible ASCII characters.
    pub(super) fn peer(&self, name: &str, life: u64) -> Result<Peer> {
        if !is_peer(name) {
            return Err(refuse(
                ErrorKind::Config,
                "bad_peer",
                "the name of a peer is 1 to 64 visible ASCII characters",
            ));
        }
        Ok(Peer { name: format!("{}{name}", self.prefix()), life })
    }

    /// Whether what this replica left is this caller's to decide: its own, and a client's whole where no branch is named.
    pub(super) fn owns(&self, peer: &Peer) -> bool {
        let prefix = if self.branch.is_some() { self.prefix() } else { self.client_prefix() };
        peer.name.starts_with(&prefix)
    }

    /// What this caller may know of who wrote a row.
    pub(super) fn outward(&self, origin: &str) -> String {
        match origin.strip_prefix(&self.prefix()) {
            Some(own) => own.to_owned(),
            None if origin.starts_with(MARK) => {
                let hash = blake3::hash(format!("{}\n{origin}", self.prefix()).as_bytes());
                format!("{MARK}{}", &hash.to_hex()[..16])
            }
            None => origin.to_owned(),
        }
    }

    /// What a scope column holds in this caller's rows.
    pub(super) fn scope_value(&self, scope: &Scope, column: &str) -> Option<Value> {
        scope.value(column, &self.client, self.branch.as_deref())
    }

    /// What a branch can tell by that it has come to be another's.
    pub(super) fn known_as(&self) -> String {
        blake3::hash(self.prefix().as_bytes()).to_hex()[..16].to_owned()
    }

    /// The tenant, as a cursor is bound to it.
    pub(super) fn tenant(&self) -> String {
        self.prefix()
    }
}

/// Whether this may be the id of a client or a branch.
pub(super) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(client: &str, branch: Option<&str>) -> Caller {
        Caller::new("s".to_owned(), client.to_owned(), branch.map(str::to_owned), Access::everything())
    }

    #[test]
    fn no_two_callers_share_a_name_whatever_their_ids_hold() {
        let callers =
            [("a", None), ("a", Some("b")), ("a/b", None), ("a", Some("b/c")), ("a/b", Some("c")), ("a%2Fb", None)];
        let mut names: Vec<String> =
            callers.iter().map(|(client, branch)| caller(client, *branch).peer("till", 0).unwrap().name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), callers.len());
    }

    #[test]
    fn others_are_told_apart_and_not_named() {
        let (one, two) = (caller("a", Some("1")), caller("a", Some("2")));
        let origin = one.peer("till", 3).unwrap().to_string();
        assert_eq!(one.outward(&origin), "till#3");
        assert!(!two.outward(&origin).contains("till"), "{}", two.outward(&origin));
        assert_eq!(two.outward(&origin), two.outward(&origin));
        assert_eq!(two.outward("master"), "master");
    }

    #[test]
    fn a_client_decides_for_its_branches_and_a_branch_for_itself() {
        let peer = caller("a", Some("1")).peer("till", 0).unwrap();
        assert!(caller("a", Some("1")).owns(&peer) && caller("a", None).owns(&peer));
        assert!(
            !caller("a", Some("2")).owns(&peer)
                && !caller("b", None).owns(&peer)
                && !caller("a", Some("11")).owns(&peer)
        );
    }
}
