//! Tables of answers in seven languages, and what each means.

use super::*;
use crate::domain::reply_patterns::{ORDINARY, ReplyPatterns, WISHES};
use crate::domain::rule_text::parse_regex;

fn at() -> Timestamp {
    "2026-12-01T10:00:00Z".parse().unwrap()
}

fn away_until(until: Timestamp) -> Meaning {
    Meaning::OutOfOffice(Some(until.duration_since(at()).try_into().unwrap()))
}

fn means(text: &str) -> Meaning {
    means_by(text, ReplyPatterns::default())
}

fn means_by(text: &str, reply_patterns: ReplyPatterns) -> Meaning {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    meaning(text, at(), &Policy { zone, reply_patterns, ..Policy::unlimited() })
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
        "No thanks. Please don't contact me.",
        "Could you please remove me from your mailing list?",
        "I asked you to stop messaging me",
        "I have already told you twice to stop contacting me",
        "Again: stop contacting me",
        "As I said, please never write to me again",
        "Not interested don't contact me again",
        "Hi stop messaging me",
        "Please do not contact me in the future",
        "Not interested, don't message me here",
        "Schreiben Sie mir bitte nicht mehr.",
        "Bitte keine weiteren Nachrichten",
        "Keine weiteren Nachrichten bitte!",
        "Bitte keine Anfragen mehr",
        "Bitte nicht kontaktieren",
        "Bitte kontaktieren Sie mich nicht mehr",
        "Ich bitte Sie, mich nicht mehr zu kontaktieren.",
        "Ich möchte keine Nachrichten mehr",
        "Ich möchte keine Nachrichten mehr von Ihnen erhalten.",
        "Ich möchte keine weiteren Anfragen, danke",
        "Ich möchte nicht mehr kontaktiert werden",
        "Bitte mich von Ihrer Liste streichen",
        "Schreib mir nicht mehr",
        "unsub",
        "Can you stop sending me these?",
        "Please stop sending these messages",
        "Stop sending me your offers!",
        "No thanks, please don't write again",
        "Hören Sie bitte auf, mir zu schreiben",
        "Bitte austragen",
        "Se désabonner",
        "Ne me contactez plus.",
        "Merci de ne plus m'écrire.",
        "Ne m'écrivez plus",
        "Arrêtez de m'écrire",
        "No me escriba más, por favor",
        "Deje de escribirme, gracias",
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
fn a_wish_is_understood_however_short_it_is_and_whatever_is_around_it() {
    for text in [
        "Please don´t contact me again",
        "Don`t message me again",
        "Please stop  writing\u{a0}to me",
        "\u{200b}STOP\r\n",
        "stop please",
        "Please stop",
        "Please STOP!",
        "Stop, thank you",
        "STOP STOP STOP",
        "I said stop",
        "Stop it",
        "Not interested. Please stop.",
        "Stop.\n\nSent from my iPhone",
        "STOP\nJane Doe\nCEO",
        "Stop sending me messages",
        "Please stop messaging",
        "No more messages please",
        "Please no more messages.",
        "Please remove me",
        "Unsubscribe please",
        "I want to opt out",
        "I don't want to receive any more messages",
        "Please cease all communication",
        "Please delete my data",
        "Lassen Sie mich in Ruhe!",
        "Stop bitte",
        "Stopp bitte",
        "Löschen Sie bitte meine Daten und schreiben Sie mir nicht mehr",
        "Stop svp",
        "Laissez-moi tranquille",
        "Je ne souhaite plus être contacté.",
        "Désabonnez-moi",
        "No quiero recibir más mensajes",
        "No me molesten",
        "Smettetela di scrivermi",
        "Non voglio più ricevere messaggi",
        "Não quero receber mais mensagens",
        "Laat me met rust",
        "Graag geen berichten meer",
        "Gelieve mij niet meer te contacteren",
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
        "Ik ben op vakantie",
        "Ik ben tot maandag op vakantie",
        "Ik ben met zwangerschapsverlof",
        "Ich bin derzeit im Mutterschutz",
        "Sono in maternità",
        "Estou de licença",
        "Estoy de permiso",
    ] {
        assert_eq!(means(text), Meaning::OutOfOffice(None), "{text}");
    }
}

/// A follow-up after these would go to a person who has answered.
#[test]
fn a_person_who_names_an_absence_and_answers_has_answered() {
    for text in [
        "Thanks, sounds great! I'm out of office until Monday, let's talk Tuesday.",
        "I will be away next week, but I am interested. Call me on the 12th.",
        "Sure! I'm on vacation until 3 December, can we speak after that?",
        "Not interested, I am on maternity leave",
        "I'm on leave, no thanks",
        "Is this an automatic reply?",
        "Ja gern, ich bin im Urlaub, danach können wir telefonieren",
        "Gerne! Ich bin nicht im Büro, rufen Sie mich auf dem Handy an",
        "Avec plaisir, je suis en congé, on se parle lundi ?",
        "Me interesa, pero estoy de vacaciones",
        "Sono in ferie, ma mi interessa",
        "Estou de férias, mas tenho interesse",
        "Ben ik wel benieuwd naar, maar ik ben met vakantie",
    ] {
        assert_eq!(means(text), Meaning::Reply, "{text}");
    }
    for text in [
        "Thank you for your interest. I am out of the office; if you are interested in a demo, contact sales.",
        "Ich bin derzeit im Urlaub und werde Ihnen gerne nach meiner Rückkehr antworten.",
        "Automatic reply: I am on leave and will be happy to hear from you, let's talk when I am back",
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
        ("I am out of the office until 1/5/2027", "2027-01-05T23:00:00Z"),
        ("I am out of the office until 12/10", "2026-12-10T23:00:00Z"),
        ("Out of office until 23/12/26", "2026-12-23T23:00:00Z"),
        ("Ich bin im Urlaub 3.12.-10.12.2026", "2026-12-10T23:00:00Z"),
        ("Out of office until 4 December; support is available 24/7", "2026-12-04T23:00:00Z"),
        ("Out of office until 1 March 2027", "2027-03-01T23:00:00Z"),
        ("Fuera de la oficina hasta el 15 de diciembre de 2026", "2026-12-15T23:00:00Z"),
    ] {
        let until: Timestamp = until.parse().unwrap();
        assert_eq!(means(text), away_until(until), "{text}");
    }
    // A date that has passed, or is too far away, is not the end of an absence.
    for text in [
        "Out of office since 2026-11-01",
        "Out of office, project ends 2029-01-01",
        "Out of office until 1 March",
        "Out of office since 15 November",
    ] {
        assert_eq!(means(text), Meaning::OutOfOffice(None), "{text}");
    }
}

#[test]
fn what_only_looks_like_a_date_ends_no_absence() {
    let zone = || TimeZone::get("Europe/Berlin").unwrap();
    for (at, text) in [
        ("2026-02-16T10:00:00Z", "Out of office until Thursday… support is available 24/7"),
        ("2026-07-01T10:00:00Z", "Out of office. Call us 24/7."),
        ("2026-07-01T10:00:00Z", "Out of office. Our desk works 24/7/365"),
        ("2026-02-16T10:00:00Z", "Automatic reply: I am on leave. Contact 3 marketing colleagues"),
        ("2026-02-16T10:00:00Z", "Automatic reply from server 10.3.2.1"),
        ("2026-09-16T10:00:00Z", "I will be on vacation, out 3 days"),
    ] {
        let found = meaning(text, at.parse().unwrap(), &Policy { zone: zone(), ..Policy::unlimited() });
        assert_eq!(found, Meaning::OutOfOffice(None), "{text}");
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
    let more = [
        "I never write on Sundays, but here you are",
        "",
        "Lassen Sie mich in Ruhe darüber nachdenken, ich melde mich.",
        "Stop! That's amazing, tell me more",
        "Non-stop fun",
        "Can you stop by on Monday?",
        "Stop sending me messages on WhatsApp, write here",
        "I want to opt out of the newsletter, but let's talk",
        "Please remove me from the thread with Bob, let's talk here",
        "Ich habe keine Nachrichten mehr bekommen, bitte noch einmal",
    ];
    for text in ORDINARY.into_iter().chain(more) {
        assert_eq!(means(text), Meaning::Reply, "{text}");
    }
}

#[test]
fn a_wish_about_a_list_of_speakers_is_an_answer_unless_it_asks_for_more() {
    for text in [
        "Can you remove me from the list of speakers? I'll be travelling that week.",
        "Hi, please take me off the list of panelists, happy to talk about the rest!",
        "Please remove me from this list of keynote speakers…",
        "Pouvez-vous m'appeler ? Retirez-moi de la liste des intervenants, merci",
    ] {
        assert_eq!(means(text), Meaning::Reply, "{text}");
    }
    for text in [
        "Remove me from the list",
        "Please remove me from your list of speakers.",
        "Please remove me from the list of contacts",
        "Please remove me from the list of candidates.",
        "Remove me from the list of speakers and from your mailing list",
        "Remove me from the list of speakers and don't write to me again",
        "Please remove me from the list of speakers and everything else",
        "Unsubscribe me from the list of speakers. Stop.",
        "Retirez-moi de la liste",
        "Retirez-moi de la liste des intervenants et ne m'écrivez plus",
        "Retirez-moi de votre liste des intervenants",
    ] {
        assert_eq!(means(text), Meaning::OptOut, "{text}");
    }
}

#[test]
fn the_configuration_adds_patterns_and_exceptions() {
    let regex = |text: &str| parse_regex(text, true).unwrap();
    let own = || ReplyPatterns {
        opt_out: regex(r"\bbasta\b"),
        out_of_office: regex(r"^robot:"),
        answer: regex(r"^stop!+$|out of office hours"),
    };
    for (text, meant) in [
        ("Basta!", Meaning::OptOut),
        ("unsubscribe", Meaning::OptOut),
        ("Robot: back on 2026-12-12", away_until("2026-12-12T23:00:00Z".parse().unwrap())),
        ("Automatic reply", Meaning::OutOfOffice(None)),
        ("STOP!!", Meaning::Reply),
        ("Call me out of office hours", Meaning::Reply),
        ("This robot: nice", Meaning::Reply),
    ] {
        assert_eq!(means_by(text, own()), meant, "{text}");
    }
    assert_eq!(own().too_wide(), []);
}

#[test]
fn a_pattern_that_would_silence_people_is_found() {
    let wide = |text: &str| parse_regex(text, true).unwrap();
    let own = ReplyPatterns { opt_out: wide("stop"), out_of_office: wide("office"), answer: wide("me") };
    let found: Vec<_> = own.too_wide().into_iter().map(|(key, text, _)| (key, text)).collect();
    assert_eq!(
        found,
        [
            ("opt_out_texts", "I can't stop thinking about your offer!"),
            ("out_of_office_texts", "I will be in the office on Monday"),
            ("answer_texts", "Please stop writing to me."),
        ]
    );
    for text in WISHES {
        assert_eq!(means(text), Meaning::OptOut, "{text}");
    }
}
