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
use regex::{Regex, RegexSet};

use crate::domain::heard::Meaning;
use crate::domain::policy::Policy;

/// Only this many characters are looked at: automatic answers and wishes come first.
const LOOKED_AT: usize = 2000;
/// The longest absence that a date in an automatic answer may name.
const LONGEST_ABSENCE_DAYS: i64 = 180;

/// Automatic answers: English, German, French, Spanish, Italian, Portuguese, Dutch.
const OUT_OF_OFFICE: [&str; 22] = [
    r"\bout of (the )?office\b",
    r"\bautomatic (reply|response)\b",
    r"\bauto[- ]?(reply|responder)\b",
    r"\b(i am|i'm|i will be) (currently )?(away|on (annual |parental |maternity |paternity |sick )?leave|on (vacation|holiday|holidays))\b",
    r"\b(limited|no) access to (my )?(e-?mail|messages|linkedin)\b",
    r"\babwesenheits(notiz|meldung|nachricht|assistent)\b",
    r"\bautomatische antwort\b",
    r"\b(bin|befinde mich) (derzeit |aktuell |momentan |bis .{0,20})?(im urlaub|nicht im b(ü|ue)ro|in elternzeit|außer haus|abwesend)\b",
    r"\bnicht im b(ü|ue)ro\b",
    r"\br(é|e)ponse automatique\b",
    r"\b(je suis|actuellement) (actuellement )?(absente?|en cong(é|e)s?|en vacances)\b",
    r"\babsente? du bureau\b",
    r"\brespuesta autom(á|a)tica\b",
    r"\bfuera de la oficina\b",
    r"\b(estoy|estar(é|e)) (actualmente )?(ausente|de vacaciones|de baja)\b",
    r"\brisposta automatica\b",
    r"\bfuori (sede|ufficio)\b",
    r"\b(sono|sar(ò|o')) (attualmente )?(assente|in ferie)\b",
    r"\bresposta autom(á|a)tica\b",
    r"\b(fora do escrit(ó|o)rio|estou (atualmente )?(ausente|de f(é|e)rias))\b",
    r"\bautomatisch (antwoord|bericht)\b",
    r"\b(ben|afwezig) (momenteel )?(afwezig|met vakantie|niet op kantoor|wegens)\b",
];

