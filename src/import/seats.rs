//! Which account writes to a person: always the same one, however often and in whatever order rows are imported.

use sha2::{Digest, Sha256};

use crate::domain::ids;

/// The accounts among which people are divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seats(Vec<String>);

impl Seats {
    /// Divides people among these accounts.
    pub fn new(accounts: Vec<String>) -> Self {
        Self(accounts)
    }

    /// Checks that every person has an account, and that accounts are named by their id; `in_table` says whether the
    /// table has a column with accounts.
    pub(crate) fn check(&self, in_table: bool) -> Result<(), String> {
        if self.0.is_empty() && !in_table {
            return Err("say which accounts send: `--account acc_1,acc_2`, or a column `account`".to_owned());
        }
        match self.0.iter().find(|account| !account.starts_with("acc_")) {
            Some(other) => {
                Err(format!("`--account` names {other:?}; the id of a Unipile account begins with `acc_`"))
            }
            None => Ok(()),
        }
    }

    /// Returns the account of the person with this key ([`person_key`]), or `None` without accounts.
    ///
    /// The account with the highest hash of both wins. The order of the accounts does not matter, and one more account
    /// takes its share of the people and moves no one else.
    pub fn of(&self, person: &str) -> Option<&str> {
        let weight = |account: &String| Sha256::digest(format!("{account}\0{person}"));
        self.0.iter().max_by_key(|account| weight(account)).map(String::as_str)
    }
}

/// Returns what identifies a person, whether given by id, profile address or public name.
pub fn person_key(given: &str) -> String {
    // What names no person is refused by the daemon; until then it is a person of its own.
    ids::person_key("user", given).unwrap_or_else(|_| given.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(accounts: &[&str]) -> Seats {
        Seats::new(accounts.iter().map(|account| (*account).to_owned()).collect())
    }

    #[test]
    fn a_person_keeps_the_seat() {
        let three = seats(&["acc_1", "acc_2", "acc_3"]);
        let (mixed, four) =
            (seats(&["acc_3", "acc_1", "acc_2"]), seats(&["acc_1", "acc_2", "acc_3", "acc_4"]));
        let mut counts = [0; 4];
        for number in 0..4000 {
            let person = format!("person-{number}");
            let seat = three.of(&person).unwrap();
            assert_eq!(mixed.of(&person), Some(seat));
            let with_one_more = four.of(&person).unwrap();
            assert!(with_one_more == seat || with_one_more == "acc_4", "{person} moved to {with_one_more}");
            counts[with_one_more.trim_start_matches("acc_").parse::<usize>().unwrap() - 1] += 1;
        }
        assert!(counts.iter().all(|count| (900..=1100).contains(count)), "{counts:?}");
        // The same in every release: a person must not move because of an upgrade.
        assert_eq!(three.of("jane-doe"), Some("acc_1"));
        assert_eq!(seats(&[]).of("jane-doe"), None);
    }

    #[test]
    fn one_person_has_one_key() {
        for given in [
            "https://www.linkedin.com/in/jane-doe/",
            "http://linkedin.com/in/Jane-Doe?utm=x",
            "de.linkedin.com/in/jane-doe#about",
            "LinkedIn.com/in/jane-doe/details/experience",
            " jane-doe ",
        ] {
            assert_eq!(person_key(given), "in/jane-doe", "{given}");
        }
        for given in ["ACoAxY", "urn:li:fsd_profile:ACoAxY", "https://www.linkedin.com/in/ACoAxY"] {
            assert_eq!(person_key(given), "ACoAxY");
        }
        assert_ne!(person_key("ACoAxY"), person_key("ACoAxy"));
    }
}
