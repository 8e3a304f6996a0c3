//! The label of a campaign on the command line.

/// Parses the label of a campaign: what no path of the API can hold is none.
pub(super) fn parse_label(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty; give the label of the campaign".to_owned()),
        "." | ".." => Err("no campaign can have this label".to_owned()),
        label => Ok(label.to_owned()),
    }
}
