//! Rows become requests of the API, and verdicts become reasons of rows.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::people::{Judged, Plan};
use super::sheet::Row;
use crate::domain::command::Command;
use crate::domain::state::StateName;
use crate::types::error::FieldError;
use crate::types::message::Verdict;

/// What is wrong with rows, by the number of the row.
pub(crate) type RefusedRows = BTreeMap<usize, Vec<String>>;

/// Numbers of messages by state.
pub(crate) type States = BTreeMap<String, usize>;

/// A message that was queued before with other contents or another wait than the import would give it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Differing {
    /// The row.
    pub(crate) row: usize,
    /// The step, from 1.
    pub(crate) step: usize,
    pub(crate) id: String,
    pub(crate) state: String,
    /// The fields that differ.
    pub(crate) fields: Vec<String>,
    /// The text that the import would give it.
    pub(crate) text: String,
}

impl Differing {
    /// Returns why an import does not change it; `None` if it waits.
    pub(crate) fn too_late(&self) -> Option<String> {
        let state = StateName::ALL.into_iter().find(|name| name.as_str() == self.state)?;
        if state == StateName::Queued {
            return None;
        }
        Some(match Command::Edit(Box::default()).refused_in(state) {
            Some(error) => format!("stays: it {}; {}", error.problem, error.fix),
            None => format!(
                "stays: it is {state}, and an import changes only what waits; `outboxd edit` changes its text, and \
                 `outboxd retry` queues it again",
                state = self.state
            ),
        })
    }
}

/// What to do about a text that looks as if it has an unfilled placeholder and is meant so.
const MEANT: &str = "or, if it is meant, let `limits.placeholders_meant` of the configuration match it";
/// Most messages of a request: the daemon stores them in one commit, and an answer tells how far the import is.
const MESSAGES: usize = 1000;
/// Most rows of a request with later rows of people whose first row was refused; each has at most 20 messages.
const SECOND_ROWS: usize = 50;
/// Size of a request, in bytes, after which no further person is added; below the smallest sensible `api.body_bytes`.
const BYTES: usize = 4 << 20;

/// The messages of some rows.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The messages, one per line.
    pub(crate) body: String,
    /// The row and the step of each message.
    places: Vec<(usize, usize)>,
    /// The rows that are refused before they are sent, and why.
    pub(crate) refused: Vec<(usize, Vec<String>)>,
    /// The rows that repeat a person, and the line of the earlier row.
    pub(crate) repeats: Vec<(usize, u64)>,
    /// The row after the last one.
    pub(crate) next: usize,
    /// How many people get messages.
    pub(crate) people: usize,
}

/// What an import has done so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// People of whom at least one message is in the queue now.
    pub(crate) people: usize,
    pub(crate) accepted: usize,
    pub(crate) duplicates: usize,
    /// The states of the messages that were queued before.
    pub(crate) before: States,
    /// Those of them that say something else.
    pub(crate) differing: Vec<Differing>,
    /// The rows that repeat a person, and the line of the earlier row.
    pub(crate) repeats: Vec<(usize, u64)>,
    pub(crate) refused: RefusedRows,
}

impl Tally {
    /// Adds a batch and what the daemon said to it.
    pub(crate) fn add(&mut self, batch: Batch, answered: Answered) {
        self.people += batch.people - answered.refused.len();
        self.accepted += answered.accepted;
        self.duplicates += answered.duplicates;
        for (state, messages) in answered.before {
            *self.before.entry(state).or_default() += messages;
        }
        self.differing.extend(answered.differing);
        self.repeats.extend(batch.repeats);
        self.refused.extend(batch.refused);
        self.refused.extend(answered.refused);
    }

    /// Takes out the rows that repeat a person whose row was refused, in parts of one request each: the first good row
    /// of a person counts.
    pub(crate) fn take_second_rows(&mut self, plan: &mut Plan, rows: &[Row]) -> Vec<Vec<usize>> {
        let repeats = std::mem::take(&mut self.repeats);
        let second = learn(plan, rows, &repeats, self.refused.iter());
        self.repeats = repeats.into_iter().filter(|(row, _)| !second.contains(row)).collect();
        second.chunks(SECOND_ROWS).map(<[usize]>::to_vec).collect()
    }
}

/// Tells `plan` which rows the daemon refused. Returns the rows that repeat the person of one of them.
pub(super) fn learn<'a>(
    plan: &mut Plan,
    rows: &[Row],
    repeats: &[(usize, u64)],
    refused: impl Iterator<Item = (&'a usize, &'a Vec<String>)>,
) -> Vec<usize> {
    let refused: HashMap<u64, &Vec<String>> =
        refused.map(|(row, reasons)| (rows[*row].line, reasons)).collect();
    let mut second = Vec::new();
    for (row, line) in repeats {
        if let Some(reasons) = refused.get(line) {
            plan.refuse(*line, reasons);
            second.push(*row);
        }
    }
    second
}

