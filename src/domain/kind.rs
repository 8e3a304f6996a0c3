//! The kinds of sends that caps and lanes distinguish.
//!
//! SQL, JSON and the configuration use the words of [`Kind::as_str`].

/// The kind of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A message into a chat that exists.
    Message,
    /// A first message, which starts a chat.
    NewChat,
    /// A first message that costs a credit: InMail, Sales Navigator, Recruiter.
    InMail,
    /// A forwarded message.
    Forward,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Message, Self::NewChat, Self::InMail, Self::Forward];

    /// Returns the word in SQL, JSON and the configuration's keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::NewChat => "new_chat",
            Self::InMail => "inmail",
            Self::Forward => "forward",
        }
    }

    /// Returns the kind with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Returns whether the send starts a chat.
    pub fn starts_chat(self) -> bool {
        match self {
            Self::NewChat | Self::InMail => true,
            Self::Message | Self::Forward => false,
        }
    }
}
