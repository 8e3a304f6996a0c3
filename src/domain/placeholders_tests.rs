//! Tests of the placeholder search: texts with unfilled placeholders are found, ordinary texts in many languages
//! are not.

use super::find;

#[test]
fn what_a_template_left_unfilled_is_found() {
    let unfilled = [
        "Hi {{first_name}}, how are you?",
        "Hi {{ firstName }}",
        "Hello {first_name}, I saw your profile",
        "Hello {firstName}",
        "Hi {FIRST_NAME}!",
        "Dear [NAME], we are hiring",
        "Dear [First Name],",
        "Hi [Company Name] team",
        "Hi ${firstName},",
        "Hi #{first_name},",
        "Hi %FIRSTNAME%, nice to meet you",
        "Hi %first_name%",
        "Hi <<name>>, nice to meet you",
        "Hi <First Name>,",
        "Hi «First Name»",
        "Hi «first_name»,",
        "Hallo [Vorname], wie geht es?",
        "Bonjour {prénom}",
        "Hola [Nombre],",
        "Hi *|FNAME|*, welcome",
        "{% if name %}Hi{% endif %}",
        "{{#if company}}x{{/if}}",
        "Hi ,",
        "Hi , I saw your profile.",
        "hello\u{a0}, how are you",
        "Good news!\nDear , we are hiring",
        "Hi nan, how are you?",
        "Hi null!",
        "Hello None, nice profile",
        "Hey undefined,\nshall we talk?",
        "Dear N/A,",
        "Hi (null), how are you?",
        "undefined",
        " NaN ",
        "Dear NONE,",
        "null",
        "Hi [object Object], how are you?",
        "I saw that you work at #N/A and",
        "50% off for you, %COMPANY%!",
        "arr[0] = {name}",
    ];
    for text in unfilled {
        assert!(find(text).is_some(), "{text:?}");
    }
    assert_eq!(
        find("Hi {{first_name}}, and [Company]").as_deref(),
        Some("{{first_name}}"),
        "the first is named"
    );
}

/// Ordinary texts in ten languages and more, with brackets, prices, code and smileys.
const HARMLESS: &[&str] = &[
    // English
    "Hi Jane, how are you?",
    "Hi, how are you?",
    "Hello!",
    "Hi there, thanks for connecting.",
    "Dear Jane,",
    "We pay $120,000 to $140,000 [depending on experience].",
    "The role is remote (EU only) {or hybrid}.",
    "I got 50% of the way; 20% more and we are done.",
    "Use arr[0] and map[key], then call f(x) { return x; }",
    "const point = { x: 1, y: 2 };",
    "The JSON is {\"name\": \"Jane\", \"title\": \"CTO\"}",
    "Run `git clone <url>` and then `cd <folder>`.",
    "Set ${HOME}/bin in your PATH, or $PATH.",
    "In HTML: <title>Hello</title> and <name>Jane</name>",
    "if __name__ == '__main__': main()",
    "Split: 60% company 40% investors",
    "80% role 20% title",
    "Hi Nan, how are you?",
    "Hola Nil, ¿qué tal?",
    "None",
    "na",
    "-",
    "Voir la rubrique «Entreprise»",
    "See our [website](https://example.com) and [position](https://example.com/1).",
    "I <3 Rust :-{ ;-} {:",
    "See [1], [2] and [sic].",
    "None of the above is undefined behaviour, and null is a value.",
    "None, really.",
    "Nothing is null here!",
    "He said: \"Hi.\" [laughs]",
    "[Update] the meeting is at 10:00",
    "{}",
    "[]",
    "<>",
    "%",
    "{{}}",
    "{ }",
    "Template literals look like `${a + b}`.",
    "Our offer: 10 % off, 2 % more for friends",
    "Save 20% [limited], 30% {for members}",
    "a < b > c << 2 >> 1",
    "Name your price, title and role later.",
    "Say hi , she wrote.",
    // German
    "Hallo Jana, wie geht es Ihnen?",
    "Hallo, kurze Frage: suchen Sie gerade?",
    "Sehr geehrte Frau Meier, vielen Dank!",
    "Gehalt: 70.000 \u{20ac} [verhandelbar], 100 % remote",
    "Liebe Grüße, Ihr Team",
    "Vorname, Nachname und Firma stehen im Profil.",
    // French
    "Bonjour Claire, comment allez-vous ?",
    "Bonjour !",
    "Bonjour, je recrute pour une entreprise [Paris].",
    "Salut ! On se parle demain ?",
    "Le nom « Renard » me dit quelque chose",
    // Spanish
    "Hola María, ¿cómo estás?",
    "¡Hola! ¿Tienes cinco minutos?",
    "Estimada Ana: gracias por conectar.",
    // Italian
    "Ciao Luca, come va?",
    "Buongiorno, cerchiamo uno sviluppatore (Milano).",
    "Gentile Dott. Rossi, la ringrazio.",
    // Portuguese
    "Olá João, tudo bem?",
    "Oi, tudo bem? Vaga em Lisboa [remoto].",
    // Dutch
    "Hoi Sanne, alles goed?",
    "Beste Jan, we zoeken een developer.",
    // Polish
    "Cześć Ola, masz chwilę?",
    "Dzień dobry, szukamy programisty {Warszawa}.",
    // Swedish
    "Hej Anna, har du tid?",
    "Hej! Vi söker en utvecklare.",
    // Turkish, Japanese, Arabic
    "Merhaba Ayşe, nasılsın?",
    "こんにちは、田中さん。[東京] のポジションです。",
    "\u{645}\u{631}\u{62d}\u{628}\u{627} \u{64a}\u{627} \u{633}\u{627}\u{631}\u{629}",
];

#[test]
fn what_people_write_is_no_placeholder() {
    for text in HARMLESS {
        assert_eq!(find(text), None, "{text:?}");
    }
}
