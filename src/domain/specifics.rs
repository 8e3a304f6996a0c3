//! Provider-specific options for starting a chat: InMail, organizations, applicants, Sales Navigator, Recruiter.
//!
//! Producers write them as `specifics` (Unipile's SDKs) or `options` (Unipile's guide), which are the same object. It
//! is validated here once, against the fields and enums in Unipile's API descriptions. The validated tree is kept, so
//! that the daemon sends exactly the producer's object.

use serde_json::{Map, Value};

use super::field_error::{FieldError, FieldErrorCode};
use super::ids;

/// A validated object, and the product that it selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Specifics {
    tree: Value,
    product: Product,
}

/// The LinkedIn product with which a chat is started; each has its own inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// LinkedIn itself.
    Classic {
        /// Sends an InMail, which costs a credit.
        inmail: bool,
    },
    /// Sales Navigator.
    SalesNavigator,
    /// Recruiter.
    Recruiter,
}

words! {
    /// The balance from which an InMail is paid; each product has its own.
    ///
    /// Sales Navigator has one too, but messages to connections cost nothing, and no field distinguishes the two: the
    /// provider decides about messages through it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Credit {
        /// LinkedIn's own balance.
        Classic = "classic",
        /// Recruiter's balance.
        Recruiter = "recruiter",
    }
}

const TOPICS: [&str; 5] = ["SERVICE_REQUEST", "REQUEST_A_DEMO", "SUPPORT", "CAREERS", "OTHER"];
const VISIBILITIES: [&str; 3] = ["PUBLIC", "PRIVATE", "PROJECT"];
const INTENTS: [&str; 2] = ["HIRE_FOR_CLIENT", "HIRE_FOR_OWN_COMPANY"];
const SEND_AS: [&str; 2] = ["INMAIL", "EMAIL"];
const CHANNELS: [&str; 8] = [
    "CAREER_SITE",
    "MANUAL_IMPORT",
    "INTERNAL_CANDIDATES",
    "RECRUITER_SEARCH",
    "REFERRAL",
    "JOB_POSTING_RECOMMENDED_MATCHES",
    "AUTOMATED_SOURCING",
    "JOB_POSTING",
];

impl Specifics {
    /// Validates `tree`, which the producer called `field` (`specifics` or `options`).
    ///
    /// # Errors
    /// Returns every problem, each with the path of its field.
    pub fn parse(field: &str, tree: Value) -> Result<Self, Vec<FieldError>> {
        let mut check = Check { faults: Vec::new() };
        let product = check.specifics(field, &tree);
        match product {
            Some(product) if check.faults.is_empty() => Ok(Self { tree, product }),
            _ => Err(check.faults),
        }
    }

    /// Returns the validated object.
    pub fn tree(&self) -> &Value {
        &self.tree
    }

    /// Returns the texts that the recipient sees, each with the path of its field.
    pub(super) fn shown_texts(&self) -> impl Iterator<Item = (String, &str)> {
        const PATHS: [&str; 5] = [
            "/linkedin/sales_navigator/subject",
            "/linkedin/recruiter/subject",
            "/linkedin/recruiter/signature",
            "/linkedin/recruiter/follow_up/subject",
            "/linkedin/recruiter/follow_up/text",
        ];
        let shown = |path: &str| {
            Some((format!("specifics{}", path.replace('/', ".")), self.tree.pointer(path)?.as_str()?))
        };
        PATHS.into_iter().filter_map(shown)
    }

    /// Returns the subject that the recipient sees, if the product has one.
    pub fn subject(&self) -> Option<&str> {
        let paths = ["/linkedin/sales_navigator/subject", "/linkedin/recruiter/subject"];
        paths.into_iter().find_map(|path| self.tree.pointer(path)).and_then(Value::as_str)
    }

    /// Returns the selected product.
    pub fn product(&self) -> Product {
        self.product
    }

    /// Returns the balance from which the message is paid, if it is an InMail. One to an applicant costs nothing
    /// (Unipile's guide). The column `messages.credit` says the same in SQL.
    pub fn credit(&self) -> Option<Credit> {
        match self.product {
            Product::Classic { inmail } => {
                let to_applicant = self.tree.pointer("/linkedin/classic/applicant").is_some();
                (inmail && !to_applicant).then_some(Credit::Classic)
            }
            Product::SalesNavigator => None,
            Product::Recruiter => {
                let send_as = self.tree.pointer("/linkedin/recruiter/send_as").and_then(Value::as_str);
                (send_as != Some("EMAIL")).then_some(Credit::Recruiter)
            }
        }
    }
}

impl Product {
    /// Returns the only inbox from which this product may start a chat; LinkedIn itself uses the account's own.
    pub fn inbox_id(self) -> Option<&'static str> {
        match self {
            Self::Classic { .. } => None,
            Self::SalesNavigator => Some("SALES_NAVIGATOR_PRIMARY"),
            Self::Recruiter => Some("RECRUITER_PRIMARY"),
        }
    }
}

