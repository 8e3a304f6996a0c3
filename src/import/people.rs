//! A row becomes the messages of one person, or the reasons why not.
//!
//! All steps of a person are rendered before the first is queued: a row that breaks in step 3 queues nothing.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::columns::Columns;
use super::seats::{Seats, person_key};
use super::sheet::Row;
use super::template::{Rendered, Template};
use crate::domain::ids::misleading;
use crate::domain::lane::PRIORITY;
use crate::domain::meta::MOST_META_BYTES;
use crate::domain::step::StepWait;
use crate::types::Time;
use crate::types::message::NewAttachment;

/// One message of the sequence that each person gets.
#[derive(Debug)]
pub struct Step {
    /// How long after the step before; `None` for the first.
    pub wait: Option<String>,
    /// Its template.
    pub template: Template,
    /// Its files.
    pub attachments: Vec<NewAttachment>,
}

/// The priorities of messages.
pub(crate) const PRIORITIES: RangeInclusive<i64> = -(PRIORITY as i64)..=PRIORITY as i64;

/// Options of an import that every message gets.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) inbox_id: Option<String>,
    pub(crate) priority: Option<i64>,
    pub(crate) allow_repeat: bool,
}

impl Options {
    /// Returns them as fields of a message.
    pub(crate) fn fields(self) -> Map<String, Value> {
        let fields = [
            ("expires_at", self.expires_at.map(|at| json!(Time(at)))),
            ("inbox_id", self.inbox_id.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("allow_repeat", self.allow_repeat.then_some(Value::from(true))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// How rows become messages.
#[derive(Debug)]
pub struct Plan {
    /// The label of all messages.
    pub campaign: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// What they are used for.
    pub columns: Columns,
    /// The messages of each person.
    pub steps: Vec<Step>,
    /// The accounts of people whose row names none.
    pub seats: Seats,
    /// Fields that every message gets: `priority`, `expires_at` and the like.
    pub fields: Map<String, Value>,
    /// The earliest time of the first step.
    pub not_before: Option<Timestamp>,
    seen: HashMap<String, u64>,
    /// Why the daemon refused rows, by line.
    refused: HashMap<u64, Vec<String>>,
    /// Columns that were too long for `meta` in some row.
    pub left_out: BTreeSet<String>,
}

impl Step {
    /// Checks a wait, such as `3 days`.
    pub fn check_wait(text: &str) -> Result<(), String> {
        StepWait::parse(text).map(drop).map_err(|error| format!("{}; {}", error.what, error.fix))
    }

    /// Checks that the template has something to send and fits the step with this number, from 0.
    pub(crate) fn check_template(number: usize, template: &Template) -> Result<(), String> {
        if template.is_empty() && template.settings().attachments.is_empty() {
            return Err(format!("{} is empty; write the message", template.name()));
        }
        if number == 0 || !template.starts_a_chat() {
            return Ok(());
        }
        let fix = "leave them out: a follow-up goes into the chat that the first step started";
        Err(format!("{}: InMail, subject and specifics are for the first step; {fix}", template.name()))
    }
}

/// What a row becomes.
#[derive(Debug, PartialEq)]
pub enum Judged {
    /// The messages of a person, in the order of the steps, each as the JSON of `POST /v1/messages`.
    Messages(Vec<Map<String, Value>>),
    /// Why none is sent.
    Refused(Vec<String>),
    /// The same person as in this earlier line.
    Repeats(u64),
}

impl Plan {
    /// Creates a plan without defaults.
    pub fn new(
        campaign: String,
        header: Vec<String>,
        columns: Columns,
        steps: Vec<Step>,
        seats: Seats,
    ) -> Self {
        let (fields, seen, refused, left_out) = (Map::new(), HashMap::new(), HashMap::new(), BTreeSet::new());
        let campaign = campaign.trim().to_owned();
        Self { campaign, header, columns, steps, seats, fields, not_before: None, seen, refused, left_out }
    }

    /// Returns whether people who are in the campaign already keep the account that writes to them: no column names one.
    pub(crate) fn keeps_accounts(&self) -> bool {
        self.columns.account.is_none()
    }

    /// Learns that the daemon refused the row in `line`: the next row of its person counts instead.
    pub(crate) fn refuse(&mut self, line: u64, reasons: &[String]) {
        self.seen.retain(|_, seen| *seen != line);
        self.refused.insert(line, reasons.to_vec());
    }

    /// Forgets which people it has seen, to judge all rows again.
    pub(crate) fn start_again(&mut self) {
        self.seen.clear();
    }

    /// Turns a row into messages. A person whose row was accepted before is not judged again.
    pub fn judge(&mut self, row: &Row) -> Judged {
        let refused = row.fault.as_ref().map(|fault| vec![fault.clone()]);
        if let Some(reasons) = refused.or_else(|| self.refused.get(&row.line).cloned()) {
            return Judged::Refused(reasons);
        }
        let mut reasons = Vec::new();
        let (field, place) = match (self.columns.user, self.columns.chat) {
            (Some(place), _) => ("users_ids", place),
            (None, chat) => ("chat_id", chat.unwrap_or_default()),
        };
        let target = row.cells.get(place).map_or("", String::as_str);
        if target.is_empty() {
            let fix = if field == "chat_id" {
                "give the id of the chat"
            } else {
                "give the address of the profile or the id of the user"
            };
            reasons.push(format!("`{}` is empty; {fix}", self.header[place]));
        }
        let target = &*self.recipient(place, target);
        let key = person_key(target);
        let own = self.columns.account.and_then(|place| row.cells.get(place)).filter(|own| !own.is_empty());
        let account = own.map(String::as_str).or_else(|| self.seats.of(&key));
        if account.is_none() {
            let column = self.columns.account.map_or("account", |place| &self.header[place]);
            reasons.push(format!("`{column}` is empty; name the account that sends, or give `--account`"));
        }
        let cells = self.columns.cells(row);
        let mut rendered: Vec<Rendered> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            match step.template.render(&cells) {
                Ok(done) => rendered.push(done),
                Err(more) => reasons.extend(more),
            }
        }
        let (Some(account), true) = (account, reasons.is_empty()) else {
            let mut once = BTreeSet::new();
            reasons.retain(|reason| once.insert(reason.clone()));
            return Judged::Refused(reasons);
        };
        if let Some(line) = self.seen.get(&key) {
            return Judged::Repeats(*line);
        }
        let meta = meta(&self.header, self.columns.reason, row, &mut self.left_out);
        let mut messages = Vec::with_capacity(rendered.len());
        for (number, (step, rendered)) in self.steps.iter().zip(rendered).enumerate() {
            let mut message = self.fields.clone();
            message.insert("account_id".to_owned(), account.into());
            message.insert(field.to_owned(), target.into());
            message.insert("campaign".to_owned(), self.campaign.as_str().into());
            message.insert("step".to_owned(), (number + 1).into());
            message.insert("meta".to_owned(), Value::Object(meta.clone()));
            if let Some(not_before) = self.not_before.filter(|_| number == 0) {
                message.insert("not_before".to_owned(), json!(Time(not_before)));
            }
            add(&mut message, step, rendered);
            messages.push(message);
        }
        self.seen.insert(key, row.line);
        Judged::Messages(messages)
    }

    /// Returns the recipient as the daemon takes it, which reads a word without a hyphen as a user id: a cell of a column
    /// of public names gets `in/` before it.
    fn recipient<'a>(&self, place: usize, cell: &'a str) -> Cow<'a, str> {
        let is_name = Columns::holds_public_names(&self.header[place]) && !cell.contains(['/', ':']);
        match is_name && !cell.is_empty() && !cell.starts_with("ACoA") {
            true => format!("in/{cell}").into(),
            false => cell.into(),
        }
    }

    /// Returns the column whose cell brought the problem into a text, and the problem; `meta` has the cells.
    pub(super) fn cell_with(
        &self,
        field: &str,
        step: usize,
        problem: &str,
        meta: &Value,
    ) -> Option<(&str, String)> {
        if !field.starts_with("text") && !field.starts_with("specifics") {
            return None;
        }
        let used = self.steps.get(step)?.template.variables().iter();
        let names = used.filter_map(|variable| Some(self.header.get(self.columns.of(variable)?)?.as_str()));
        let mut found = names.filter_map(|name| Some((name, of_cell(meta[name].as_str()?, problem)?)));
        found.next()
    }

    /// Returns where a user finds the field with a problem: the column, the template or the flag.
    pub fn place_of(&self, field: &str, step: usize) -> String {
        let column = |place: Option<usize>| place.map(|place| format!("`{}`", self.header[place]));
        let template = self.steps.get(step).map_or("", |step| step.template.name());
        let found = match field.split(['.', '[']).next().unwrap_or_default() {
            "users_ids" => column(self.columns.user),
            "chat_id" => column(self.columns.chat),
            "account_id" => column(self.columns.account).or_else(|| Some("`--account`".to_owned())),
            "text" => Some(template.to_owned()),
            "specifics" | "attachments" => Some(format!("{template}, `{field}`")),
            "wait" => Some(format!("`--step`, wait of {template}")),
            _ => None,
        };
        found.unwrap_or_else(|| if field.is_empty() { String::new() } else { format!("`{field}`") })
    }
}

/// Returns the problem as one of the cell, if the cell has it.
fn of_cell(cell: &str, problem: &str) -> Option<String> {
    // The line of a character is one of the text, not of the cell.
    let kind = |problem: &str| problem.split(" in line ").next().unwrap_or_default().to_owned();
    if let Some(own) = misleading(cell).filter(|own| kind(own) == kind(problem)) {
        return Some(kind(&own));
    }
    let (start, end) = (problem.find('"')?, problem.rfind('"')?);
    let quoted = problem.get(start + 1..end)?.replace("\\\"", "\"").replace("\\\\", "\\");
    (!quoted.is_empty() && cell.contains(&quoted)).then(|| problem.to_owned())
}

/// Adds what the step and its template say.
fn add(message: &mut Map<String, Value>, step: &Step, rendered: Rendered) {
    let settings = step.template.settings();
    let attachment = |file: &NewAttachment| {
        let mut file = json!(file);
        if let Some(file) = file.as_object_mut() {
            file.retain(|_, value| !value.is_null());
        }
        file
    };
    let files =
        (!step.attachments.is_empty()).then(|| step.attachments.iter().map(attachment).collect::<Value>());
    let fields = [
        ("wait", step.wait.as_deref().map(Value::from)),
        ("text", Some(rendered.text.into())),
        ("specifics", rendered.specifics),
        ("typing", settings.typing.map(Value::from)),
        ("attachments", files),
    ];
    message.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
}

/// Returns the cells of a row by the names of their columns; leaves out the longest until they fit.
fn meta(
    header: &[String],
    reason: Option<usize>,
    row: &Row,
    left_out: &mut BTreeSet<String>,
) -> Map<String, Value> {
    let mut meta = Map::new();
    for (place, (name, cell)) in header.iter().zip(&row.cells).enumerate() {
        if Some(place) != reason && !cell.is_empty() {
            meta.insert(name.clone(), cell.as_str().into());
        }
    }
    while json!(meta).to_string().len() > MOST_META_BYTES {
        let length = |value: &Value| value.as_str().map_or(0, str::len);
        let Some((longest, _)) = meta.iter().max_by_key(|(_, value)| length(value)) else { break };
        let longest = longest.clone();
        meta.remove(&longest);
        left_out.insert(longest);
    }
    meta
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Sheet;

    fn plan(text: &str, templates: &[&str], accounts: &[&str]) -> (Plan, Vec<Row>) {
        let sheet = Sheet::read(text, None).unwrap();
        let name = |number: usize| format!("{}.txt", number + 1);
        let parse = |(number, text): (usize, &&str)| Template::parse(&name(number), text).unwrap();
        let templates: Vec<Template> = templates.iter().enumerate().map(parse).collect();
        let columns = Columns::map(&sheet, &[], &templates.iter().collect::<Vec<_>>()).unwrap();
        let step = |(number, template)| Step {
            wait: (number > 0).then(|| "3 days".to_owned()),
            template,
            attachments: Vec::new(),
        };
        let steps = templates.into_iter().enumerate().map(step).collect();
        let seats = Seats::new(accounts.iter().map(|account| (*account).to_owned()).collect());
        (Plan::new("autumn ".to_owned(), sheet.header, columns, steps, seats), sheet.rows)
    }

    #[test]
    fn a_row_becomes_all_steps_or_none() {
        let text = "user,first_name,company,refused_because\nACoA1,Jane,Acme,old\nACoA2,John,,\n,,,x\n";
        let (mut plan, rows) = plan(text, &["Hi {{ first_name }}", "At {{ company }}?"], &["acc_1"]);
        let Judged::Messages(messages) = plan.judge(&rows[0]) else { panic!("refused") };
        let meta = json!({"user": "ACoA1", "first_name": "Jane", "company": "Acme"});
        let first = json!({"account_id": "acc_1", "users_ids": "ACoA1", "campaign": "autumn", "step": 1, "meta": meta, "text": "Hi Jane"});
        let second = json!({"account_id": "acc_1", "users_ids": "ACoA1", "campaign": "autumn", "step": 2, "wait": "3 days", "meta": meta, "text": "At Acme?"});
        assert_eq!(json!(messages), json!([first, second]));
        let Judged::Refused(reasons) = plan.judge(&rows[1]) else { panic!("accepted") };
        assert!(reasons[0].starts_with("`company` is empty"), "{reasons:?}");
        let Judged::Refused(reasons) = plan.judge(&rows[2]) else { panic!("accepted") };
        assert_eq!(reasons.len(), 3, "{reasons:?}");
    }

    #[test]
    fn two_rows_of_one_person_are_one_person() {
        let text = "linkedin_url,first_name\nlinkedin.com/in/jane,\nhttps://www.linkedin.com/in/Jane/,Jane\nlinkedin.com/in/jane?x=y,Janet\n";
        let (mut plan, rows) = plan(text, &["Hi {{ first_name }}"], &["acc_1", "acc_2"]);
        assert!(matches!(plan.judge(&rows[0]), Judged::Refused(_)));
        assert!(matches!(plan.judge(&rows[1]), Judged::Messages(_)));
        assert_eq!(plan.judge(&rows[2]), Judged::Repeats(3));
    }

    #[test]
    fn a_column_of_public_names_holds_no_ids() {
        let (mut plan, rows) = plan("public_identifier\njane\nACoA1\n", &["Hi"], &["acc_1"]);
        let people = rows.iter().map(|row| match plan.judge(row) {
            Judged::Messages(messages) => messages[0]["users_ids"].clone(),
            other => panic!("{other:?}"),
        });
        assert_eq!(people.collect::<Vec<_>>(), ["in/jane", "ACoA1"]);
    }

    #[test]
    fn cells_that_do_not_fit_into_meta_are_left_out() {
        let text = format!("user,about,city\nACoA1,{},Köln\n", "x".repeat(5000));
        let (mut plan, rows) = plan(&text, &["Hi"], &["acc_1"]);
        let Judged::Messages(messages) = plan.judge(&rows[0]) else { panic!("refused") };
        assert_eq!(messages[0]["meta"], json!({"user": "ACoA1", "city": "Köln"}));
        assert_eq!(plan.left_out.iter().collect::<Vec<_>>(), ["about"]);
    }
}
