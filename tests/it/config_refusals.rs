//! How every mistake in the configuration is refused: with its key, its place, the fix, and all of them at once (P7).

use std::path::Path;

use crate::config::{folder, load, load_file};

/// Two lines per case: the content of the file (`&` for a line end), and its only problem: how it begins (FILE is the
/// path), and after `…` what else it contains.
const BAD_FILES: &str = r#"
polcy.default.zone = "UTC"
  unknown key `polcy` in FILE; did you mean `policy`?
banana = 1
  unknown key `banana` in FILE; known here: account, outbound, store, api
socket = "x"
  unknown key `socket` in FILE; did you mean `api.socket`?
store.reader = 2
  unknown key `store.reader` in FILE; did you mean `store.readers`?
[Store] & path = "x"
  unknown key `Store` in FILE; did you mean `store`?
[policy.default] & gapp = { min = "10s" }
  unknown key `policy.default.gapp` in FILE; did you mean `policy.default.gap`?
policy.default.gap.mn = "10s"
  unknown key `policy.default.gap.mn` in FILE; did you mean `policy.default.gap.min`?
policy."default.gap" = 1
  unknown key `policy."default.gap"` in FILE; known here: allow_gap_below_10s, allow_high_caps, default
[account.acc_1.gap] & mx = "1m"
  unknown key `account."acc_1".gap.mx` in FILE; did you mean `account."acc_1".gap.max`?
account.acc_1.allow_gap_below_10s = true
  unknown key `account."acc_1".allow_gap_below_10s` in FILE; did you mean `policy.allow_gap_below_10s`?
store.readers = "two"
  store.readers in FILE: expected a whole number, got text; write it as in: readers = 2
store.readers = { a = 1 }
  store.readers in FILE: expected a whole number, got a table; …readers = 2
store.path = 3
  store.path in FILE: expected text in quotes, got a whole number; …path = "outboxd.db"
accounts.known_only = 1
  accounts.known_only in FILE: expected true or false, got a whole number; …known_only = false
policy.default.gap.min = 10
  policy.default.gap.min in FILE: expected text in quotes, got a whole number; …min = "10s"
policy.default.gap = "10s"
  policy.default.gap in FILE: expected a table, got text; write its keys under [policy.default.gap]
account.acc_1.retry.factor = 1.5
  account."acc_1".retry.factor in FILE: expected a whole number, got a number with a fraction; …factor = 4
store = []
  store in FILE: expected a table, got a list; …[store]
account = 1
  account in FILE: expected a table, got a whole number; …[account]
account.acc_1 = 5
  account."acc_1" in FILE: expected a table, got a whole number; …[account."acc_…"]
unipile.api_key = 5
  unipile.api_key in FILE: expected text in quotes, got a whole number; …api_key = ""
store.readers = 0
  store.readers in FILE: 0 is out of range; give a whole number from 1 to 64
api.body_bytes = -1
  api.body_bytes in FILE: -1 is out of range; give a whole number from 1024 to
unipile.burst = 99999999999
  unipile.burst in FILE: 99999999999 is out of range; give a whole number from 1 to 100000
engine.seed = -4
  engine.seed in FILE: -4 is negative; give 0 or
policy.default.gap.min = "10"
  policy.default.gap.min in FILE: "10" is not a duration; write a number with a unit, such as 10s, 500ms, 1m 30s
engine.shutdown_grace = "soon"
  engine.shutdown_grace in FILE: "soon" is not a duration; write a number with a unit
engine.shutdown_grace = "0s"
  engine.shutdown_grace in FILE: is zero; give a positive duration, such as 10s
unipile.request_timeout = "-5s"
  unipile.request_timeout in FILE: -5s is negative; give a positive duration
policy.default.retry.max = "99999h"
  policy.default.retry.max in FILE: 99999h is longer than a year; give a shorter time
policy.default.typing = { min = "0s", max = "0s" }
  policy.default.typing.max in FILE: is zero; give a positive duration
policy.default.gap = { min = "20s", max = "10s" }
  policy.default.gap in FILE: min 20s is above max 10s; make max at least as long as min
policy.default.gap.min = "30s"
  policy.default.gap in FILE and the built-in defaults: min 30s is above max 20s; make max
account.acc_1.gap.max = "9s"
  account."acc_1".gap in the built-in defaults and FILE: min 10s is above max 9s; make max
policy.default.typing.min = "13s"
  policy.default.typing in FILE and the built-in defaults: min 13s is above max 12s; make max
policy.default.typing.per_char_max = "100ms"
  policy.default.typing in the built-in defaults and FILE: per_char_min 170ms is above per_char_max 100ms; make per_char_max
policy.default.retry.base = "2h"
  policy.default.retry in FILE and the built-in defaults: base 2h is above max 1h; make max
