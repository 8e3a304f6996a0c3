//! What a message of another person means: an answer, an automatic answer, or the wish not to be written to again.
//!
//! Patterns are words in seven languages; the rules of an account may add some (`domain/reply_patterns.rs`). A text that no pattern matches is an answer: an answer that is taken for an
//! automatic one would only be late, so the automatic ones are matched narrowly, and the wish to be left alone as
//! well, because a suppression is for ever.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use regex::{Captures, Regex, RegexSet};

use crate::domain::heard::Meaning;
use crate::domain::ids;
use crate::domain::policy::Policy;

/// Only this many characters are looked at: automatic answers and wishes come first.
const LOOKED_AT: usize = 2000;
/// The longest absence that a date with a year in an automatic answer may name.
const LONGEST_ABSENCE_DAYS: i64 = 180;
/// The longest absence that a date without a year may name: two months.
const LONGEST_WITHOUT_YEAR_DAYS: i64 = 62;

/// Automatic answers: English, German, French, Spanish, Italian, Portuguese, Dutch.
const OUT_OF_OFFICE: [&str; 22] = [
    r"\bout of (the )?office\b",
    r"\bautomatic (reply|response)\b",
    r"\bauto[- ]?(reply|responder)\b",
    r"\b(i am|i'm|i will be) (currently )?(away|on (annual |parental |maternity |paternity |sick )?leave|on (vacation|holiday|holidays))\b",
    r"\b(limited|no) access to (my )?(e-?mail|messages|linkedin)\b",
    r"\babwesenheits(notiz|meldung|nachricht|assistent)\b",
    r"\bautomatische antwort\b",
    r"\b(bin|befinde mich) (derzeit |aktuell |momentan |bis .{0,20})?(im urlaub|nicht im b(ü|ue)ro|in elternzeit|i[mn] mutterschutz|außer haus|abwesend)\b",
    r"\bnicht im b(ü|ue)ro\b",
    r"\br(é|e)ponse automatique\b",
    r"\b(je suis|actuellement) (actuellement )?(absente?|en cong(é|e)s?|en vacances)\b",
    r"\babsente? du bureau\b",
    r"\brespuesta autom(á|a)tica\b",
    r"\bfuera de la oficina\b",
    r"\b(estoy|estar(é|e)) (actualmente )?(ausente|de (vacaciones|baja|permiso))\b",
    r"\brisposta automatica\b",
    r"\bfuori (sede|ufficio)\b",
    r"\b(sono|sar(ò|o')) (attualmente )?(assente|in (ferie|vacanza|congedo|maternit(à|a)))\b",
    r"\bresposta autom(á|a)tica\b",
    r"\b(fora do escrit(ó|o)rio|estou (atualmente )?(ausente|de (f(é|e)rias|licen(ç|c)a)))\b",
    r"\bautomatisch (antwoord|bericht)\b",
    r"\b(ben|afwezig) (momenteel |tot .{0,20})?(afwezig|(met|op) vakantie|met (\w+)?verlof|niet op kantoor|wegens)\b",
];

/// The first words of a text that a program wrote, whatever else it says.
const LABEL: &str = r"(?i)^\W*(automatic (reply|response)|auto[- ]?(reply|response)|out of office|abwesenheits|automatische antwort|r(é|e)ponse automatique|respuesta autom(á|a)tica|risposta automatica|resposta autom(á|a)tica|automatisch (antwoord|bericht))";