struct Check {
    faults: Vec<FieldError>,
}

impl Check {
    fn specifics(&mut self, field: &str, tree: &Value) -> Option<Product> {
        let root = self.object(field, tree, &["linkedin"])?;
        let path = format!("{field}.linkedin");
        let linkedin = self.required(&path, root.get("linkedin"))?;
        let linkedin = self.object(&path, linkedin, &["classic", "sales_navigator", "recruiter"])?;
        let mut products = linkedin.iter();
        match (products.next(), products.next()) {
            (Some((name, value)), None) => {
                let path = format!("{path}.{name}");
                match name.as_str() {
                    "classic" => self.classic(&path, value),
                    "sales_navigator" => self.sales_navigator(&path, value),
                    _ => self.recruiter(&path, value),
                }
            }
            (None, _) => {
                let fix = "name one of classic, sales_navigator and recruiter, or leave it out";
                self.add(FieldErrorCode::MissingField, &path, "names no product", fix);
                None
            }
            (Some(_), Some(_)) => {
                let fix = "name one of classic, sales_navigator and recruiter";
                self.add(FieldErrorCode::Contradiction, &path, "names several products", fix);
                None
            }
        }
    }

    fn classic(&mut self, path: &str, value: &Value) -> Option<Product> {
        let known = ["inmail", "company_topic", "relation_request_id", "applicant"];
        let object = self.object(path, value, &known)?;
        let inmail = match object.get("inmail") {
            None => false,
            Some(Value::Bool(inmail)) => *inmail,
            Some(_) => {
                self.add(
                    FieldErrorCode::WrongType,
                    &format!("{path}.inmail"),
                    "is not a boolean",
                    "give true or false",
                );
                false
            }
        };
        self.one_of(path, object, "company_topic", &TOPICS);
        self.id(path, object, "relation_request_id", false);
        if let Some(applicant) = object.get("applicant") {
            let path = format!("{path}.applicant");
            if let Some(applicant) = self.object(&path, applicant, &["id", "messaging_token"]) {
                self.id(&path, applicant, "id", true);
                self.id(&path, applicant, "messaging_token", true);
            }
        }
        Some(Product::Classic { inmail })
    }

    fn sales_navigator(&mut self, path: &str, value: &Value) -> Option<Product> {
        let object = self.object(path, value, &["subject"])?;
        self.text(path, object, "subject", true);
        Some(Product::SalesNavigator)
    }

    fn recruiter(&mut self, path: &str, value: &Value) -> Option<Product> {
        let known = ["subject", "signature", "visibility", "intent", "send_as", "channel_type", "follow_up"];
        let object = self.object(path, value, &known)?;
        self.text(path, object, "subject", true);
        self.text(path, object, "signature", true);
        self.one_of(path, object, "visibility", &VISIBILITIES);
        self.one_of(path, object, "intent", &INTENTS);
        self.one_of(path, object, "send_as", &SEND_AS);
        self.one_of(path, object, "channel_type", &CHANNELS);
        if let Some(follow_up) = object.get("follow_up") {
            self.follow_up(&format!("{path}.follow_up"), follow_up);
        }
        Some(Product::Recruiter)
    }

    fn follow_up(&mut self, path: &str, value: &Value) {
        let Some(object) = self.object(path, value, &["subject", "text", "scheduled_for"]) else { return };
        self.text(path, object, "subject", true);
        self.text(path, object, "text", true);
        let path = format!("{path}.scheduled_for");
        let Some(when) = self.required(&path, object.get("scheduled_for")) else { return };
        let Some(when) = self.object(&path, when, &["days", "weeks", "timezone"]) else { return };
        self.text(&path, when, "timezone", false);
        let number = |name: &str, least: u64, most: u64| {
            when.get(name).is_some_and(|n| n.as_u64().is_some_and(|n| (least..=most).contains(&n)))
        };
        let one = when.contains_key("days") != when.contains_key("weeks");
        if !(one && (number("days", 3, 28) || number("weeks", 1, 4))) {
            let fix = "give either days from 3 to 28 or weeks from 1 to 4";
            self.add(FieldErrorCode::InvalidValue, &path, "says no time that Recruiter takes", fix);
        }
    }

    fn add(&mut self, code: FieldErrorCode, path: &str, problem: &str, fix: &str) {
        self.faults.push(FieldError::new(code, path, problem, fix));
    }

