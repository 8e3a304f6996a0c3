//! Turns a table of people into messages: encoding, columns, templates, seats. Pure: no files, no socket, no clock.
//!
//! `cli/import/` reads files and `http/dashboard/import/` forms; both call this module and give the daemon what it
//! returns. The order is `Table::read` ([`decode()`], then [`Sheet::read`]), [`Template::parse`], [`Columns::map`] and, for
//! each row, [`Plan::judge`]. A row that is refused here is never sent. The daemon validates rendered messages like all
//! others (P7).

mod batch;
mod cells;
mod columns;
mod decode;
mod filters;
mod front_matter;
mod list;
mod names;
mod people;
mod refused;
mod rehearsal;
mod seats;
mod sheet;
mod table;
mod template;

pub use cells::Cell;
pub use columns::{Columns, normal};
pub use decode::{Decoded, decode, kind_of_file};
pub use front_matter::FrontMatter;
pub use people::{Judged, Plan, Step};
pub use seats::{Seats, person_key};
pub use sheet::{REASON, Row, Sheet};
pub use template::{Rendered, Template};

pub use crate::domain::step::LAST_STEP;

pub(crate) use batch::{Batch, Differing, RefusedRows, States, Tally, ended, kept};
pub(crate) use list::{Exported, Listed, listed_in};
pub(crate) use people::{Options, PRIORITIES};
pub(crate) use refused::refused_file;
pub(crate) use rehearsal::{DAYS, Example, Rehearsal};
pub(crate) use table::Table;
