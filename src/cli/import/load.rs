//! Reads what an import needs from files: the table, the templates and their attachments.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::exit::{Exit, Failure};
use super::super::files::{open, text_of, unreadable};
use super::super::render;
use super::steps::StepFile;
use crate::import::{Step, Table, Template};
use crate::types::message::NewAttachment;

/// Reads the table of people.
pub(super) fn table(file: &Path, encoding: Option<&str>, delimiter: Option<u8>) -> Result<Table, Failure> {
    let bytes = bytes(file)?;
    let name = match file == Path::new("-") {
        true => "standard input".to_owned(),
        false => render::line(&file.display().to_string()),
    };
    Table::read(name, &bytes, encoding, delimiter)
        .map_err(|problem| Failure::told(Exit::Usage, render::line(&problem)))
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
        problems.extend(Step::check_template(number, &template).err());
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
