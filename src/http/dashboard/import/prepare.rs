//! From the form to what `crate::import` judges: the table, the templates and the columns, or what is wrong with them.

use super::form::{Typed, step_name};
use super::uploads::Upload;
use crate::domain::ids::campaign;
use crate::domain::parse_time;
use crate::import::{Columns, LAST_STEP, Options, PRIORITIES, Plan, Seats, Step, Table, Template};

/// What could be read of a form; a plan if nothing is wrong.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) table: Option<Table>,
    /// The fields that may have a column, each with the column that is used.
    pub(super) fields: Vec<(String, Option<String>)>,
    pub(super) problems: Vec<String>,
    pub(super) plan: Option<Plan>,
}

impl Prepared {
    /// Reads the table and the templates, and finds the columns; `upload` is the file, or why there is none.
    pub(super) fn new(typed: &Typed, upload: Result<&Upload, String>) -> Self {
        let mut found = Self::default();
        found.table = found.table_of(typed, upload);
        let steps = found.steps(typed);
        found.fields = fields(&steps);
        let seats = Seats::new(typed.accounts());
        let columns = found.columns(typed, &steps);
        if let Some(columns) = &columns {
            found.problems.extend(seats.check(columns.account.is_some()).err());
        }
        match campaign("campaign", &typed.campaign) {
            _ if typed.campaign.is_empty() => {
                found.problems.push("name the campaign; a person gets each step of it once".to_owned());
            }
            // Otherwise every row would be refused for it.
            Err(error) => found.problems.push(format!("the campaign {}; {}", error.problem, error.fix)),
            Ok(_) => {}
        }
        let not_before = found.time("not before", &typed.not_before);
        let options = Options {
            expires_at: found.time("expires at", &typed.expires_at),
            inbox_id: Some(typed.inbox.clone()).filter(|inbox| !inbox.is_empty()),
            priority: found.priority(&typed.priority),
            allow_repeat: typed.allow_repeat,
        };
        if let (Some(table), Some(columns), true) = (&found.table, columns, found.problems.is_empty()) {
            let header = table.sheet.header.clone();
            let mut plan = Plan::new(typed.campaign.clone(), header, columns, steps, seats);
            plan.not_before = not_before;
            plan.fields = options.fields();
            found.plan = Some(plan);
        }
        found
    }

    fn table_of(&mut self, typed: &Typed, upload: Result<&Upload, String>) -> Option<Table> {
        let upload = upload.map_err(|problem| self.problems.push(problem)).ok()?;
        let encoding = Some(typed.encoding.as_str()).filter(|name| !name.is_empty());
        let delimiter = match typed.delimiter.as_str() {
            "" => None,
            text => match Table::delimiter(text) {
                Ok(delimiter) => Some(delimiter),
                Err(fix) => {
                    self.problems.push(format!("the delimiter is {text:?}; {fix}"));
                    return None;
                }
            },
        };
        Table::read(upload.name.clone(), &upload.bytes, encoding, delimiter)
            .map_err(|problem| self.problems.push(problem))
            .ok()
    }

    /// Parses the templates; reports the problems of all of them.
    fn steps(&mut self, typed: &Typed) -> Vec<Step> {
        if typed.steps.len() > usize::from(LAST_STEP) {
            self.problems.push(format!("a campaign has at most {LAST_STEP} steps; remove some"));
        }
        let mut steps = Vec::with_capacity(typed.steps.len());
        for (number, step) in typed.steps.iter().enumerate() {
            let name = step_name(number + 1);
            if step.text.trim().is_empty() {
                let fix = if number == 0 { "write the message" } else { "write it, or remove the step" };
                self.problems.push(format!("{name} is empty; {fix}"));
                continue;
            }
            if number > 0
                && let Err(problem) = Step::check_wait(&step.wait)
            {
                self.problems.push(format!("the wait before {name} {problem}"));
            }
            match Template::parse(&name, &step.text) {
                Err(problem) => self.problems.push(problem),
                Ok(template) => {
                    self.problems.extend(Step::check_template(number, &template).err());
                    if !template.settings().attachments.is_empty() {
                        self.problems.push(format!(
                            "{name} has attachments, and a page cannot read files next to a template; use `outboxd import`"
                        ));
                    }
                    let wait = (number > 0).then(|| step.wait.clone());
                    steps.push(Step { wait, template, attachments: Vec::new() });
                }
            }
        }
        steps
    }

    fn columns(&mut self, typed: &Typed, steps: &[Step]) -> Option<Columns> {
        let sheet = &self.table.as_ref()?.sheet;
        let templates: Vec<&Template> = steps.iter().map(|step| &step.template).collect();
        // A choice for a variable that no template uses any more is dropped, as the page shows it no more.
        let is_known = |field: &str| self.fields.iter().any(|(known, _)| known == field);
        let named: Vec<(String, String)> =
            typed.columns.iter().filter(|(field, _)| is_known(field)).cloned().collect();
        match Columns::map(sheet, &named, &templates) {
            Ok(columns) => {
                for (field, column) in &mut self.fields {
                    *column = columns.of(field).map(|place| sheet.header[place].clone());
                }
                Some(columns)
            }
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn time(&mut self, field: &str, text: &str) -> Option<jiff::Timestamp> {
        let time = parse_time(text);
        if time.is_none() && !text.is_empty() {
            let fix = "write RFC 3339 with a zone, such as 2026-11-23T09:00:00+01:00";
            self.problems.push(format!("{field:?} is not a time: {text:?}; {fix}"));
        }
        time
    }

    fn priority(&mut self, text: &str) -> Option<i64> {
        let number = text.parse().ok().filter(|number| PRIORITIES.contains(number));
        if number.is_none() && !text.is_empty() {
            self.problems.push(format!("the priority is {text:?}; write a number from -100 to 100"));
        }
        number
    }
}

/// Returns the fields that may have a column: the person, the account, and what the templates use.
fn fields(steps: &[Step]) -> Vec<(String, Option<String>)> {
    let mut fields: Vec<(String, Option<String>)> =
        ["user", "chat", "account"].map(|field| (field.to_owned(), None)).into();
    for variable in steps.iter().flat_map(|step| step.template.variables()) {
        if fields.iter().all(|(known, _)| known != variable) {
            fields.push((variable.clone(), None));
        }
    }
    fields
}