/// What a program does not write: a text that names an absence and says one of these is an answer.
const BY_HAND: [&str; 14] = [
    r"^\W*(yes|yeah|yep|sure|absolutely|definitely|of course|no,? (thanks|thank you))\b",
    r"\b((i'm|i am|we're|we are|we'd be|i'd be|i would be) ((very|quite|really|definitely|certainly|always) )?|not (really |currently )?)interested\b",
    r"\b(sounds (very |really )?(good|great|interesting|exciting)|no,? thanks|no,? thank you)\b",
    r"\b(let's|let us|(can|could|shall|should) we) (\w+ )?(talk|speak|connect|chat|meet|catch up|schedule|discuss)\b",
    r"\b((is|was) (this|that|it) an? auto|are you a (ro)?bot\b|nice auto)",
    r"^\W*(ja\b|klar\b|sehr gerne?\b|gerne?\s*[,.!]|nein,? danke\b|oui\b|avec plaisir\b|volontiers\b|non,? merci\b|sí\b|claro\b|no,? (gracias|grazie)\b|sì\b|certo\b|volentieri\b|sim\b|n(ã|a)o,? obrigad[oa]\b|nee,? (dank|bedankt)\b)",
    r"\b(kein(erlei)? interesse|(bin|w(ä|ae)re) (ich )?(sehr |durchaus |nicht |grunds(ä|ae)tzlich )?interessiert|interessiert mich|klingt (sehr )?(gut|spannend|interessant))\b",
    r"\b((lassen sie|lass) uns|(k(ö|oe)nnen|k(ö|oe)nnten|wollen) wir|danach gerne?)\b",
    r"\b((suis|serais) (pas |très )?int(é|e)ress(é|e)e?|m'int(é|e)resse|on se (parle|rappelle|voit))\b",
    r"\b(me interesa|(estoy|estar(í|i)a) (muy )?interesad[oa]|hablamos)\b",
    r"\b(mi interessa|(sono|sarei) (molto )?interessat[oa]|sentiamoci|ci sentiamo)\b",
    r"\b((tenho|sem) interesse|(estou|estaria) (muito )?interessad[oa]|vamos (falar|conversar))\b",
    r"\b((geen|wel|zeker) interesse|ben (ik )?(wel |zeker |niet )?(ge(ï|i)nteresseerd|benieuwd))\b",
    r"\bklinkt (goed|interessant|leuk)\b",
];

