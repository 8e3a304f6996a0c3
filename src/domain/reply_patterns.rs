//! What the configuration adds to the patterns that tell what a message of another person means (`reply.…_texts`).
//!
//! `policy/replies.rs` has the built-in patterns and applies both.

use regex::Regex;

/// Ordinary answers. A pattern that finds one of them would silence people who did not ask for it.
pub const ORDINARY: [&str; 50] = [
    "Thanks, sounds interesting. When can we talk?",
    "Yes, call me tomorrow",
    "Not interested, thank you.",
    "No, not now. Maybe next year.",
    "I can't stop thinking about your offer!",
    "Please don't stop, tell me more",
    "I will be in the office on Monday",
    "I was on holiday last week, now it suits me",
    "Our automatic door business is growing",
    "You can message me on WhatsApp, or write to me at jane@example.com",
    "Could you send me the price list?",
    "Which list do you have me on?",
    "The bus stop is near the office",
    "Kein Interesse, danke",
    "Gern, schreiben Sie mir eine Mail",
    "Ich war letzte Woche im Urlaub, jetzt passt es",
    "Oui, avec plaisir. Écrivez-moi demain",
    "Non merci, pas pour le moment",
    "Sí, escríbame la semana que viene",
    "Sì, mi scriva pure",
    "Pode me escrever amanhã",
    "Ja, stuur mij meer informatie",
    "Nee, dank je",
    "LinkedIn zeigt mir keine Nachrichten an. Ja, ich bin interessiert!",
    "Ich konnte Sie telefonisch nicht kontaktieren, rufen Sie mich bitte an.",
    "Ich erhalte sonst keine Anfragen von Firmen wie Ihrer, gern mehr.",
    "Ich möchte keine Nachrichten verpassen, schreiben Sie mir bitte per Mail.",
    "Ich habe keine weiteren Nachrichten von Ihnen erhalten, bitte noch einmal senden",
    "Warum melden Sie sich nicht mehr? Ich bin interessiert.",
    "Unter der alten Nummer können Sie mich nicht mehr kontaktieren, hier ist die neue.",
    "Bitte nicht von der Liste streichen!",
    "I could not contact you by phone, please call me.",
    "I get no messages from companies like yours, tell me more.",
    "If you don't contact me by Friday, I will call you.",
    "Please do not contact me before Monday, I am travelling",
    "Recruiters never stop messaging me, but this sounds good",
    "Please don't take me off your list",
    "Don't email me, call me instead",
    "Je n'ai pas pu vous contacter, appelez-moi",
    "Ne me contactez pas avant lundi, je suis en déplacement",
    "Vous ne m'écrivez plus ? Je suis intéressé",
    "No deje de escribirme, me interesa",
    "No me escriba más tarde de las seis",
    "No pude contactar con usted, llámeme",
    "Come mai non mi scrivete più? Mi interessa",
    "Não pare de me escrever, tenho interesse",
    "Não me contate mais tarde, prefiro de manhã",
    "Ik krijg geen berichten van LinkedIn, bel mij",
    "Ik neem geen contact meer op met uw collega, graag met u",
    "👍",
];

/// Plain wishes to be left alone. A pattern of answers that finds one of them would ignore the wish.
pub const WISHES: [&str; 8] = [
    "STOP",
    "unsubscribe",
    "Please stop writing to me.",
    "Don't contact me again!",
    "Schreiben Sie mir bitte nicht mehr.",
    "Ne me contactez plus.",
    "No me escriba más, por favor",
    "Non mi contatti più",
];

/// Regular expressions of an account's configuration; each ignores case.
#[derive(Debug, Clone, Default)]
pub struct ReplyPatterns {
    /// Further wishes not to be written to again.
    pub opt_out: Option<Regex>,
    /// Further automatic answers.
    pub out_of_office: Option<Regex>,
    /// Texts that are answers, whatever else finds them.
    pub answer: Option<Regex>,
}

impl PartialEq for ReplyPatterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts() == other.texts()
    }
}

impl Eq for ReplyPatterns {}

impl ReplyPatterns {
    /// Returns what each pattern finds and must not: the last part of its key, the text, and what follows for people who
    /// write it.
    pub fn too_wide(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let suppressed = "people who write this are never written to again";
        let held = "an answer like this does not stop the messages to the person";
        let ignored = "people who write this are written to again";
        let all = [
            ("opt_out_texts", &self.opt_out, &ORDINARY[..], suppressed),
            ("out_of_office_texts", &self.out_of_office, &ORDINARY[..], held),
            ("answer_texts", &self.answer, &WISHES[..], ignored),
        ];
        let found = all.into_iter().filter_map(|(key, pattern, texts, follows)| {
            let text = texts.iter().find(|text| pattern.as_ref().is_some_and(|one| one.is_match(text)))?;
            Some((key, *text, follows))
        });
        found.collect()
    }

    fn texts(&self) -> [Option<&str>; 3] {
        [&self.opt_out, &self.out_of_office, &self.answer].map(|regex| regex.as_ref().map(Regex::as_str))
    }
}
