//! Whatever a table holds and a template says: what is rendered and then validated holds no placeholder and no missing
//! value (P7).
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::domain::message::Draft;
use outboxd::domain::validate::ValidationLimits;
use outboxd::import::{Cell, Template};
use proptest::prelude::*;

/// Cells as tables hold them: names, missing values, placeholders of other tools, and any text.
fn cell() -> impl Strategy<Value = String> {
    let broken = [
        "",
        "nan",
        "NaN",
        "NULL",
        "null",
        "None",
        "none",
        "undefined",
        "N/A",
        "#N/A",
        "-",
        "(null)",
        "#REF!",
        "{{first_name}}",
        "{{ x }}",
        "{first_name}",
        "${firstName}",
        "[NAME]",
        "[First Name]",
        "%FIRSTNAME%",
        "<<name>>",
        "*|FNAME|*",
        "{% if x %}",
        "[object Object]",
        "«first_name»",
        "MÃ¼ller",
        "M\u{fffd}ller",
    ];
    let good =
        ["Jane", "Zoë", "Jean-Luc", "O'Neil", "Nan", "Nil", "Acme, Inc", "李明", "A & B <C>", "50 % {x}"];
    prop_oneof![
        prop::sample::select(broken.to_vec()).prop_map(str::to_owned),
        prop::sample::select(good.to_vec()).prop_map(str::to_owned),
        "[a-zA-Z\\[\\]%<>$_ ]{0,12}",
    ]
}

/// One way of writing a value into a text.
fn expression() -> impl Strategy<Value = String> {
    let forms = [
        "{{ x }}",
        "{{ y }}",
        "{{ x | title }}",
        "{{ x | first_name }}",
        "{{ x | trim }}",
        "{{ x | upper }}",
        "{{ x ~ y }}",
        "{{ '' ~ x }}",
        "{{ [x, y] | join(' ') }}",
        "{{ [x] }}",
        "{{ x or 'there' }}",
        "{{ x | default('there') }}",
        "{{ (x | first_name) or 'there' }}",
        "{% if x %}{{ x }}{% endif %}",
        "{% if x %}{{ y }}{% endif %}",
        "{% if x != '' %}{{ x }}{% endif %}",
        "{% set z = x %}{{ z }}",
        "{% for z in [x, y] %}{{ z }}, {% endfor %}",
        "{{ x if y else x }}",
        "{{ {'a': x}.a }}",
        "{{ x | replace('a', 'b') }}",
        "{{ x | default(y) }}",
        "{{ x or y }}",
    ];
    prop::sample::select(forms.to_vec()).prop_map(str::to_owned)
}

fn template() -> impl Strategy<Value = String> {
    let start = prop::sample::select(&["Hi ", "Dear ", "", "Hallo ", "Bonjour ", "At "][..]);
    let end = prop::sample::select(&[", how are you?", "!", "", ".\nBye ", " and "][..]);
    prop::collection::vec((start, expression(), end), 1..4).prop_map(|parts| {
        let lines = parts.into_iter().map(|(start, x, end)| format!("{start}{x}{end}"));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// What no accepted message may hold, said independently of the code that refuses it.
fn is_broken(text: &str) -> bool {
    let whole = [
        "{{",
        "}}",
        "{%",
        "{first_name}",
        "${firstName}",
        "[NAME]",
        "[First Name]",
        "%FIRSTNAME%",
        "<<name>>",
        "*|FNAME|*",
        "[object Object]",
        "«first_name»",
        "#N/A",
        "#REF!",
        "\u{fffd}",
        "MÃ¼ller",
        "Missing",
    ];
    let words = [
        "Hi ,",
        "Dear ,",
        "Hallo ,",
        "Bonjour ,",
        "Hi nan,",
        "Hi NULL,",
        "Dear None,",
        "Hi undefined,",
        "Hi -,",
        "Hi N/A,",
    ];
    whole.iter().chain(&words).any(|part| text.contains(part))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_placeholder_passes_rendering_and_validation(text in template(), x in cell(), y in cell()) {
        let template = Template::parse("hello.txt", &text).unwrap();
        let cells = [Cell { name: "x", text: x.trim() }, Cell { name: "y", text: y.trim() }];
        if let Ok(rendered) = template.render(&cells) {
            let limits = ValidationLimits { max_text_chars: 8000, known_accounts: None, placeholders: Default::default(), resolve_people: false };
            let draft = Draft {
                account_id: Some("acc_1".to_owned()),
                users_ids: Some(vec!["ACoA1".to_owned()]),
                text: Some(rendered.text),
                ..Draft::default()
            };
            if let Ok(message) = draft.validate(&limits, jiff::Timestamp::UNIX_EPOCH) {
                prop_assert!(!is_broken(&message.text), "{text:?} with {x:?}, {y:?}: {:?}", message.text);
            }
        }
    }
}