/// Wishes not to be written to again, in the same languages.
const OPT_OUT: [&str; 22] = [
    // Nothing but the wish and what is polite around it.
    r"^\W*((please|pls|plz|i said|no|thanks|thank you|bitte|svp|por favor|per favore|graag)\W+)*(unsub(scribe( me)?)?|stop+|opt[- ]?out|abmelden|austragen|(se )?d(é|e)sabonner|(se )?d(é|e)sinscri(re|ption)|baja|afmelden|uitschrijven|arr(ê|e)tez)(\W+(it|this|now|stop|please|pls|thanks|thank you|bitte|danke|svp|s'il vous pla(î|i)t|merci|por favor|gracias|per favore|grazie|alsjeblieft|alstublieft))*\W*$",
    // The wish in a line of its own, before a signature, or at the end.
    r"^\W*(please )?(stop|unsubscribe)( please)?\W*\n",
    r"[.!,;\n]\s*(please|pls|kindly) (stop|unsubscribe)\s*[.!]*\s*$",
    r"\bi('d like| would like| want| wish) to (opt[- ]?out|unsubscribe|be removed from (your|the|this) (mailing |contact )?list)\s*([.!,;\n]|$)",
    r"\bi (do not|don't|dont) (want|wish)( to (receive|get))?( any)? (more|further) (messages|e-?mails|inmails)( from you)?\s*([.!,;\n]|$)",
    r"\bje ne (veux|souhaite) plus ((ê|e)tre (re)?contact(é|e)e?|recevoir (de|des|vos) messages)( de (votre|ta) part)?\s*([.!,;\n]|$)",
    r"\bno (quiero|deseo) (recibir )?m(á|a)s mensajes( suyos| tuyos| de ustedes)?\s*([.!,;\n]|$)",
    r"\bnon (voglio|desidero) (pi(ù|u') ricevere|ricevere (pi(ù|u')|altri)) messaggi\s*([.!,;\n]|$)",
    r"\bn(ã|a)o quero (mais receber|receber mais) mensagens\s*([.!,;\n]|$)",
    r"\bgelieve (mij|me) niet meer te contacteren\b",
    r"\b(d(é|e)me|darme|denme) de baja\s*([.!,;\n]|$)",
    r"\b(d(é|e)sabonnez[- ]moi|laissez[- ]moi tranquille)\b",
    r"\bbitte (in zukunft |k(ü|ue)nftig |ab jetzt |ab sofort )?(mir )?keine (weiteren? |mehr )?(nachrichten|anfragen)\b",
    r"(^|[.!?,;\n])\s*keine (weiteren nachrichten( mehr)?|nachrichten (mehr|bitte))( bitte)?\s*([.!,;\n]|$)",
    r"\b(m(ö|oe)chte|will|w(ü|ue)nsche) (bitte |hier |von ihnen )*keine (nachrichten|anfragen)( mehr| von ihnen| erhalten| bekommen)+\s*([.!,;\n]|$|und\b)",
    r"\b(m(ö|oe)chte|will|w(ü|ue)nsche) (bitte |hier |von ihnen )*keine weiteren (nachrichten|anfragen)( mehr| von ihnen| erhalten| bekommen)*\s*([.!,;\n]|$|und\b)",
    r"\b(m(ö|oe)chte|will|w(ü|ue)nsche) (bitte |hier |von ihnen )*(keine (nachrichten|anfragen)( von ihnen)?\s*([.!\n]|$)|nicht (mehr|weiter|wieder) (kontaktiert|angeschrieben) werden\b)",
    r"\bbitte (mich |mir )?nicht ((mehr |weiter |wieder )?(kontaktieren|anschreiben)|mehr schreiben)\b",
    r"\b(bitte|sollen|sollten)( sie)?,? (mich|mir) (bitte )?(nicht|nie) (mehr|wieder) (zu )?(kontaktieren|anschreiben|anzuschreiben|schreiben)\b",
    r"(^|\b(mich|uns|bitte|sofort) )von (ihrer|der|eurer) liste (streichen|l(ö|oe)schen|nehmen)\b",
    r"\bne plus (me |m')(re)?(contacter|(é|e)crire)\b",
    r"\b(retirez|supprimez)[- ]moi de (votre|la) liste\b",
];

