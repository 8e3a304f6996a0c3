//! The refused rows as a table: the same columns and the reason, ready to be mended and imported again.

use std::io;

use csv::WriterBuilder;

use super::batch::RefusedRows;
use super::sheet::REASON;
use super::table::Table;

/// Returns the file with the refused rows of a table.
///
/// # Errors
/// Returns an error if the rows cannot be written as CSV.
pub(crate) fn refused_file(table: &Table, refused: &RefusedRows) -> io::Result<Vec<u8>> {
    let sheet = &table.sheet;
    let reason = sheet.header.iter().position(|name| name == REASON);
    let kept = |cells: &[String]| -> Vec<String> {
        let kept = cells.iter().enumerate().filter(|(place, _)| Some(*place) != reason);
        kept.map(|(_, cell)| cell.clone()).collect()
    };
    // A spreadsheet recognises UTF-8 by its byte order mark.
    let start = if table.wants_bom { "\u{feff}".as_bytes().to_vec() } else { Vec::new() };
    let mut writer = WriterBuilder::new().delimiter(sheet.delimiter).flexible(true).from_writer(start);
    let header = kept(&sheet.header);
    writer.write_record(header.iter().map(String::as_str).chain([REASON]))?;
    for (row, reasons) in refused {
        let mut cells = kept(&sheet.rows[*row].cells);
        if sheet.rows[*row].cells.len() < sheet.header.len() {
            cells.resize(header.len(), String::new());
        }
        writer.write_record(cells.iter().map(String::as_str).chain([reasons.join(" / ").as_str()]))?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}