/// Wishes not to be written to again, in the same languages.
const OPT_OUT: [&str; 11] = [
    r"^\W*(unsubscribe|stop|abmelden|opt[- ]?out|d(é|e)sinscri(re|ption)|baja|afmelden)\W*$",
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
const OPT_OUT_REQUESTS: [&str; 17] = [
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
    r"(smetta|smettete|smettila) di (scrivermi|contattarmi)\b",
    r"n(ã|a)o me (escreva|contate|contacte) mais\s*([.!,;\n]|$|\b(por favor|obrigad[oa])\b)",
    r"pare de me (escrever|contatar|contactar)\b",
    r"(stuur (mij|me) (alstublieft |alsjeblieft )?geen berichten meer|neemt? geen contact meer (met mij )?op)\b",
];

/// What comes before a request: the start of a text or of a part of a sentence, or words such as "please".
const REQUEST: &str = concat!(
    r"(^\W*|[.!?,;:\n(–—-]\s*|\b(please|pls|plz|kindly|and|but|so|just|thanks|thank you|(can|could|will|would) you|hi|hello|hey",
    r"|not interested|you (must|should|need to|have to)|i (want|need|ask|asked|told|would like) you to|(i'd like|i'm asking) you to",
    r"|bitte|und|danke|hallo|kein interesse|bonjour|merci|merci de|pas int(é|e)ress(é|e)e?|hola|ciao|veuillez|por favor|gracias|(pido|ruego) que|per favore|grazie|alstublieft|alsjeblieft|en) )",
);

/// The first letters of the months in the seven languages, by month.
const MONTHS: [&[&str]; 12] = [
    &["jan", "jän", "ene", "gen"],
    &["feb", "fév", "fev"],
    &["mar", "mär", "mrt", "maart"],
    &["apr", "avr", "abr"],
    &["may", "mai", "mag", "mei"],
    &["jun", "juin", "giu"],
    &["jul", "juil", "lug"],
    &["aug", "aoû", "aou", "ago"],
    &["sep", "set"],
    &["oct", "okt", "ott", "out"],
    &["nov"],
    &["dec", "dez", "déc", "dic"],
];

static OUT_OF_OFFICE_SET: LazyLock<RegexSet> = LazyLock::new(|| set(&OUT_OF_OFFICE));
static OPT_OUT_SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let requests = OPT_OUT_REQUESTS.map(|pattern| format!("{REQUEST}{pattern}"));
    let all: Vec<&str> = OPT_OUT.into_iter().chain(requests.iter().map(String::as_str)).collect();
    set(&all)
});
static NUMERIC_DATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b(?:(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})[./](\d{1,2})(?:[./](\d{4}))?)"));
/// `7 January 2027`, `1er février`, `15 de diciembre de 2026`.
static DAY_MONTH: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"\b(\d{1,2})(?:st|nd|rd|th|\.|er|º)?\s+(?:of |de )?([^\W\d_]{3,12})\.?(?:,?\s*(?:de )?(\d{4}))?")
});
/// `December 10th, 2026`.
static MONTH_DAY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b([^\W\d_]{3,12})\.?\s+(\d{1,2})(?:st|nd|rd|th)?\b(?:,?\s*(\d{4}))?"));

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
    let text: String = text.chars().take(LOOKED_AT).collect::<String>().replace('’', "'");
    let own = &policy.reply_patterns;
    let is_own = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|one| one.is_match(text.trim()));
    if is_own(&own.answer) {
        return Meaning::Reply;
    }
    if OPT_OUT_SET.is_match(text.trim()) || is_own(&own.opt_out) {
        return Meaning::OptOut;
    }
    if OUT_OF_OFFICE_SET.is_match(&text) || is_own(&own.out_of_office) {
        let away = back_at(&text, at, &policy.zone).map(|back_at| back_at.duration_since(at));
        return Meaning::OutOfOffice(away.and_then(|away| Duration::try_from(away).ok()));
    }
    Meaning::Reply
}

/// Returns the end of the latest day that the text names, within [`LONGEST_ABSENCE_DAYS`].
fn back_at(text: &str, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let today = at.to_zoned(zone.clone()).date();
    let lower = text.to_lowercase();
    let numeric = NUMERIC_DATE.captures_iter(&lower).filter_map(|found| {
        let number = |group: usize| found.get(group).and_then(|part| part.as_str().parse::<i16>().ok());
        match (number(1), number(4)) {
            (Some(year), _) => Date::new(year, small(number(2)?)?, small(number(3)?)?).ok(),
            (None, Some(day)) => dated(today, number(6), small(number(5)?)?, small(day)?),
            (None, None) => None,
        }
    });
    let named = |dates: &'static Regex, day: usize| {
        dates.captures_iter(&lower).filter_map(move |found| {
            let part = |group: usize| found.get(group).map(|part| part.as_str());
            let year = part(3).and_then(|year| year.parse().ok());
            dated(today, year, month(part(3 - day)?)?, part(day)?.parse().ok()?)
        })
    };
    let named = named(&DAY_MONTH, 1).chain(named(&MONTH_DAY, 2));
    let latest = numeric.chain(named).filter(|date| {
        let away = (*date - today).get_days();
        (0..=LONGEST_ABSENCE_DAYS).contains(&i64::from(away))
    });
    let next_day = latest.max()?.checked_add(Span::new().days(1)).ok()?;
    Some(next_day.to_zoned(zone.clone()).ok()?.timestamp())
}

fn small(number: i16) -> Option<i8> {
    i8::try_from(number).ok()
}

/// Returns the month whose name begins like this.
fn month(name: &str) -> Option<i8> {
    let found = MONTHS.iter().position(|starts| starts.iter().any(|start| name.starts_with(start)))?;
    i8::try_from(found + 1).ok()
}

/// Returns a date; one without a year is the next one.
fn dated(today: Date, year: Option<i16>, month: i8, day: i8) -> Option<Date> {
    if let Some(year) = year {
        return Date::new(year, month, day).ok();
    }
    let this_year = Date::new(today.year(), month, day).ok();
    this_year.filter(|date| *date >= today).or_else(|| Date::new(today.year() + 1, month, day).ok())
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