policy.default.gap.min = "9s"
  policy.default.gap.min in FILE: 9s is below 10s; Unipile's guide asks …set policy.allow_gap_below_10s = true
account.acc_1.gap.min = "9999ms"
  account."acc_1".gap.min in FILE: 9999ms is below 10s; …set policy.allow_gap_below_10s = true
policy.default.zone = "Europe/Pariss"
  policy.default.zone in FILE: "Europe/Pariss" is not a known time zone; did you mean "Europe/Paris"?
account.acc_1.zone = "tokyo"
  account."acc_1".zone in FILE: "tokyo" is not a known time zone; did you mean "Asia/Tokyo"?
policy.default.zone = " "
  policy.default.zone in FILE: " " is not a known time zone; give an IANA name
policy.default.hours.monday = "09:00-18:00"
  policy.default.hours.monday in FILE: needs a zone, and the account has none; set zone to the account's IANA zone
account.acc_1.hours.days_off = "2026-12-25"
  account."acc_1".hours.days_off in FILE: needs a zone, and the account has none; set zone
account.acc_1.caps.all = "50/day"
  account."acc_1".caps.all in FILE: needs a zone, and the account has none; set zone
policy.default = { zone = "UTC", hours.monday = "9-18" }
  policy.default.hours.monday in FILE: "9-18" is not a span of hours; write "09:00-18:00"
policy.default = { zone = "UTC", hours.monday = "09:00-13:00, 12:00-18:00" }
  policy.default.hours.monday in FILE: has spans that overlap; make one span of them
policy.default = { zone = "UTC", hours = { monday = "22:00-06:00", tuesday = "05:00-09:00" } }
  policy.default.hours.monday in FILE: goes over midnight into the hours of tuesday; …
policy.default = { zone = "UTC", hours = { monday = "09:00-10:00", start_late = "40m", end_early = "20m" } }
  policy.default.hours.monday in FILE: is shorter than what start_late and end_early may take from it; lower
account.acc_1 = { zone = "UTC", hours = { monday="",tuesday="",wednesday="",thursday="",friday="",saturday="",sunday="" } }
  account."acc_1".hours.monday in FILE: no day of the week is open; open one day at least, or pause the account
policy.default = { zone = "UTC", hours.days_off = "2026-02-30" }
  policy.default.hours.days_off in FILE: "2026-02-30" is not a date; write dates as in
policy.default = { zone = "UTC", hours.holidays = "/no/such/file" }
  policy.default.hours.holidays in FILE: /no/such/file cannot be read: …name a text file with a date a line
policy.default.caps.all = "0/day"
  policy.default.caps.all in FILE: "0/day" would let nothing through; give at least 1, or pause the account
policy.default.caps.message = "5 a day"
  policy.default.caps.message in FILE: "5 a day" is not a cap; write a number, a slash and
policy.default.caps.all = ""
  policy.default.caps.all in FILE: sets no limit a day; 150 is the most that is advised; …policy.allow_high_caps = true
account.acc_1.caps.all = "151/24h"
  account."acc_1".caps.all in FILE: 151 a day is more than 150, the most that is advised; lower it, or
account.acc_1.caps.new_chat = ""
  account."acc_1".caps.new_chat in FILE: 100 a day is more than 80, the most that is advised; lower it
policy.default.caps.inmail = "51/24h"
  policy.default.caps.inmail in FILE: 51 a day is more than 50, the most that is advised; lower it
policy.default.caps.jitter_percent = 91
  policy.default.caps.jitter_percent in FILE: 91 is out of range; give a whole number from 0 to 90
policy.default.warm_up.ramp = "20% + 0%"
  policy.default.warm_up.ramp in FILE: "20% + 0%" never ends; let it grow
policy.default.warm_up.start = "soon"
  policy.default.warm_up.start in FILE: "soon" is not a date; write a date
policy.default.preset = "clam"
  policy.default.preset in FILE: "clam" is not a preset; did you mean "calm"?
policy.default.gap.shape = "normal"
  policy.default.gap.shape in FILE: "normal" is not a shape; write uniform or log-normal
policy.default.breaks.after = "30-15"
  policy.default.breaks.after in FILE: "30-15" is not a number of sends; write the fewest and the most
policy.default.breaks.min = "16m"
  policy.default.breaks in FILE and the built-in defaults: min 16m is above max 15m; make max
policy.default.cooldown.first = "200h"
  policy.default.cooldown in FILE and the built-in defaults: first 200h is above max 168h; make max
policy.default.order.weights = "vip"
  policy.default.order.weights in FILE: "vip" is not a weight; write campaigns with their turns
policy = { allow_high_caps = true, default = { gap.spread = true, caps.all = "400/7d" } }
  policy.default.gap.spread in FILE: has no day's cap to spread; give caps.all a limit for 24h or day