/// Wishes that count only as a request, after [`REQUEST`]: in "if you don't contact me" or "no deje de escribirme" the
/// same words mean something else.
const OPT_OUT_REQUESTS: [&str; 28] = [
    r"(stop|quit|cease) (sending|writing) (me )?(these|those|your)( (messages|e-?mails|inmails|offers|requests|invitations|invites))?( to me)?\s*([.!?,;\n]|$)",
    r"(do not|don't|dont|never) (write|message|contact) again\s*([.!,;\n]|$)",
    r"h(ö|oe)r(en sie|t)? (bitte )?auf,? (mir|mich|uns) (weiter )?(zu schreiben|anzuschreiben|zu kontaktieren)\b",
    r"(stop|quit|cease) (sending|writing|messaging|contacting|texting|spamming)( me)?( any)?( more)?( (messages?|e-?mails?|inmails?|spam))?( to me| on linkedin)?( anymore| any more)?( please| thanks)?\s*([.!,;\n]|$)",
    r"(cease all communications?|no more (messages|inmails)( please)?)\s*([.!,;\n]|$)",
    r"remove me\s*([.!,;\n]|$)",
    r"(delete|erase) (all )?my (personal )?data\s*([.!,;\n]|$|and\b)",
    r"l(ö|oe)schen sie (bitte )?(alle )?meine daten\s*([.!,;\n]|$|und\b)",
    r"(lassen sie|lasst|lass) (mich|uns) (bitte )?in (ruhe|frieden)\s*([.!,;\n]|$)",
    r"no me molest(e|en|es)( m(á|a)s)?\s*([.!,;\n]|$)",
    r"(laat (me|mij) met rust|stop met (mij|me) berichten (te )?sturen|geen berichten meer)\s*([.!,;\n]|$|alstublieft|alsjeblieft)",
    r"(stop|quit|cease) (writing|messaging|contacting|texting|e-?mailing|spamming)( to)? me\b",
    r"(do not|don't|dont|never) (ever )?(write|message|contact)( to)? me( again| anymore| any more| ever again)?\s*([.!,;\n)…–—-]|$|\b(please|pls|thanks?|ever|in (the )?future|here|(on|via|through) linkedin|with|about|regarding|and|or|i|i'm|we)\b)",
    r"(do not|don't|dont|never) (ever )?(text|e-?mail) me( again| anymore| any more| ever again)?\s*([.!\n]|$)",
    r"(remove|take) me (from|off) (your|the|this) (mailing |contact )?(list|database)\b",
    r"unsubscribe me\b",
    r"leave me alone\b",
    r"(schreiben|kontaktieren|melden) sie (mir|mich|sich)( bitte)? (nicht|nie) (mehr|wieder)\b([^?]|$)",
    r"(schreib|kontaktiere) (mir|mich) (bitte )?(nicht|nie) (mehr|wieder)\b([^?]|$)",
    r"ne (me |m')(re)?(contactez|(é|e)crivez) (plus\b|pas\s*([.!\n]|$))",
    r"(cessez|arr(ê|e)tez) de (me|m') ?(contacter|(é|e)crire)\b",
    r"no me (escrib(a|as|an)|contact(e|es|en)) m(á|a)s\s*([.!,;\n]|$|\b(por favor|gracias)\b)",
    r"(deje|deja|dejen) de (escribirme|contactarme)\b",
    r"non (mi )?(scriv(a|ete|ere|etemi)|contatt(i|ate|are|atemi)) pi(ù|u')\s*([.!,;\n]|$|\b(per favore|grazie)\b)",
    r"(smetta|smettete|smettila|smettetela) di (scrivermi|contattarmi)\b",
    r"n(ã|a)o me (escreva|contate|contacte) mais\s*([.!,;\n]|$|\b(por favor|obrigad[oa])\b)",
    r"pare de me (escrever|contatar|contactar)\b",
    r"(stuur (mij|me) (alstublieft |alsjeblieft )?geen berichten meer|neemt? geen contact meer (met mij )?op)\b",
];

/// A list of people who do something, such as speak at a conference: who wishes to be removed from it writes about that.
const OTHER_LIST: &str = concat!(
    r"\b((from|off) (the|this) list of (the |your |our )?(keynote |guest |confirmed )?(speakers|panell?ists|presenters|moderators|hosts|organi[sz]ers|sponsors",
    r"|exhibitors|judges|jurors|authors|reviewers|editors|volunteers|nominees|winners)",
    r"|de la liste des (intervenant(e)?s|orateurs|conf(é|e)renciers|panélistes|exposants|organisateurs|jurés|auteurs|b(é|e)n(é|e)voles))\b",
);

/// What may ask for more than to be removed from such a list, so that the text is a wish all the same.
const MORE_THAN_A_LIST: &str = concat!(
    r"\b(stop|cease|quit|never|no more|not|do not|don't|dont|unsubscribe|opt|spam|again|any ?more|any further|alone|lists?|database",
    r"|everything|anything|else|contact|write|message|messages|e-?mails?|mailing|data|plus|pas|jamais|cessez|arr(ê|e)tez|listes?|tout)\b",
);

/// What comes before a request: the start of a text or of a part of a sentence, or words such as "please".
const REQUEST: &str = concat!(
    r"(^\W*|[.!?,;:\n(–—-]\s*|\b(please|pls|plz|kindly|and|but|so|just|thanks|thank you|(can|could|will|would) you|hi|hello|hey",
    r"|not interested|again|you (again |already |twice )*(to|must|should|need to|have to)",
    r"|bitte|und|danke|hallo|kein interesse|bonjour|merci|merci de|pas int(é|e)ress(é|e)e?|hola|ciao|veuillez|por favor|gracias|(pido|ruego) que|per favore|grazie|alstublieft|alsjeblieft|graag|en) )",
);

