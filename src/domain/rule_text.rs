//! Rules that are written as text: the ramp of a warm-up, the weights of campaigns, the number of sends before a break,
//! regular expressions.
//!
//! Each is parsed here once, for the configuration and for the API; an error says what is wrong and what to write
//! instead.

use regex::{Regex, RegexBuilder};

use super::parse_error::ParseError;

/// Maximum length of a ramp, in days.
const LONGEST_RAMP: usize = 90;

/// Parses a regular expression; `""` is none.
///
/// # Errors
/// Returns why it is not one, or that it matches every text.
pub fn parse_regex(text: &str, ignores_case: bool) -> Result<Option<Regex>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let regex = RegexBuilder::new(text).case_insensitive(ignores_case).build().map_err(|error| {
        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })?;
    if regex.is_match("") {
        Err("it matches the empty text, and so every text".to_owned())
    } else {
        Ok(Some(regex))
    }
}

/// Parses a ramp: `"20% + 6% a day"`, or a percentage for each day as in `"5, 10, 20, 40, 70"`; empty text is none.
pub fn parse_ramp(text: &str) -> Result<Option<Vec<u32>>, ParseError> {
    let fix =
        "write \"20% + 6% a day\", or a percentage for each day as in \"5, 10, 20, 40, 70\"; \"\" is none";
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let percent = |word: &str| word.trim().trim_end_matches('%').trim_end().parse::<u32>().ok();
    let no_ramp = || ParseError::new(format!("{text:?} is not a ramp"), fix);
    let ramp: Vec<u32> = match text.split_once('+') {
        Some((first, step)) => {
            let first = percent(first).ok_or_else(no_ramp)?;
            let step = percent(step.trim().trim_end_matches("a day")).ok_or_else(no_ramp)?;
            if step == 0 && first < 100 {
                return Err(ParseError::new(
                    format!("{text:?} never ends"),
                    "let it grow by at least 1% a day",
                ));
            }
            let percents = (0..100).map(|day| first.saturating_add(step.saturating_mul(day)));
            percents.take_while(|percent| *percent < 100).collect()
        }
        None => text.split(',').map(percent).collect::<Option<_>>().ok_or_else(no_ramp)?,
    };
    if let Some(percent) = ramp.iter().find(|percent| **percent == 0 || **percent > 100) {
        return Err(ParseError::new(format!("{percent}% is not between 1% and 100%"), fix));
    }
    if ramp.windows(2).any(|pair| pair[1] < pair[0]) {
        return Err(ParseError::new(
            format!("{text:?} goes down"),
            "let each day have at least what the one before had",
        ));
    }
    if ramp.len() > LONGEST_RAMP {
        return Err(ParseError::new(format!("takes {} days", ramp.len()), "let it end within 90 days"));
    }
    if ramp.is_empty() {
        return Err(ParseError::new(format!("{text:?} begins at the end"), fix));
    }
    Ok(Some(ramp))
}

/// Parses `"vip=3, nurture=1"`: each campaign's share relative to 1.
pub fn parse_weights(text: &str) -> Result<Vec<(String, u32)>, ParseError> {
    let fix =
        "write campaigns with their turns, as in \"vip=3, nurture=1\", 1 to 100; \"\" gives each the same";
    let mut weights: Vec<(String, u32)> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let pair = part.rsplit_once('=').map(|(name, turns)| (name.trim(), turns.trim().parse::<u32>()));
        match pair {
            Some((name, Ok(turns))) if !name.is_empty() && (1..=100).contains(&turns) => {
                if weights.iter().any(|(other, _)| other == name) {
                    return Err(ParseError::new(format!("names {name:?} twice"), "give each campaign once"));
                }
                weights.push((name.to_owned(), turns));
            }
            _ => return Err(ParseError::new(format!("{part:?} is not a weight"), fix)),
        }
    }
    Ok(weights)
}

/// Parses `"15-30"`: the minimum and maximum number of sends before a break; empty text is never.
pub fn parse_break_after(text: &str) -> Result<Option<(u32, u32)>, ParseError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let ends = text
        .split_once('-')
        .and_then(|(low, high)| Some((low.trim().parse::<u32>().ok()?, high.trim().parse::<u32>().ok()?)));
    match ends {
        Some((low, high)) if (1..=high).contains(&low) && high <= 10_000 => Ok(Some((low, high))),
        _ => {
            let fix = "write the fewest and the most sends between two breaks, as in \"15-30\"; \"\" means no breaks";
            Err(ParseError::new(format!("{text:?} is not a number of sends"), fix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Order;
    use std::time::Duration;

    #[test]
    fn a_ramp_is_a_formula_or_a_list() {
        let ramp = parse_ramp("20% + 6% a day").unwrap().unwrap();
        assert_eq!((ramp.len(), ramp[0], ramp[13]), (14, 20, 98));
        assert_eq!(parse_ramp("20+6").unwrap().unwrap(), ramp);
        assert_eq!(parse_ramp("5, 10%,20").unwrap().unwrap(), [5, 10, 20]);
        assert_eq!(parse_ramp(" ").unwrap(), None);
        for (text, what) in [
            ("soon", "\"soon\" is not a ramp"),
            ("20% + 0%", "\"20% + 0%\" never ends"),
            ("0, 50", "0% is not between 1% and 100%"),
            ("50, 120", "120% is not between 1% and 100%"),
            ("50, 40", "\"50, 40\" goes down"),
            ("1% + 1%", "takes 99 days"),
            ("100% + 1%", "\"100% + 1%\" begins at the end"),
        ] {
            assert_eq!(parse_ramp(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn weights_and_breaks_are_read_or_refused() {
        let order = Order {
            weights: parse_weights("vip=3, a=b=2").unwrap(),
            follow_ups_first: true,
            per_recipient: Duration::ZERO,
        };
        assert_eq!((order.weight("vip"), order.weight("a=b"), order.weight("other")), (3, 2, 1));
        for (text, what) in [
            ("vip", "\"vip\" is not a weight"),
            ("vip=0", "\"vip=0\" is not a weight"),
            ("vip=1, vip=2", "names \"vip\" twice"),
        ] {
            assert_eq!(parse_weights(text).unwrap_err().what, what);
        }
        assert_eq!(parse_break_after("15-30").unwrap(), Some((15, 30)));
        assert_eq!(parse_break_after("").unwrap(), None);
        for text in ["15", "30-15", "0-5", "a-b"] {
            assert_eq!(
                parse_break_after(text).unwrap_err().what,
                format!("{text:?} is not a number of sends")
            );
        }
    }
}
