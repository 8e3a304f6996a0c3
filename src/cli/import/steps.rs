//! `--step [WAIT] FILE`: the first one has a file, each later one the wait after the step before, and a file.
//!
//! clap's derive cannot keep the values of one flag apart from those of the next, so the flag is defined here.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::super::exit::Failure;
use crate::import::{LAST_STEP, Step};

/// The values of each `--step`.
#[derive(Debug)]
pub(super) struct Steps(Vec<Vec<String>>);

/// A step: its wait, and the file of its template.
pub(super) type StepFile = (Option<String>, PathBuf);

impl FromArgMatches for Steps {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let steps = matches.get_occurrences::<String>("step").into_iter().flatten();
        Ok(Self(steps.map(|values| values.cloned().collect()).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Steps {
    fn augment_args(command: Command) -> Command {
        let step = Arg::new("step").long("step").num_args(1..=2).action(ArgAction::Append).required(true);
        let help = "A message of the sequence: the first with the file of its template, each later one with the wait \
                    after the step before and a file, as in --step '3 days' nudge.txt";
        command.arg(step.value_names(["WAIT", "FILE"]).help(help))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Steps {
    /// Returns the table and the steps. `--step hello.txt people.csv` leaves the table among the step's values.
    pub(super) fn resolve(&self, file: Option<PathBuf>) -> Result<(PathBuf, Vec<StepFile>), Failure> {
        let mut steps = self.0.clone();
        let file = match (file, steps.first_mut()) {
            (None, Some(first)) if first.len() == 2 => first.pop().map(PathBuf::from),
            (file, _) => file,
        };
        if steps.len() > usize::from(LAST_STEP) {
            let problem = format!("{} steps are given, and a campaign has at most {LAST_STEP}", steps.len());
            return Err(Failure::usage(problem));
        }
        let mut found = Vec::with_capacity(steps.len());
        for (number, values) in steps.into_iter().enumerate() {
            found.push(step(number, values)?);
        }
        let Some(file) = file else {
            return Err(Failure::usage("name the table of people: `outboxd import people.csv --campaign …`"));
        };
        Ok((file, found))
    }
}

fn step(number: usize, mut values: Vec<String>) -> Result<StepFile, Failure> {
    let file = values.pop().unwrap_or_default();
    match (number, values.pop()) {
        (0, None) => Ok((None, PathBuf::from(file))),
        (0, Some(wait)) => Err(Failure::usage(format!(
            "the first --step has no wait, and {wait:?} is given; `--not-before TIME` says when it may begin"
        ))),
        (_, None) => {
            Err(Failure::usage(format!("say how long after the step before: --step '3 days' {file}")))
        }
        (_, Some(wait)) => match Step::check_wait(&wait) {
            Ok(()) => Ok((Some(wait), PathBuf::from(file))),
            Err(_) if Step::check_wait(&file).is_ok() => {
                Err(Failure::usage(format!("write the wait before the file: --step {file:?} {wait}")))
            }
            Err(problem) => Err(Failure::usage(format!("the wait before {file} {problem}"))),
        },
    }
}