/// The names of the months and their abbreviations in the seven languages, by month.
const MONTHS: [&str; 12] = [
    "jan january januar jänner januari janvier janv enero ene gennaio genn gen janeiro",
    "feb february februar februari février févr fév fevrier febrero febbraio febb fevereiro fev",
    "mar march märz maerz mär mrz mars marzo março marco maart mrt",
    "apr april avril avr abril abr aprile",
    "may mai mayo maggio mag maio mei",
    "jun june juni juin junio giugno giu junho",
    "jul july juli juillet juil julio luglio lug julho",
    "aug august août aout agosto ago augustus",
    "sep sept september septembre septiembre setiembre settembre sett set setembro",
    "oct october oktober okt octobre octubre ottobre ott outubro",
    "nov november novembre noviembre novembro",
    "dec december dezember dez décembre déc decembre diciembre dic dicembre dezembro",
];

static OUT_OF_OFFICE_SET: LazyLock<RegexSet> = LazyLock::new(|| set(&OUT_OF_OFFICE));
static LABEL_PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(LABEL));
static BY_HAND_SET: LazyLock<RegexSet> = LazyLock::new(|| set(&BY_HAND));
static OPT_OUT_SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let requests = OPT_OUT_REQUESTS.map(|pattern| format!("{REQUEST}{pattern}"));
    let all: Vec<&str> = OPT_OUT.into_iter().chain(requests.iter().map(String::as_str)).collect();
    set(&all)
});
static OTHER_LIST_PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){OTHER_LIST}")));
static MORE_PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){MORE_THAN_A_LIST}")));
static NUMERIC_DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\b(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})([./])(\d{1,2})(?:[./](\d{4}|\d{2}))?)\b")
});
/// `7 January 2027`, `1er février`, `15 de diciembre de 2026`.
static DAY_MONTH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\b(\d{1,2})(?:st|nd|rd|th|\.|er|º)?\s+(?:of |de )?([^\W\d_]{3,12})\b\.?(?:,?\s*(?:de )?(\d{4})\b)?",
    )
});
/// `December 10th, 2026`.
static MONTH_DAY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b([^\W\d_]{3,12})\.?\s+(\d{1,2})(?:st|nd|rd|th)?\b(?:,?\s*(\d{4})\b)?"));

fn set(patterns: &[&str]) -> RegexSet {
    let insensitive = patterns.iter().map(|pattern| format!("(?i){pattern}"));
    RegexSet::new(insensitive).expect("the patterns are constants, and a test compiles them")
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant, and a test compiles it")
}

/// Returns what a text of another person, written at `at` by the provider's clock, means to an account: by the built-in
/// patterns and those of its rules. Dates in the text are compared with that clock, because ours may be wrong.
pub fn meaning(text: &str, at: Timestamp, policy: &Policy) -> Meaning {
    let text = plain(text);
    let own = &policy.reply_patterns;
    let is_own = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|one| one.is_match(text.trim()));
    if is_own(&own.answer) {
        return Meaning::Reply;
    }
    if is_wish(text.trim()) || is_own(&own.opt_out) {
        return Meaning::OptOut;
    }
    if is_automatic(text.trim()) || is_own(&own.out_of_office) {
        let away = back_at(&text, at, &policy.zone).map(|back_at| back_at.duration_since(at));
        return Meaning::OutOfOffice(away.and_then(|away| Duration::try_from(away).ok()));
    }
    Meaning::Reply
}

/// Returns whether the text is a wish not to be written to again.
fn is_wish(text: &str) -> bool {
    let is_about_another_list = || {
        let rest = OTHER_LIST_PATTERN.replace_all(text, " ");
        rest != text && !MORE_PATTERN.is_match(&rest)
    };
    OPT_OUT_SET.is_match(text) && !is_about_another_list()
}

