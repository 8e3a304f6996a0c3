//! The profiles of people, and who is a first-degree connection of whom.
//!
//! `state` answers Get a User Profile from here; tests set profiles with `World::set_profile`, and from outside with
//! `PUT /sandbox/people/{user_id}/profile`. A user id that was not set has an ordinary profile; a public name that was
//! not set does not exist, and neither does an id that begins with `missing`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};

use super::account::Account;
use super::reply::Problem;
use super::strict::{Fields, Invalid};

/// What LinkedIn shows of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// The name in the address of the profile; `None`: the profile shows none.
    pub public_identifier: Option<String>,
    /// The name that people see; `None`: the user id.
    pub display_name: Option<String>,
    /// Whether an InMail can be sent; `None`: left out.
    pub can_send_inmail: Option<bool>,
    /// Whether InMails are free; `None`: left out.
    pub is_open_profile: Option<bool>,
}

impl Profile {
    /// Returns the profile of a person with this public name.
    pub fn named(public_identifier: &str, display_name: &str) -> Self {
        Self {
            public_identifier: Some(public_identifier.to_owned()),
            display_name: Some(display_name.to_owned()),
            ..Self::default()
        }
    }
}

/// The profiles that were set, and the connections.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    by_user: BTreeMap<String, Profile>,
    /// Account and user id.
    connected: HashSet<(String, String)>,
}

impl Profiles {
    pub(super) fn set(&mut self, user: &str, profile: Profile) {
        self.by_user.insert(user.to_owned(), profile);
    }

    pub(super) fn connect(&mut self, account: &str, user: &str) {
        self.connected.insert((account.to_owned(), user.to_owned()));
    }

    pub(super) fn disconnect(&mut self, account: &str, user: &str) {
        self.connected.remove(&(account.to_owned(), user.to_owned()));
    }

    /// Returns what LinkedIn shows of `user`.
    pub(super) fn profile(&self, user: &str) -> Profile {
        let ordinary = || Profile { public_identifier: Some(user.to_lowercase()), ..Profile::default() };
        self.by_user.get(user).cloned().unwrap_or_else(ordinary)
    }

    /// Returns the user id behind `id`: a user id, a public name, or `me`.
    pub(super) fn find(&self, account: &Account, id: &str) -> Result<String, Problem> {
        if id == "me" || id == account.user_id {
            return Ok(account.user_id.clone());
        }
        let is_named = |(_, profile): &(&String, &Profile)| {
            profile.public_identifier.as_deref().is_some_and(|name| name.to_lowercase() == id.to_lowercase())
        };
        if self.by_user.contains_key(id) {
            return Ok(id.to_owned());
        }
        if let Some((user, _)) = self.by_user.iter().find(is_named) {
            return Ok(user.clone());
        }
        if id.starts_with("missing") {
            return Err(Problem::resource_not_found("provider", &format!("User {id} does not exist.")));
        }
        let is_odd = id.chars().any(|c| c.is_whitespace() || "/:?,;\"".contains(c));
        // User ids are ASCII; public names may have emoji and letters of any language.
        let is_name =
            !id.is_ascii() || id.chars().all(|c| c.is_lowercase() || c.is_ascii_digit() || c == '-');
        if is_odd || is_name {
            return Err(Problem::invalid_parameters("provider", "Invalid User ID."));
        }
        Ok(id.to_owned())
    }

    /// Returns the profile of `user` as `account` sees it.
    pub(super) fn view(&self, account_id: &str, account: &Account, user: &str) -> Value {
        let Profile { public_identifier, display_name, can_send_inmail, is_open_profile } =
            self.profile(user);
        let is_self = user == account.user_id;
        let distance = match self.connected.contains(&(account_id.to_owned(), user.to_owned())) {
            _ if is_self => "SELF",
            true => "FIRST_DEGREE",
            false => "SECOND_DEGREE",
        };
        let mut specifics = json!({ "network_distance": distance });
        let flags = [("can_send_inmail", can_send_inmail), ("is_open_profile", is_open_profile)];
        for (name, flag) in flags.into_iter().filter_map(|(name, flag)| Some((name, flag?))) {
            specifics[name] = json!(flag);
        }
        let own_name = is_self.then(|| account.name.clone());
        let mut view = json!({
            "object": "UserProfile",
            "id": user,
            "type": "individual",
            "display_name": own_name.or(display_name).unwrap_or_else(|| user.to_owned()),
            "provider": account.provider,
            "specifics": specifics,
        });
        if let Some(name) = public_identifier {
            view["profile_url"] = json!(format!("https://www.linkedin.com/in/{name}"));
            view["public_identifier"] = json!(name);
        }
        view
    }

    /// Returns `user` as events name them, if their profile was set: the description calls the sender optional.
    pub(super) fn if_set(&self, user: &str) -> Option<Value> {
        self.by_user.contains_key(user).then(|| self.in_events(user))
    }

    /// Returns `user` as events name them.
    pub(super) fn in_events(&self, user: &str) -> Value {
        let Profile { public_identifier, display_name, .. } = self.profile(user);
        let name = public_identifier.unwrap_or_else(|| user.to_owned());
        json!({
            "id": user,
            "profile_url": format!("https://www.linkedin.com/in/{name}"),
            "public_identifier": name,
            "display_name": display_name.unwrap_or_else(|| user.to_owned()),
        })
    }
}

/// Parses a profile; what is left out is not shown.
pub(super) fn read(body: &Value) -> Result<Profile, Invalid> {
    let known = ["public_identifier", "display_name", "can_send_inmail", "is_open_profile"];
    let fields = Fields::of(body, "", &known)?;
    Ok(Profile {
        public_identifier: fields.optional_string("public_identifier")?.map(str::to_owned),
        display_name: fields.optional_string("display_name")?.map(str::to_owned),
        can_send_inmail: fields.optional_boolean("can_send_inmail")?,
        is_open_profile: fields.optional_boolean("is_open_profile")?,
    })
}