account.bob.zone = "UTC"
  account."bob" in FILE: the account id does not begin with `acc_`; use the Unipile account id
[account.acc_]
  account."acc_" in FILE: the account id does not begin with `acc_`; use the Unipile account id
[account."acc_a\tb"]
  account."acc_a\tb" in FILE: the account id is too long or holds a control or an invisible character; use the Unipile account id
[account."acc_1 "]
  account."acc_1 " in FILE: the account id has white space around it; remove it
policy.default.inbox_id = "a\tb"
  policy.default.inbox_id in FILE: holds a control or an invisible character; …CLASSIC_PRIMARY
policy.default.inbox_id = " x "
  policy.default.inbox_id in FILE: has white space around it; …CLASSIC_PRIMARY
policy.default.inbox_id = "NULL"
  policy.default.inbox_id in FILE: is "NULL", which means a missing value; …CLASSIC_PRIMARY
api.socket_mode = "0888"
  api.socket_mode in FILE: "0888" is not a file mode; write octal digits, such as "0660"
api.socket_mode = "rw"
  api.socket_mode in FILE: "rw" is not a file mode; write octal digits
api.socket_mode = "1777"
  api.socket_mode in FILE: "1777" is not a file mode; write octal digits
api.socket = ""
  api.socket in FILE: is not a path; give the path of a file
store.path = ":memory:"
  store.path in FILE: is a database in memory; …lost at a stop
unipile.base_url = "api.unipile.com"
  unipile.base_url in FILE: is not a URL; write it as in "https://api.unipile.com"
unipile.base_url = "ftp://api.unipile.com"
  unipile.base_url in FILE: is neither https nor http; write it as in
unipile.base_url = "http://api.unipile.com"
  unipile.base_url in FILE: http would send the API key unencrypted; use https
unipile.base_url = "http://127.0.0.1.example.com"
  unipile.base_url in FILE: http would send the API key unencrypted; use https
unipile.base_url = "https://api.unipile.com/v2/"
  unipile.base_url in FILE: ends in /v2; leave out the /v2
unipile.base_url = "https://a:b@host"
  unipile.base_url in FILE: holds a user or a password; leave them out
unipile.base_url = "https://host/?a=b"
  unipile.base_url in FILE: holds a query or a fragment; write it as in
unipile = { api_key = "a", api_key_file = "/b" }
  unipile.api_key in FILE: cannot be combined with unipile.api_key_file (in FILE); keep one of the two
unipile.api_key_file = "/no/such"
  unipile.api_key_file in FILE: /no/such cannot be read: No such file …name a file that holds the API key
unipile.api_key = "a\nb"
  unipile.api_key in FILE: the key holds a line end, …copy the key again
unipile.api_key = "schlüssel"
  unipile.api_key in FILE: the key holds a line end, a control character or a letter outside ASCII; copy the key again
webhooks.listen = "8780"
  webhooks.listen in FILE: "8780" is not an address to listen on; write an IP address and a port, such as "127.0.0.1:8780"
webhooks.listen = "localhost:8780"
  webhooks.listen in FILE: "localhost:8780" is not an address to listen on; write an IP address
webhooks.listen = "127.0.0.1:99999"
  webhooks.listen in FILE: "127.0.0.1:99999" is not an address to listen on; write an IP address
webhooks.tolerance = "0s"
  webhooks.tolerance in FILE: is zero; give a positive duration
webhooks.connections = 0
  webhooks.connections in FILE: 0 is out of range; give a whole number from 1 to 1024
webhooks = { secret = "a", secret_file = "/b" }
  webhooks.secret in FILE: cannot be combined with webhooks.secret_file (in FILE); keep one of the two
webhooks.secret_file = "/no/such"
  webhooks.secret_file in FILE: /no/such cannot be read: No such file …name a file that holds the secret
webhooks.secret = "a,,b"
  webhooks.secret in FILE: a secret is empty; put the secret of the endpoint there
webhooks.secret = "whsec_1 whsec_2"
  webhooks.secret in FILE: a secret holds a space; write the secret alone
webhooks.secret = "<set>"
  webhooks.secret in FILE: a secret is the placeholder of a key in printed configurations; put the secret
log.level = "inof"
  log.level in FILE: "inof" is not a level; did you mean "info"?
log.level = ""
  log.level in FILE: "" is not a level; write a level
log.level = "outboxd=loud"
  log.level in FILE: "outboxd=loud" is not a log filter: …write a level
log.format = "pretty"
  log.format in FILE: "pretty" is not a format; write auto, human, json or journald
[store] & path = "a" & readers = = 2
  FILE, line 3, column 11: not TOML:
[store] & path = "a" & path = "b"
  FILE, line 3, column 1: not TOML: duplicate key
"#;

