//! The provider options of a new chat (`specifics`, or `options` as the guide calls them), checked for their format.
//!
//! Called by `requests`. Options that have an effect here are returned; the rest is only checked. The object itself
//! goes into the ledger as it was received.

use serde_json::Value;

use super::attachment::{self, Attachment};
use super::strict::{Fields, Invalid};

/// Provider options of a new chat that have an effect in the sandbox.
#[derive(Debug, Default)]
pub(super) struct Specifics {
    /// Whether it is an InMail that takes a credit; one to an applicant takes none.
    pub(super) takes_credit: bool,
    /// Topic for an organization, if one was given.
    pub(super) company_topic: Option<String>,
    /// Subject, which only Sales Navigator and Recruiter have.
    pub(super) subject: Option<String>,
    /// Attachments of Recruiter's follow-up message.
    pub(super) follow_up: Vec<Attachment>,
}

/// Parses `provider`, the object that holds `linkedin`.
pub(super) fn read(provider: &Fields<'_>) -> Result<Specifics, Invalid> {
    let mut specifics = Specifics::default();
    let products = ["classic", "sales_navigator", "recruiter"];
    let Some(linkedin) = provider.optional_object("linkedin", &products)? else { return Ok(specifics) };
    let known = ["inmail", "company_topic", "relation_request_id", "applicant"];
    if let Some(fields) = linkedin.optional_object("classic", &known)? {
        classic(&fields, &mut specifics)?;
    }
    if let Some(fields) = linkedin.optional_object("sales_navigator", &["subject"])? {
        specifics.subject = Some(fields.string("subject")?.to_owned());
    }
    let known = ["subject", "signature", "visibility", "intent", "send_as", "channel_type", "follow_up"];
    if let Some(fields) = linkedin.optional_object("recruiter", &known)? {
        recruiter(&fields, &mut specifics)?;
    }
    Ok(specifics)
}

fn classic(fields: &Fields<'_>, specifics: &mut Specifics) -> Result<(), Invalid> {
    let inmail = fields.optional_boolean("inmail")?.unwrap_or(false);
    let topics = ["SERVICE_REQUEST", "REQUEST_A_DEMO", "SUPPORT", "CAREERS", "OTHER"];
    fields.optional_choice("company_topic", &topics)?;
    specifics.company_topic = fields.optional_string("company_topic")?.map(str::to_owned);
    fields.optional_string("relation_request_id")?;
    let applicant = fields.optional_object("applicant", &["id", "messaging_token"])?;
    if let Some(applicant) = &applicant {
        applicant.string("id")?;
        applicant.string("messaging_token")?;
    }
    specifics.takes_credit = inmail && applicant.is_none();
    Ok(())
}

fn recruiter(fields: &Fields<'_>, specifics: &mut Specifics) -> Result<(), Invalid> {
    specifics.subject = Some(fields.string("subject")?.to_owned());
    fields.string("signature")?;
    fields.optional_choice("visibility", &["PUBLIC", "PRIVATE", "PROJECT"])?;
    fields.optional_choice("intent", &["HIRE_FOR_CLIENT", "HIRE_FOR_OWN_COMPANY"])?;
    fields.optional_choice("send_as", &["INMAIL", "EMAIL"])?;
    let channels = [
        "CAREER_SITE",
        "MANUAL_IMPORT",
        "INTERNAL_CANDIDATES",
        "RECRUITER_SEARCH",
        "REFERRAL",
        "JOB_POSTING_RECOMMENDED_MATCHES",
        "AUTOMATED_SOURCING",
        "JOB_POSTING",
    ];
    fields.optional_choice("channel_type", &channels)?;
    let known = ["subject", "text", "attachments", "scheduled_for"];
    let Some(follow_up) = fields.optional_object("follow_up", &known)? else { return Ok(()) };
    follow_up.string("subject")?;
    follow_up.string("text")?;
    specifics.follow_up = attachment::read_all(&follow_up)?;
    scheduled_for(follow_up.required("scheduled_for")?, &follow_up.name("scheduled_for"))
}

/// Checks that the time is either days or weeks from now, never both.
fn scheduled_for(value: &Value, path: &str) -> Result<(), Invalid> {
    let fields = Fields::of(value, path, &["days", "weeks", "timezone"])?;
    fields.optional_string("timezone")?;
    let days = fields.optional_integer("days", 3..=28)?;
    let weeks = fields.optional_integer("weeks", 1..=4)?;
    if days.is_some() == weeks.is_some() {
        return Err(Invalid(format!("{path} needs either days or weeks")));
    }
    Ok(())
}