    fn required<'v>(&mut self, path: &str, value: Option<&'v Value>) -> Option<&'v Value> {
        if value.is_none() {
            self.add(FieldErrorCode::MissingField, path, "is missing", "give it");
        }
        value
    }

    fn object<'v>(&mut self, path: &str, value: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
        let Value::Object(object) = value else {
            self.add(FieldErrorCode::WrongType, path, "is not a JSON object", "see docs/messages.md");
            return None;
        };
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            let mut refusal = FieldError::unknown_field(name, known.iter().copied());
            refusal.field = format!("{path}.{name}");
            self.faults.push(refusal);
        }
        Some(object)
    }

    fn text(&mut self, path: &str, object: &Map<String, Value>, name: &str, required: bool) {
        let path = format!("{path}.{name}");
        match object.get(name) {
            None if required => self.add(FieldErrorCode::MissingField, &path, "is missing", "give it"),
            None => {}
            Some(Value::String(text)) if text.trim().is_empty() => {
                self.add(FieldErrorCode::MissingField, &path, "is empty", "give it, or leave it out");
            }
            Some(Value::String(text)) if text.contains('\0') => {
                self.add(FieldErrorCode::InvalidValue, &path, "holds a NUL character", "remove it");
            }
            Some(Value::String(_)) => {}
            Some(_) => self.add(FieldErrorCode::WrongType, &path, "is not a string", "give a string"),
        }
    }

    fn id(&mut self, path: &str, object: &Map<String, Value>, name: &str, required: bool) {
        let problems = self.faults.len();
        self.text(path, object, name, required);
        if let Some(id) = object.get(name).and_then(Value::as_str).filter(|_| self.faults.len() == problems) {
            let checked = ids::filled_in(&format!("{path}.{name}"), id.trim());
            self.faults.extend(checked.err());
        }
    }

    fn one_of(&mut self, path: &str, object: &Map<String, Value>, name: &str, words: &[&str]) {
        let Some(value) = object.get(name) else { return };
        if !value.as_str().is_some_and(|word| words.contains(&word)) {
            let fix = format!("use one of: {}", words.join(", "));
            self.add(FieldErrorCode::InvalidValue, &format!("{path}.{name}"), &format!("is {value}"), &fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_form_of_the_guide_is_taken_and_kept_as_it_is() {
        let cases = [
            (json!({"linkedin": {"classic": {"inmail": true}}}), Product::Classic { inmail: true }),
            (
                json!({"linkedin": {"classic": {"company_topic": "CAREERS"}}}),
                Product::Classic { inmail: false },
            ),
            (
                json!({"linkedin": {"classic": {"applicant": {"id": "a", "messaging_token": "t"}}}}),
                Product::Classic { inmail: false },
            ),
            (
                json!({"linkedin": {"classic": {"relation_request_id": "r"}}}),
                Product::Classic { inmail: false },
            ),
            (json!({"linkedin": {"sales_navigator": {"subject": "s"}}}), Product::SalesNavigator),
            (
                json!({"linkedin": {"recruiter": {"subject": "s", "signature": "g", "visibility": "PROJECT",
                    "follow_up": {"subject": "s", "text": "t", "scheduled_for": {"weeks": 2, "timezone": "Europe/Berlin"}}}}}),
                Product::Recruiter,
            ),
        ];
        for (tree, product) in cases {
            let specifics = Specifics::parse("specifics", tree.clone()).unwrap();
            assert_eq!((specifics.tree(), specifics.product()), (&tree, product));
        }
    }

    #[test]
    fn each_fault_names_the_path_of_its_field() {
        let classic = |value: Value| json!({"linkedin": {"classic": value}});
        let recruiter = |value: Value| json!({"linkedin": {"recruiter": value}});
        let cases = [
            (json!(7), "options"),
            (json!({}), "options.linkedin"),
            (json!({"linkedin": {}}), "options.linkedin"),
            (json!({"linked_in": {}}), "options.linked_in"),
            (json!({"linkedin": {"classic": {}, "recruiter": {}}}), "options.linkedin"),
            (classic(json!({"inmail": "yes"})), "options.linkedin.classic.inmail"),
            (classic(json!({"subject": "s"})), "options.linkedin.classic.subject"),
            (classic(json!({"company_topic": "JOBS"})), "options.linkedin.classic.company_topic"),
            (
                classic(json!({"applicant": {"id": "a"}})),
                "options.linkedin.classic.applicant.messaging_token",
            ),
            (
                classic(json!({"applicant": {"messaging_token": "a"}})),
                "options.linkedin.classic.applicant.id",
            ),
            (classic(json!({"relation_request_id": ""})), "options.linkedin.classic.relation_request_id"),
            (json!({"linkedin": {"sales_navigator": {}}}), "options.linkedin.sales_navigator.subject"),
            (recruiter(json!({"subject": "s"})), "options.linkedin.recruiter.signature"),
            (
                recruiter(json!({"subject": "s", "signature": "g", "intent": "X"})),
                "options.linkedin.recruiter.intent",
            ),
            (
                recruiter(json!({"subject": "s", "signature": "g",
                    "follow_up": {"subject": "s", "text": "t", "scheduled_for": {"days": 2}}})),
                "options.linkedin.recruiter.follow_up.scheduled_for",
            ),
        ];
        for (tree, path) in cases {
            let faults = Specifics::parse("options", tree.clone()).expect_err(path);
            assert_eq!(faults[0].field, path, "{tree}: {faults:?}");
            assert!(!faults[0].fix.is_empty());
        }
    }
}
