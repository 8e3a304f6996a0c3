//! A person, as a profile or a webhook names them.

use jiff::{SignedDuration, Timestamp};

use super::ids;
use super::message::UserId;

/// How often the profile of a person who should become a connection is read.
pub(crate) const CONNECTION_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Returns when such a profile that was asked for at `at` is read next.
pub(crate) fn next_profile_read(at: Timestamp) -> Timestamp {
    at.checked_add(CONNECTION_EVERY).unwrap_or(Timestamp::MAX)
}

words! {
    /// How far a person is from an account.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Distance {
        /// The owner of the account.
        Own = "SELF",
        /// A connection.
        First = "FIRST_DEGREE",
        /// A connection of a connection.
        Second = "SECOND_DEGREE",
        /// One step further.
        Third = "THIRD_DEGREE",
        /// Further still.
        OutOfNetwork = "OUT_OF_NETWORK",
    }
}

/// A person as one account sees them; what is not known is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The provider's id.
    pub user_id: UserId,
    /// The name in the address of the profile, in lower case.
    pub public_identifier: Option<String>,
    /// The address of the profile.
    pub profile_url: Option<String>,
    /// The name that people see.
    pub name: Option<String>,
    /// How far the person is from the account.
    pub distance: Option<Distance>,
    /// Whether the account can send an InMail.
    pub can_send_inmail: Option<bool>,
    /// Whether InMails to the person are free.
    pub is_open_profile: Option<bool>,
}

impl Person {
    /// Returns a person of whom the id is known, and what `names` says: the public identifier, the address of the
    /// profile and the name. Blank ones count as unknown.
    pub fn new(user_id: UserId, names: [Option<String>; 3]) -> Self {
        let [public_identifier, profile_url, name] =
            names.map(|name| name.filter(|name| !name.trim().is_empty()));
        let of_url = || ids::name_in_address(profile_url.as_deref()?);
        // Some answers give the id in place of the name.
        let public_identifier = public_identifier.map(|name| ids::public_name(&name)).or_else(of_url);
        let public_identifier = public_identifier.filter(|name| !name.starts_with("acoa"));
        Self {
            user_id,
            public_identifier,
            profile_url,
            name,
            distance: None,
            can_send_inmail: None,
            is_open_profile: None,
        }
    }
}
