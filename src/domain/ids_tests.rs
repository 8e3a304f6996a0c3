//! Tests of ids, keys and labels: what is trimmed, what is understood, and what is refused with the way out.

use super::*;

#[test]
fn white_space_around_an_id_is_not_part_of_it() {
    for given in ["ACoAx", "ACoAx ", " ACoAx", "ACoAx\u{a0}", "\tACoAx\r\n"] {
        assert_eq!(recipient("users_ids", given, false, false).unwrap(), "ACoAx", "{given:?}");
    }
    assert_eq!(id("account_id", "acc_1 ", IdOf::Account).unwrap(), "acc_1");
    assert!(recipient("users_ids", "   ", false, false).unwrap_err().to_string().contains("is empty"));
}

#[test]
fn white_space_around_a_campaign_is_not_part_of_it() {
    for given in ["c d", " c d ", "c d\u{a0}", "\tc d\r\n"] {
        assert_eq!(campaign("campaign", given).unwrap(), "c d", "{given:?}");
    }
    assert!(campaign("campaign", " \u{a0}").unwrap_err().to_string().contains("is empty"));
}

#[test]
fn what_stands_for_a_missing_value_is_refused() {
    for given in [
        "NULL",
        "null",
        "undefined",
        "None",
        "#N/A",
        "nan",
        "NaN",
        "[object Object]",
        "N/A",
        "<NA>",
        "NaT",
        "\\N",
        "#DIV/0!",
        "#ERROR!",
        "[object Promise]",
        "(blank)",
        "true",
        "\u{2014}",
        "tbd",
        "Unknown",
        "private",
    ] {
        let refused = recipient("users_ids", given, false, false).unwrap_err().to_string();
        assert!(refused.contains("missing value"), "{given}: {refused}");
    }
    for given in
        ["{{ $json.id }}", "${id}", "<<id>>", "{user_id}", "%USER_ID%", "[USER_ID]", "<%= id %>", "#{id}"]
    {
        let refused = id("chat_id", given, IdOf::Other).unwrap_err().to_string();
        assert!(refused.contains("placeholder"), "{given}: {refused}");
    }
    for given in
        ["ACoA1,ACoA2", "ACoA1 ACoA2", "ACoA1;ACoA2", "ACoA1|ACoA2", "ACoA1\u{ff0c}ACoA2", "$id", "ACoA\\n"]
    {
        assert!(
            recipient("users_ids", given, false, false).unwrap_err().to_string().contains("one id"),
            "{given}"
        );
    }
}

#[test]
fn what_a_table_or_a_terminal_made_of_an_id_is_refused_with_the_way_out() {
    for (given, says) in [
        ("123456.0", "format the column as text"),
        ("1.23457E+11", "format the column as text"),
        ("1e+05", "format the column as text"),
        ("users_ids", "header"),
        ("USER_ID", "header"),
        ("ACoAB\u{2026}xyz", "whole id"),
        ("ACoAB...", "whole id"),
        ("=A1", "a formula"),
        ("M\u{fc}ller", "not a user id"),
        ("Ren\u{e9}-Dupont", "public name of a profile"),
        ("Jane-Doe", "public name of a profile"),
        ("ACoA", "beginning of a user id"),
        ("jane@example.com", "an e-mail address"),
        ("mailto:jane@example.com", "an e-mail address"),
        ("@janedoe", "a handle"),
        ("+491701234567", "a phone number"),
        ("https:/www.linkedin.com/in/foo", "not a user id"),
        ("=HYPERLINK(\"https://www.linkedin.com/in/jane-doe\")", "a formula"),
        ("acoaabc", "capital and small letters"),
        ("ACoX\u{ad}", "invisible"),
        ("ACoX\u{180e}", "invisible"),
        ("ACoX\u{3164}", "invisible"),
    ] {
        let refused = recipient("users_ids", given, false, false).unwrap_err().to_string();
        assert!(refused.contains(says), "{given}: {refused}");
    }
    for given in ["2-MTc 4", "2-MTc\u{2026}", "linkedin.com/messaging/thread/2-MTc4", "{chat_id}", "chat_id"]
    {
        assert!(id("chat_id", given, IdOf::Other).is_err(), "{given}");
    }
    for given in ["acc_{id}", "acc_*", "acc_1|acc_2", "acc_\u{2026}", "acc_1\u{ad}"] {
        assert!(account("account_id", given).is_err(), "{given}");
    }
    for given in ["33612345678@s.whatsapp.net", "12:3@lid", "507e191", "1355517523", "a.b"] {
        assert_eq!(recipient("users_ids", given, false, false).unwrap(), given);
    }
}

#[test]
fn a_key_that_many_rows_would_share_by_mistake_is_refused() {
    for given in ["NULL", "nan", "  ", "{{ $json.key }}", "${key}", "undefined", "", "[key]", "#REF!"] {
        assert!(key("dedupe_key", given).is_err(), "{given:?}");
    }
    for given in ["autumn:ACoAAB1:2", "0", "12", "[\"autumn\",\"ACoA1\"]", "{\"a\": 1}", "a b", "n-1"] {
        assert!(key("dedupe_key", given).is_ok(), "{given:?}");
    }
}

