//! The kinds of sends that caps and lanes distinguish.
//!
//! SQL, JSON and the configuration use the words of [`Kind::as_str`].

words! {
    /// The kind of a send.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Kind {
        /// A message into a chat that exists.
        Message = "message",
        /// A first message, which starts a chat.
        NewChat = "new_chat",
        /// A first message that costs a credit: InMail, Sales Navigator, Recruiter.
        InMail = "inmail",
        /// A forwarded message.
        Forward = "forward",
    }
}

impl Kind {
    /// Returns whether the send starts a chat.
    pub fn starts_chat(self) -> bool {
        match self {
            Self::NewChat | Self::InMail => true,
            Self::Message | Self::Forward => false,
        }
    }
}
