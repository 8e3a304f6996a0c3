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
}

/// Returns the next `seconds` as lines: a dot for a planned send, a grey bar for closed hours.
pub(super) fn timeline(marks: &[Mark], seconds: i64) -> Markup {
    let height = marks.len() * 16 + 16;
    let words: Vec<String> = marks.iter().map(|mark| mark.words()).collect();
    let mut svg = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 600 {height}\" role=\"img\" aria-label=\"{}\">",
        escaped(&words.join("; "))
    );
    let minutes = seconds / 60;
    let _to_a_string = write!(
        svg,
        "<text x=\"150\" y=\"{0}\">now</text><text x=\"590\" y=\"{0}\" text-anchor=\"end\">in {minutes} min</text>",
        height - 4
    );
    for (index, mark) in marks.iter().enumerate() {
        let (y, x) = (index * 16, 150 + mark.seconds.clamp(0, seconds) * 440 / seconds.max(1));
        let shape = match mark.is_closed {
            true => format!(
                "<rect class=\"closed\" x=\"150\" y=\"{}\" width=\"{}\" height=\"8\"/>",
                y + 4,
                x - 150
            ),
            false => format!("<circle class=\"used\" cx=\"{x}\" cy=\"{}\" r=\"4\"/>", y + 8),
        };
        let short: String = mark.label.chars().take(22).collect();
        let _to_a_string = write!(
            svg,
            "<g><title>{}</title><text x=\"0\" y=\"{}\">{}</text><line class=\"track\" x1=\"150\" x2=\"590\" y1=\"{}\" y2=\"{}\"/>{shape}</g>",
            escaped(&mark.words()),
            y + 12,
            escaped(&short),
            y + 8,
            y + 8,
        );
    }
    Markup(svg + "</svg>")
}

impl Mark {
    fn words(&self) -> String {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let what = if self.is_closed { "closed for" } else { "next send in" };
        format!("{}: {what} {minutes} min {seconds} s", self.label)
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
        let mark = Mark { label: "<acc>".to_owned(), seconds: 90, is_closed: false };
        let timeline = timeline(&[mark], 1800).0;
        assert!(timeline.contains("&lt;acc&gt;: next send in 1 min 30 s") && !timeline.contains("<acc>"));
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
