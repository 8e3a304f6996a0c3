//! Tables of answers in seven languages, and what each means.

use super::*;

fn at() -> Timestamp {
    "2026-12-01T10:00:00Z".parse().unwrap()
}

fn means(text: &str) -> Meaning {
    meaning(text, at(), &TimeZone::get("Europe/Berlin").unwrap())
}

#[test]
fn a_wish_to_be_left_alone_is_understood_in_seven_languages() {
    for text in [
        "STOP",
        "unsubscribe.",
        "Please stop writing to me, thanks",
        "Don't contact me again!",
        "don’t message me anymore",
        "Take me off your list",
        "Schreiben Sie mir bitte nicht mehr.",
        "Bitte keine weiteren Nachrichten",
        "Schreib mir nicht mehr",
        "Ne me contactez plus.",
        "Merci de ne plus m'écrire.",
        "Ne m'écrivez plus",
        "Arrêtez de m'écrire",
        "No me escriba más, por favor",
        "Non mi contatti più",
        "Smetta di scrivermi",
        "Não me contate mais",
        "Stuur mij geen berichten meer",
        "Stuur mij alstublieft geen berichten meer.",
    ] {
        assert_eq!(means(text), Meaning::OptOut, "{text}");
    }
}

#[test]
fn an_automatic_answer_is_not_an_answer() {
    for text in [
        "I am out of office until further notice.",
        "Automatic reply: thank you for your message",
        "I'm on vacation and have limited access to email",
        "Ich bin derzeit im Urlaub.",
        "Abwesenheitsnotiz",
        "Je suis absente du bureau",
        "Estoy de vacaciones",
        "Risposta automatica: sono in ferie",
        "Estou de férias",
        "Ik ben afwezig",
    ] {
        assert_eq!(means(text), Meaning::OutOfOffice(None), "{text}");
    }
}

#[test]
fn the_date_of_an_automatic_answer_is_its_last_one() {
    for (text, until) in [
        ("Out of office until 2026-12-12", "2026-12-12T23:00:00Z"),
        ("Out of office from December 3rd to December 10th", "2026-12-10T23:00:00Z"),
        ("I'm away: back on 7 January 2027", "2027-01-07T23:00:00Z"),
        ("Automatische Antwort: Ich bin bis 5. Januar nicht im Büro", "2027-01-05T23:00:00Z"),
        ("Ich bin im Urlaub, zurück am 14.12.", "2026-12-14T23:00:00Z"),
        ("Réponse automatique : je suis absent jusqu'au 1er février", "2027-02-01T23:00:00Z"),
        ("Fuera de la oficina hasta el 15 de diciembre de 2026", "2026-12-15T23:00:00Z"),
    ] {
        let until: Timestamp = until.parse().unwrap();
        assert_eq!(means(text), Meaning::OutOfOffice(Some(until)), "{text}");
    }
    // A date that has passed, or is too far away, is not the end of an absence.
    for text in ["Out of office since 2026-11-01", "Out of office, project ends 2029-01-01"] {
        assert_eq!(means(text), Meaning::OutOfOffice(None), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_means_something(text in "\\PC{0,300}", date in "(out of office )?[0-9]{1,4}[-./ ][0-9a-z]{1,9}[-./ ][0-9]{1,4}") {
        means(&text);
        means(&date);
    }
}

/// An opt-out or an absence that was not meant would silence a person for ever, or for days.
#[test]
fn an_ordinary_answer_is_an_answer() {
    for text in [
        "Thanks, sounds interesting. When can we talk?",
        "Not interested, thank you.",
        "I can't stop thinking about your offer!",
        "Please don't stop, tell me more",
        "I will be in the office on Monday",
        "Our automatic door business is growing",
        "You can message me on WhatsApp, or write to me at jane@example.com",
        "I never write on Sundays, but here you are",
        "Kein Interesse, danke",
        "Gern, schreiben Sie mir eine Mail",
        "Ich war letzte Woche im Urlaub, jetzt passt es",
        "Oui, avec plaisir. Écrivez-moi demain",
        "Sí, escríbame la semana que viene",
        "Sì, mi scriva pure",
        "Pode me escrever amanhã",
        "Ja, stuur mij meer informatie",
        "Which list do you have me on?",
        "The bus stop is near the office",
        "👍",
        "",
    ] {
        assert_eq!(means(text), Meaning::Reply, "{text}");
    }
}
