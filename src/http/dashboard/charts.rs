//! Charts, drawn by the server as SVG, each with its figures as text for those who do not see it.

use std::fmt::Write;

use super::frame::Markup;
use crate::domain::calendar::{Calendar, DAY, WEEKDAYS};

/// Returns how much of a cap is used, as a bar.
pub(super) fn bar(used: u32, limit: u32, label: &str) -> Markup {
    let (used, limit) = (f64::from(used), f64::from(limit.max(1)));
    let width = (used / limit).min(1.0) * 100.0;
    Markup(format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"track\" width=\"100\" height=\"8\"/><rect class=\"used\" width=\"{width:.1}\" height=\"8\"/></svg>",
        escaped(label)
    ))
}

/// Returns a column for each value, with its label as the title.
pub(super) fn columns(values: &[(String, u32)], what: &str) -> Markup {
    let most = values.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    // A few days stay narrow.
    let step = 100.0 / values.len().max(14) as f64;
    let figures: Vec<String> = values.iter().map(|(label, value)| format!("{label}: {value}")).collect();
    let mut svg = format!(
        "<svg class=\"columns\" viewBox=\"0 0 100 30\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        escaped(&format!("{what}. {}", figures.join(", ")))
    );
    for ((label, value), x) in values.iter().zip((0_u32..).map(|n| f64::from(n) * step)) {
        let height = f64::from(*value) / f64::from(most) * 28.0;
        let (y, width) = (30.0 - height, step * 0.8);
        let title = escaped(&format!("{label}: {value}"));
        let _to_a_string = write!(
            svg,
            "<rect class=\"used\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"><title>{title}</title></rect>"
        );
    }
    Markup(svg + "</svg>")
}

/// Returns a line through the sends of some days, small enough for a table.
pub(super) fn sparkline(values: &[u32]) -> Markup {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let height = |value: u32| 15.0 - f64::from(value) / f64::from(most) * 14.0;
    let points: Vec<String> =
        (0..).step_by(10).zip(values).map(|(x, value)| format!("{x},{:.0}", height(*value))).collect();
    let figures: Vec<String> = values.iter().map(u32::to_string).collect();
    Markup(format!(
        "<svg class=\"spark\" viewBox=\"-1 -1 62 18\" role=\"img\" aria-label=\"Sent by day, today last: {}\"><polyline points=\"{}\"/></svg>",
        figures.join(", "),
        points.join(" ")
    ))
}

/// A line of a chart: its name, and a value for some of the days.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    /// The place of the day, and the value.
    pub(super) points: Vec<(u32, u32)>,
}

