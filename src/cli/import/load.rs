//! Reads what an import needs from files: the table, the templates and their attachments.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::exit::{Exit, Failure};
use super::super::files::{open, text_of, unreadable};
use super::super::render;
use super::steps::StepFile;
use crate::import::{Sheet, Step, Template, decode, kind_of_file};
use crate::types::message::NewAttachment;

/// A table, and what was noticed about its file.
pub(super) struct Table {
    /// The name of the file, to be shown.
    pub(super) name: String,
    pub(super) sheet: Sheet,
    pub(super) encoding: String,
    pub(super) wants_bom: bool,
}

/// Reads the table of people.
pub(super) fn table(file: &Path, encoding: Option<&str>, delimiter: Option<u8>) -> Result<Table, Failure> {
    let bytes = bytes(file)?;
    let name = match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => render::line(&file.display().to_string()),
    };
    if let Some((what, fix)) = kind_of_file(&bytes) {
        return Err(Failure::usage(format!("{name} is {what}; {fix}")));
    }
    let told = |problem: String| Failure::told(Exit::Usage, format!("{name}: {}", render::line(&problem)));
    let decoded = decode(&bytes, encoding).map_err(told)?;
    let sheet = Sheet::read(&decoded.text, delimiter).map_err(told)?;
    Ok(Table { name, sheet, encoding: decoded.encoding, wants_bom: decoded.wants_bom })
}

/// Reads the templates; reports the problems of all of them.
pub(super) fn steps(files: Vec<StepFile>) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::with_capacity(files.len());
    let mut problems = Vec::new();
    for (number, (wait, file)) in files.into_iter().enumerate() {
        let template = match Template::parse(&file.display().to_string(), &text_of(&file)?) {
            Ok(template) => template,
            Err(problem) => {
                problems.push(render::line(&problem));
                continue;
            }
        };
        if number > 0 && template.starts_a_chat() {
            let fix = "leave them out: a follow-up goes into the chat that the first step started";
            problems.push(format!(
                "{}: InMail, subject and specifics are for the first step; {fix}",
                template.name()
            ));
        }
        let attachments = attachments(&file, &template)?;
        steps.push(Step { wait, template, attachments });
    }
    if problems.is_empty() { Ok(steps) } else { Err(Failure::lines(Exit::Usage, problems)) }
}

/// Reads the files of a template, which are named relative to its folder.
fn attachments(template: &Path, parsed: &Template) -> Result<Vec<NewAttachment>, Failure> {
    let settings = parsed.settings();
    let folder = template.parent().map(PathBuf::from).unwrap_or_default();
    let attachment = |name: &String| {
        let file = folder.join(name);
        let content = bytes(&file).map_err(|failure| failure.about(parsed.name()))?;
        Ok(NewAttachment {
            filename: file.file_name().map(|name| name.to_string_lossy().into_owned()),
            content: Some(STANDARD.encode(content)),
            send_mode: settings.send_mode.clone(),
            voice_note: settings.voice_note,
            ..NewAttachment::default()
        })
    };
    settings.attachments.iter().map(attachment).collect()
}

fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    open(file)?.read_to_end(&mut bytes).map_err(|error| unreadable(file, &error))?;
    Ok(bytes)
}