/// Returns the text as the patterns have it: one kind of apostrophe, one space between words, no invisible characters.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().take(LOOKED_AT).filter(|c| !ids::is_invisible(*c)) {
        match c {
            '’' | '‘' | 'ʼ' | '´' | '`' => plain.push('\''),
            '\n' => plain.push('\n'),
            c if c.is_whitespace() && plain.ends_with([' ', '\n']) => {}
            c if c.is_whitespace() => plain.push(' '),
            c => plain.push(c),
        }
    }
    plain
}

/// Returns whether a program wrote the text. People name their absence as well, next to an answer, and must not be
/// written to as if they had not answered.
fn is_automatic(text: &str) -> bool {
    let is_by_hand = || BY_HAND_SET.is_match(text) && !LABEL_PATTERN.is_match(text);
    OUT_OF_OFFICE_SET.is_match(text) && !is_by_hand()
}

/// Returns the end of the latest day that the text names, as far away as a date is believed.
fn back_at(text: &str, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let today = at.to_zoned(zone.clone()).date();
    let lower = text.to_lowercase();
    let numeric = NUMERIC_DATE.captures_iter(&lower).filter_map(|found| numeric_date(&lower, &found, today));
    let named = |dates: &'static Regex, day: usize| {
        dates.captures_iter(&lower).filter_map(move |found| {
            let part = |group: usize| found.get(group).map(|part| part.as_str());
            let year = part(3).and_then(|year| year.parse().ok());
            believed(today, year, month(part(3 - day)?)?, part(day)?.parse().ok()?)
        })
    };
    let latest = numeric.chain(named(&DAY_MONTH, 1)).chain(named(&MONTH_DAY, 2)).max();
    let next_day = latest?.checked_add(Span::new().days(1)).ok()?;
    Some(next_day.to_zoned(zone.clone()).ok()?.timestamp())
}

/// Returns the date of `2027-01-05`, `5.1.2027` or `1/5`. With a slash the day or the month may be first: the earlier
/// of the two dates that are not past.
fn numeric_date(text: &str, found: &Captures, today: Date) -> Option<Date> {
    let whole = found.get(0)?;
    // A part of something longer, such as `24/7/365` or `1.2.3.4`.
    let after = &text[whole.end()..];
    let goes_on = after.starts_with('/')
        || after.starts_with('.') && after[1..].starts_with(|c: char| c.is_ascii_digit());
    if goes_on || whole.as_str() == "24/7" || text[..whole.start()].ends_with(['.', '/']) {
        return None;
    }
    let number = |group: usize| found.get(group).and_then(|part| part.as_str().parse::<i16>().ok());
    let small = |group: usize| number(group).and_then(|number| i8::try_from(number).ok());
    if let Some(year) = number(1) {
        return believed(today, Some(year), small(2)?, small(3)?);
    }
    let year = number(7).map(|year| if year < 100 { 2000 + year } else { year });
    let (first, second) = (small(4)?, small(6)?);
    let day_first = believed(today, year, second, first);
    let month_first = || believed(today, year, first, second);
    match found.get(5)?.as_str() {
        "/" => day_first.into_iter().chain(month_first()).min(),
        _ => day_first,
    }
}

/// Returns the month with this name.
fn month(name: &str) -> Option<i8> {
    let found = MONTHS.iter().position(|names| names.split(' ').any(|one| one == name))?;
    i8::try_from(found + 1).ok()
}

/// Returns a date that may end an absence: neither past nor too far away. One without a year is the next one.
fn believed(today: Date, year: Option<i16>, month: i8, day: i8) -> Option<Date> {
    let (date, longest) = match year {
        Some(year) => (Date::new(year, month, day).ok(), LONGEST_ABSENCE_DAYS),
        None => {
            let this_year = Date::new(today.year(), month, day).ok().filter(|date| *date >= today);
            let next_year = || Date::new(today.year() + 1, month, day).ok();
            (this_year.or_else(next_year), LONGEST_WITHOUT_YEAR_DAYS)
        }
    };
    date.filter(|date| (0..=longest).contains(&i64::from((*date - today).get_days())))
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