/// Returns curves over the days from `first` to `last`, with their ends in words.
pub(super) fn curves(curves: &[Curve<'_>], first: &str, last: &str) -> Markup {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let (days, most) = (all().map(|point| point.0).max(), all().map(|point| point.1).max());
    let (days, most) = (days.unwrap_or(0).max(1), most.unwrap_or(0).max(1));
    let words: Vec<String> = curves
        .iter()
        .filter_map(|curve| {
            let (from, to) = (curve.points.first()?, curve.points.last()?);
            Some(format!(
                "{}: from {} on day {} to {} on day {}",
                curve.name,
                from.1,
                from.0 + 1,
                to.1,
                to.0 + 1
            ))
        })
        .collect();
    let mut svg = format!(
        "<div class=\"curves\" role=\"img\" aria-label=\"{}\"><span class=\"axis\">{most}</span>\
         <svg viewBox=\"0 0 600 114\" preserveAspectRatio=\"none\"><line class=\"track\" x1=\"0\" x2=\"600\" y1=\"110\" y2=\"110\"/>",
        escaped(&format!("From {first} to {last}. {}", words.join("; ")))
    );
    for Curve { class, points, .. } in curves {
        let place = |(day, value): &(u32, u32)| {
            let (x, y) = (f64::from(*day) / f64::from(days), f64::from(*value) / f64::from(most));
            format!("{:.0},{:.0}", 4.0 + x * 592.0, 110.0 - y * 94.0)
        };
        let points: Vec<String> = points.iter().map(place).collect();
        let _to_a_string = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }
    let _to_a_string = write!(
        svg,
        "</svg><span class=\"axis\"><span>{}</span><span>{}</span></span></div>",
        escaped(first),
        escaped(last)
    );
    Markup(svg)
}

/// Returns the hours of the week: a row for each day, with its spans.
pub(super) fn week(calendar: &Calendar) -> Markup {
    let mut svg = format!(
        "<svg class=\"week\" viewBox=\"0 0 1440 70\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
        week_text(calendar)
    );
    for (day, y) in (0..7_u16).map(|day| (usize::from(day), day * 10)) {
        let _to_a_string = write!(svg, "<rect class=\"track\" y=\"{y}\" width=\"1440\" height=\"8\"/>");
        for span in &calendar.week[day] {
            // What crosses midnight is drawn on both days.
            let parts = [(y, span.from, span.to.min(DAY)), ((y + 10) % 70, 0, span.to.saturating_sub(DAY))];
            for (y, from, to) in parts.into_iter().filter(|(_, from, to)| to > from) {
                let width = to - from;
                let _to_a_string = write!(
                    svg,
                    "<rect class=\"used\" x=\"{from}\" y=\"{y}\" width=\"{width}\" height=\"8\"/>"
                );
            }
        }
    }
    Markup(svg + "</svg>")
}

/// Returns the hours of the week in words.
pub(super) fn week_text(calendar: &Calendar) -> String {
    let clock = |minutes: u16| {
        let minutes = if minutes > DAY { minutes - DAY } else { minutes };
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    };
    let day = |(name, spans): (&&str, &Vec<crate::domain::calendar::Span>)| {
        let spans: Vec<String> =
            spans.iter().map(|span| format!("{} to {}", clock(span.from), clock(span.to))).collect();
        format!("{name} {}", if spans.is_empty() { "closed".to_owned() } else { spans.join(", ") })
    };
    WEEKDAYS.iter().zip(&calendar.week).map(day).collect::<Vec<_>>().join("; ")
}

/// An event on a line of the timeline.
pub(super) struct Mark {
    pub(super) label: String,
    /// Seconds from now; closed until then, or a planned send.
    pub(super) seconds: i64,
    pub(super) is_closed: bool,
    /// Later sends, as they are forecast.
    pub(super) later: Vec<i64>,
}

/// Returns the next `seconds` as lines: a dot for the next send, small ones for those that are forecast, a grey bar for
/// closed hours.
pub(super) fn timeline(marks: &[Mark], seconds: i64) -> Markup {
    /// Places along a line; it is stretched to the width of the page, its strokes are not.
    const PLACES: i64 = 440;
    let words: Vec<String> = marks.iter().map(Mark::words).collect();
    let mut drawn =
        format!("<div class=\"timeline\" role=\"img\" aria-label=\"{}\">", escaped(&words.join("; ")));
    for (mark, words) in marks.iter().zip(&words) {
        let place = |at: i64| at.clamp(0, seconds) * PLACES / seconds.max(1);
        // A dot is a stroke without a length; those that fall on the same place are drawn once.
        let dot = |x: i64| format!("M{x},8h0");
        let x = place(mark.seconds);
        let (class, next) = if mark.is_closed { ("closed", format!("M0,8H{x}")) } else { ("next", dot(x)) };
        let mut places: Vec<i64> = mark.later.iter().map(|at| place(*at)).collect();
        places.dedup();
        let later: String = places.into_iter().map(dot).collect();
        let later = if later.is_empty() { later } else { format!("<path class=\"later\" d=\"{later}\"/>") };
        let _to_a_string = write!(
            drawn,
            "<span>{}</span><svg viewBox=\"0 0 {PLACES} 16\" preserveAspectRatio=\"none\"><title>{}</title>\
             <path class=\"track\" d=\"M0,8H{PLACES}\"/>{later}<path class=\"{class}\" d=\"{next}\"/></svg>",
            escaped(&mark.label),
            escaped(words),
        );
    }
    Markup(format!(
        "{drawn}<span></span><span class=\"axis\"><span>now</span><span>in {} min</span></span></div>",
        seconds / 60
    ))
}

impl Mark {
    fn words(&self) -> String {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let what = if self.is_closed { "closed for" } else { "next send in" };
        let later = match self.later.len() {
            0 => String::new(),
            more => format!(", {more} more forecast"),
        };
        format!("{}: {what} {minutes} min {seconds} s{later}", self.label)
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_its_figures_and_escapes_its_labels() {
        let bar = bar(3, 12, "3 of 12 \"<b>\"").0;
        assert!(bar.contains("width=\"25.0\"") && bar.contains("3 of 12 &quot;&lt;b&gt;&quot;"), "{bar}");
        let columns = columns(&[("Mon".to_owned(), 4), ("Tue".to_owned(), 2)], "Sends").0;
        assert!(
            columns.contains("Sends. Mon: 4, Tue: 2") && columns.contains("height=\"14.00\""),
            "{columns}"
        );
        let mark =
            Mark { label: "<acc>".to_owned(), seconds: 90, is_closed: false, later: vec![180, 181, 900] };
        let timeline = timeline(&[mark], 1800).0;
        assert!(timeline.contains("&lt;acc&gt;: next send in 1 min 30 s, 3 more forecast"), "{timeline}");
        assert!(timeline.contains("d=\"M44,8h0M220,8h0\"") && !timeline.contains("<acc>"), "{timeline}");
    }

    #[test]
    fn curves_and_sparklines_say_their_figures() {
        let spark = sparkline(&[0, 7, 14]).0;
        assert!(
            spark.contains("today last: 0, 7, 14") && spark.contains("points=\"0,15 10,8 20,1\""),
            "{spark}"
        );
        let sent = Curve { name: "Sent", class: "done", points: vec![(0, 5), (1, 10)] };
        let ahead = Curve { name: "Forecast", class: "ahead", points: vec![(1, 10), (2, 20)] };
        let curves = curves(&[sent, ahead], "2026-11-22", "2026-11-24").0;
        for part in [
            "From 2026-11-22 to 2026-11-24. Sent: from 5 on day 1 to 10 on day 2; Forecast: from 10 on day 2 to 20 on day 3",
            "points=\"4,86 300,63\"",
            "points=\"300,63 596,16\"",
        ] {
            assert!(curves.contains(part), "{part}: {curves}");
        }
    }

    #[test]
    fn hours_over_midnight_are_on_both_days() {
        let mut calendar = Calendar::always();
        calendar.week = std::array::from_fn(|_| Vec::new());
        calendar.week[6] = crate::domain::calendar::parse_spans("22:00-02:00").unwrap();
        let week = week(&calendar).0;
        assert!(
            week.contains("x=\"1320\" y=\"60\" width=\"120\"")
                && week.contains("x=\"0\" y=\"0\" width=\"120\"")
        );
        assert!(week_text(&calendar).ends_with("sunday 22:00 to 02:00"));
        assert!(week_text(&Calendar::always()).ends_with("sunday 00:00 to 24:00"));
    }
}