/// What the daemon said to a batch.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) accepted: usize,
    pub(crate) duplicates: usize,
    /// The states of the messages that were queued before.
    pub(crate) before: States,
    /// Those of them that say something else.
    pub(crate) differing: Vec<Differing>,
    pub(crate) refused: Vec<(usize, Vec<String>)>,
}

impl Batch {
    /// Judges rows from `from` on, until the batch is full or `rows` end.
    pub(crate) fn fill(plan: &mut Plan, rows: &[Row], from: usize) -> Self {
        Self::up_to(plan, rows, from, (MESSAGES, BYTES))
    }

    /// Judges rows from `from` on, until the batch holds so many messages or bytes.
    pub(crate) fn up_to(
        plan: &mut Plan,
        rows: &[Row],
        from: usize,
        (messages, bytes): (usize, usize),
    ) -> Self {
        let mut batch = Self { next: from, ..Self::default() };
        while let Some(row) = rows.get(batch.next) {
            if batch.places.len() >= messages || batch.body.len() >= bytes {
                break;
            }
            batch.add(plan, batch.next, row);
            batch.next += 1;
        }
        batch
    }

    /// Judges the rows at these places.
    pub(crate) fn again(plan: &mut Plan, rows: &[Row], places: &[usize]) -> Self {
        let mut batch = Self { next: rows.len(), ..Self::default() };
        for place in places {
            batch.add(plan, *place, &rows[*place]);
        }
        batch
    }

    /// Judges a row and adds its messages, or why there are none.
    fn add(&mut self, plan: &mut Plan, place: usize, row: &Row) {
        match plan.judge(row) {
            Judged::Refused(reasons) => self.refused.push((place, reasons)),
            Judged::Repeats(line) => self.repeats.push((place, line)),
            Judged::Messages(steps) => {
                self.people += 1;
                for (step, message) in steps.into_iter().enumerate() {
                    self.body.push_str(&Value::Object(message).to_string());
                    self.body.push('\n');
                    self.places.push((place, step));
                }
            }
        }
    }

    /// Returns each message as JSON, with its row and its step from 0.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, usize, &str)> {
        self.places.iter().zip(self.body.lines()).map(|((row, step), line)| (*row, *step, line))
    }

    /// Returns how many messages it holds.
    pub(crate) fn messages(&self) -> usize {
        self.places.len()
    }

    /// Reads the verdicts of the daemon, in the order of the rows.
    pub(crate) fn answered(&self, plan: &Plan, verdicts: &[Verdict]) -> Answered {
        let mut answered = Answered::default();
        let needs_body = |verdict: &Verdict| verdict.differs.is_some() || verdict.error.is_some();
        let bodies: Vec<&str> = match verdicts.iter().any(needs_body) {
            true => self.body.lines().collect(),
            false => Vec::new(),
        };
        for verdict in verdicts {
            let Some((row, step)) = self.places.get(verdict.index).copied() else { continue };
            match &verdict.error {
                None if verdict.duplicate == Some(true) => {
                    answered.duplicates += 1;
                    let state = verdict.state.clone().unwrap_or_else(|| "queued".to_owned());
                    if let Some(fields) = verdict.differs.clone() {
                        let (id, state) = (verdict.id.clone().unwrap_or_default(), state.clone());
                        let text = bodies.get(verdict.index).map(|body| text_of(body)).unwrap_or_default();
                        answered.differing.push(Differing { row, step: step + 1, id, state, fields, text });
                    }
                    *answered.before.entry(state).or_default() += 1;
                }
                None => answered.accepted += 1,
                Some(error) => {
                    let body = bodies.get(verdict.index).copied().unwrap_or_default();
                    let errors = verdict.errors.as_deref().unwrap_or(std::slice::from_ref(error));
                    let told = errors.iter().filter(|error| error.code != "batch_refused");
                    let reasons: Vec<String> = told.map(|error| reason(plan, step, error, body)).collect();
                    answered.add(row, reasons);
                }
            }
        }
        // A row of the same person under another name is refused.
        for (_, reasons) in answered.refused.iter_mut().filter(|(_, reasons)| reasons.is_empty()) {
            reasons.push("another message of this person was refused".to_owned());
        }
        answered
    }
}

impl Answered {
    fn add(&mut self, row: usize, reasons: Vec<String>) {
        match self.refused.last_mut().filter(|(last, _)| *last == row) {
            Some((_, known)) => {
                let new: Vec<String> = reasons.into_iter().filter(|reason| !known.contains(reason)).collect();
                known.extend(new);
            }
            None => self.refused.push((row, reasons)),
        }
    }
}