#[test]
fn each_bad_file_is_refused_with_key_place_and_way_out() {
    let lines: Vec<&str> = BAD_FILES.trim().lines().collect();
    for case in lines.chunks(2) {
        let (text, expected) = (case[0].replace(" & ", "\n"), case[1].trim());
        let (_folder, file) = folder(&text);
        let error = load_file(&file, &[]).expect_err(&text);
        let place = file.display().to_string();
        assert_eq!(error.problems.len(), 1, "{text}\n{error}");
        let problem = &error.problems[0];
        assert!(problem.place.contains(&place), "{text}\n{problem:?}");
        assert!(problem.message.contains(&problem.key), "{text}\n{problem:?}");
        assert_eq!(problem.key.is_empty(), expected.starts_with("FILE"), "{text}\n{problem:?}");
        let message = error.to_string().replace(&place, "FILE");
        let (begins, says) = expected.split_once(" …").unwrap_or((expected, ""));
        assert!(message.starts_with(begins) && message.contains(says), "{text}\n{message}\n{expected}");
    }
}

/// Like [`BAD_FILES`], with an environment variable.
const BAD_VARIABLES: &str = r#"
OUTBOXD_UNIPILE_APIKEY=x
  unknown environment variable OUTBOXD_UNIPILE_APIKEY; did you mean OUTBOXD_UNIPILE_API_KEY?
OUTBOXD_POLICY_DEFAULT_GAP=10s
  unknown environment variable OUTBOXD_POLICY_DEFAULT_GAP; did you mean OUTBOXD_POLICY_DEFAULT_GAP_MAX?
OUTBOXD_PORT_80_TCP=x
  unknown environment variable OUTBOXD_PORT_80_TCP; a key's variable is OUTBOXD_ and its path in capitals
OUTBOXD_ACCOUNT_ACC_1_ZONE=UTC
  unknown environment variable OUTBOXD_ACCOUNT_ACC_1_ZONE; the rules of one account belong in the file
OUTBOXD_STORE_READERS=many
  store.readers in OUTBOXD_STORE_READERS: expected a whole number, got "many"; set OUTBOXD_STORE_READERS=2
OUTBOXD_STORE_READERS=
  store.readers in OUTBOXD_STORE_READERS: expected a whole number, got ""; set OUTBOXD_STORE_READERS=2
OUTBOXD_ACCOUNTS_KNOWN_ONLY=yes
  accounts.known_only in OUTBOXD_ACCOUNTS_KNOWN_ONLY: expected true or false, got "yes"; set
OUTBOXD_POLICY_DEFAULT_GAP_MIN=25s
  policy.default.gap in OUTBOXD_POLICY_DEFAULT_GAP_MIN and the built-in defaults: min 25s is above max 20s; make max
OUTBOXD_POLICY_DEFAULT_ZONE=Mars
  policy.default.zone in OUTBOXD_POLICY_DEFAULT_ZONE: "Mars" is not a known time zone; give an IANA name
"#;

#[test]
fn each_bad_variable_is_refused_by_its_name() {
    let lines: Vec<&str> = BAD_VARIABLES.trim().lines().collect();
    for case in lines.chunks(2) {
        let (variable, value) = case[0].split_once('=').unwrap();
        let error = load("", &[(variable, value)]).expect_err(variable);
        assert_eq!(error.problems.len(), 1, "{variable}\n{error}");
        assert!(error.to_string().starts_with(case[1].trim()), "{variable}\n{error}");
    }
    load("", &[("OUTBOXD_CONFIG", "x"), ("OUTBOXD_SOCKET", "y"), ("OTHER", "z")]).unwrap();
}

#[test]
fn all_problems_are_told_at_once_and_none_is_made_up() {
    let text = r#"
        [store]
        reader = 1
        readers = 0
        [policy.default]
        gap = { min = "30s", max = 40 }
        zone = "Mars"
        [account.acc_1]
        typing.enabled = false
        [account.acc_2]
        gapp = 1
    "#;
    let error = load(text, &[("OUTBOXD_LOGLEVEL", "info")]).unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    let expected = [
        "account.\"acc_2\".gapp",
        "policy.default.gap.max",
        "store.reader",
        "",
        "store.readers",
        "policy.default.zone",
    ];
    assert_eq!(
        keys, expected,
        "no reversed gap from a value of the wrong type, no problem told once per account\n{error}"
    );
    assert_eq!(error.to_string().lines().count(), expected.len(), "one line each");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load_file(Path::new("/no/such/outboxd.toml"), &[]).unwrap_err().to_string();
    assert!(error.starts_with("/no/such/outboxd.toml cannot be read: No such file"), "{error}");
    let (_folder, file) = folder("");
    std::fs::write(&file, b"[store]\npath = \"\xff\"").unwrap();
    let error = load_file(&file, &[]).unwrap_err().to_string();
    assert!(error.contains("outboxd.toml cannot be read: "), "{error}");
}