#[test]
fn profiles_are_understood_or_refused_with_the_way_out() {
    for given in [
        "https://www.linkedin.com/in/foo/",
        "linkedin.com/in/foo?utm=x",
        "https://de.linkedin.com/in/jane-doe",
        "foo-bar-123",
        "jane-doe",
        "urn:li:member:12345",
    ] {
        let refused = recipient("users_ids", given, false, false).unwrap_err().to_string();
        assert!(refused.contains("Get a User Profile"), "{given}: {refused}");
    }
    // Nothing can be resolved from an address of another kind.
    for given in ["https://www.linkedin.com/sales/lead/ACwAA1,NAME_SEARCH,x", "urn:li:member:12345"] {
        let refused = recipient("users_ids", given, true, false).unwrap_err().to_string();
        assert!(!refused.contains("people.resolve") && refused.contains("/in/"), "{given}: {refused}");
    }
    for (given, key) in [
        ("https://www.linkedin.com/in/foo/", "in/foo"),
        ("linkedin.com/in/foo?utm=x", "in/foo"),
        ("https://de.LinkedIn.com/in/Jane-Doe/details/skills/#x", "in/jane-doe"),
        ("https://www.linkedin.com/in/ren%C3%A9-7", "in/rené-7"),
        ("in/Foo/", "in/foo"),
        (" foo-bar-123 ", "in/foo-bar-123"),
        ("urn:li:fsd_profile:ACoAx", "ACoAx"),
        ("URN:LI:FSD_PROFILE:ACoAx", "ACoAx"),
        ("fsd_profile:ACoAx", "ACoAx"),
        ("/in/Foo", "in/foo"),
        ("in/ACoAx", "ACoAx"),
        ("ACoAx", "ACoAx"),
        ("123456", "123456"),
    ] {
        assert_eq!(person_key("key", given).unwrap(), key, "{given}");
    }
    for given in [
        "https://www.linkedin.com/company/acme",
        "www.linkedin.com/sales/lead/x",
        "https://example.com/in/foo",
        "https://www.linkedin.com/in/",
        "urn:li:member:12345",
        "in/",
        "in/a b",
        "in/a/b",
        "NULL",
    ] {
        assert!(person_key("key", given).is_err(), "{given}");
    }
    for given in ["urn:li:fsd_profile:ACoAx", "https://www.linkedin.com/in/ACoAx/", "ACoAx"] {
        assert_eq!(recipient("users_ids", given, false, false).unwrap(), "ACoAx", "{given}");
    }
    for given in ["usr_7", "user-1", "123456", "33612345678@s.whatsapp.net", "ACoAA-b_c", "U02-AB"] {
        assert_eq!(recipient("users_ids", given, false, false).unwrap(), given);
    }
}

#[test]
fn the_forms_of_one_public_name_are_one_person() {
    for (given, key) in [
        // Decomposed, as macOS writes it.
        ("https://www.linkedin.com/in/rene\u{301}-7", "in/ren\u{e9}-7"),
        ("https://www.linkedin.com/in/ren%65%CC%81-7", "in/ren\u{e9}-7"),
        ("in/Rene\u{301}", "in/ren\u{e9}"),
        ("rene\u{301}-dupont", "in/ren\u{e9}-dupont"),
        ("ren\u{e9}-dupont-7", "in/ren\u{e9}-dupont-7"),
        ("李-小龙", "in/李-小龙"),
        ("jane-doe-\u{1f680}", "in/jane-doe-\u{1f680}"),
        ("//www.linkedin.com/in/foo", "in/foo"),
        ("https://www.linkedin.com/mwlite/in/Foo?x=y", "in/foo"),
        ("linkedin.com/mwlite/in/foo", "in/foo"),
        ("https://www.linkedin.com/comm/in/foo/", "in/foo"),
    ] {
        assert_eq!(person_key("key", given).unwrap(), key, "{given}");
    }
}

#[test]
fn a_word_that_may_be_a_public_name_is_told_from_ids() {
    for (word, name) in [
        ("janedoe", Some("janedoe")),
        ("JaneDoe", Some("janedoe")),
        ("kim-7c2", Some("kim-7c2")),
        ("M\u{fc}ller-1", Some("m\u{fc}ller-1")),
        ("ACoAAB-xyz", None),
        ("ACwAAB", None),
        ("U1", None),
        ("123456", None),
        ("usr_7", None),
        ("33612345678@s.whatsapp.net", None),
    ] {
        assert_eq!(possible_name(word).as_deref(), name, "{word}");
    }
}

#[test]
fn an_address_names_the_same_profile_in_capitals() {
    for given in [
        "HTTPS://WWW.LINKEDIN.COM/IN/jane-15",
        "https://www.linkedin.com/In/Jane-15/",
        "https://www.linkedin.com/MWLITE/IN/jane-15",
        "/IN/JANE-15",
    ] {
        assert_eq!(person_key("key", given).unwrap(), "in/jane-15", "{given}");
    }
    assert_eq!(person_key("key", "https://www.linkedin.com/IN/ACoAx").unwrap(), "ACoAx");
}

#[test]
fn a_fix_can_be_followed() {
    let fix = |refused: Result<String, FieldError>| refused.unwrap_err().fix;
    assert_eq!(fix(person_key("key", "U1,U2")), "give one id");
    assert_eq!(fix(account("account_id", "acc_1;acc_2")), "give one id");
    assert_eq!(fix(person_key("users_ids", "U1,U2")), "give one id; those of a group are an array");
    let refused = campaign("campaign", "..").unwrap_err();
    assert_eq!(refused.fix, "choose another label: this one would be a folder in a path");
}