/// Returns which messages that were queued before have ended without being sent, and how to queue them again.
pub(crate) fn ended(before: &States, campaign: &str) -> Option<String> {
    let has_ended = |state: &str| Command::Retry.acts_on().iter().any(|ended| ended.as_str() == state);
    let ended = before.iter().filter(|(state, _)| has_ended(state));
    let states: Vec<&str> = ended.clone().map(|(state, _)| state.as_str()).collect();
    let ended: Vec<String> = ended.map(|(state, messages)| format!("{messages} {state}")).collect();
    (!ended.is_empty()).then(|| {
        let ended = ended.join(", ");
        format!(
            "queued before and not sent: {ended}; `outboxd list --campaign {campaign} --state {}` says why, and \
             `outboxd retry ID` queues one again",
            states.join(",")
        )
    })
}

/// Returns how many messages that were queued before say something else, and how to change them.
pub(crate) fn kept(differing: &[Differing]) -> Option<String> {
    let mut states = States::new();
    for one in differing {
        *states.entry(one.state.clone()).or_default() += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, messages)| format!("{messages} {state}")).collect();
    (!states.is_empty()).then(|| {
        let states = states.join(", ");
        format!(
            "queued before with other contents or another wait: {states}; an import does not change them; \
             `outboxd import … --update` changes the texts of those that wait, and `outboxd edit ID --text-file FILE` the \
             text of one"
        )
    })
}

/// Returns the text of a message as JSON.
fn text_of(message: &str) -> String {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    message["text"].as_str().unwrap_or_default().to_owned()
}

/// Returns a problem in the words of the table: the column or the template instead of the field. `body` is the message.
fn reason(plan: &Plan, step: usize, error: &FieldError, body: &str) -> String {
    let FieldError { field, problem, fix, .. } = error;
    // An import has no such field.
    let fix = &fix.replace("or set `allow_placeholders` if it is meant", MEANT);
    let message: Value = serde_json::from_str(body).unwrap_or_default();
    let cell = plan.cell_with(field, step, problem, &message["meta"]);
    let (place, problem) = match &cell {
        Some((column, problem)) => (format!("`{column}`"), problem.as_str()),
        None => (plan.place_of(field, step), problem.as_str()),
    };
    let start = if place.is_empty() { String::new() } else { format!("{place} ") };
    let end = if fix.is_empty() { String::new() } else { format!("; {fix}") };
    format!("{start}{problem}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{Columns, Seats, Sheet, Step, Template};

    #[test]
    fn messages_that_ended_unsent_are_named_with_the_way_to_queue_them_again() {
        let states = |states: &[(&str, usize)]| -> States {
            states.iter().map(|(state, messages)| ((*state).to_owned(), *messages)).collect()
        };
        assert_eq!(ended(&states(&[("queued", 3), ("sent", 1)]), "re"), None);
        let text = ended(&states(&[("cancelled", 2), ("failed", 1), ("sent", 4)]), "re").unwrap();
        let expected = "queued before and not sent: 2 cancelled, 1 failed; `outboxd list --campaign re --state cancelled,failed` says why, and `outboxd retry ID` queues one again";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_next_row_of_a_person_counts_if_the_daemon_refuses_the_first() {
        let text = "user,first_name\nACoA1,[NAME]\nACoA1,Jane\nACoA1,Janet\nACoA2,Ada\n";
        let sheet = Sheet::read(text, None).unwrap();
        let template = Template::parse("1.txt", "Hi {{ first_name }}").unwrap();
        let columns = Columns::map(&sheet, &[], &[&template]).unwrap();
        let steps = vec![Step { wait: None, template, attachments: Vec::new() }];
        let seats = Seats::new(vec!["acc_1".to_owned()]);
        let (rows, header) = (sheet.rows, sheet.header);
        let mut plan = Plan::new("autumn".to_owned(), header, columns, steps, seats);
        let batch = Batch::fill(&mut plan, &rows, 0);
        assert_eq!(batch.repeats, [(1, 2), (2, 2)]);
        let fix = "fill it in, or set `allow_placeholders` if it is meant";
        let refusal = crate::domain::field_error::FieldError::new(
            crate::domain::field_error::FieldErrorCode::InvalidValue,
            "text",
            "holds \"[NAME]\"",
            fix,
        );
        let verdict = Verdict { error: Some(FieldError::from(&refusal)), ..Verdict::default() };
        let answered = batch.answered(&plan, &[verdict]);
        let told = &answered.refused[0].1[0];
        assert!(told.contains("limits.placeholders_meant") && !told.contains("allow_placeholders"), "{told}");
        let mut tally = Tally::default();
        tally.add(batch, answered);
        let parts = tally.take_second_rows(&mut plan, &rows);
        assert_eq!(parts, [[1, 2]]);
        let again = Batch::again(&mut plan, &rows, &parts[0]);
        assert!(again.body.contains("Hi Jane\"") && again.repeats == [(2, 3)], "{again:?}");
        tally.add(again, Answered::default());
        assert!(tally.take_second_rows(&mut plan, &rows).is_empty());
        assert_eq!((tally.people, tally.repeats), (2, vec![(2, 3)]));
    }
}
