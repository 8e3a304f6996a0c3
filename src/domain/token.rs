//! Tokens of the API on TCP: who has one, and what it allows.
//!
//! A token is random and long, so its SHA-256 is enough to recognise it and says nothing about it.

words! {
    /// What the bearer of a token may do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Role {
        /// Read everything, texts included.
        Read = "read",
        /// Queue messages, and read single ones by their id.
        Enqueue = "enqueue",
        /// Everything.
        Operate = "operate",
    }
}

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name, which events record for each change.
    pub name: String,
    /// What it allows; at least one role.
    pub roles: Vec<Role>,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
}

impl Token {
    /// Parses a line of the file of tokens: name, roles separated by commas, and the hash in hexadecimal digits.
    pub fn parse(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, roles, hash] = words[..] else {
            return Err(format!("has {} words instead of name, roles and hash", words.len()));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !name.chars().all(is_plain) || name.len() > 64 {
            return Err(
                "has a name with other characters than letters, digits, dot, dash and underscore, or \
                        longer than 64"
                    .to_owned(),
            );
        }
        let role = |name: &str| Role::parse(name).ok_or_else(|| format!("has the unknown role {name:?}"));
        let roles = roles.split(',').map(role).collect::<Result<_, _>>()?;
        let hash = hash_of_hex(hash).ok_or("has a hash that is not 64 hexadecimal digits")?;
        Ok(Self { name: name.to_owned(), roles, hash })
    }

    /// Returns the line of the file that [`Token::parse`] reads.
    pub fn line(&self) -> String {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        let hash: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{} {} {hash}", self.name, roles.join(","))
    }

    /// Returns whether it allows what `role` does.
    pub fn allows(&self, role: Role) -> bool {
        self.roles.iter().any(|own| *own == role || *own == Role::Operate)
    }
}

fn hash_of_hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> =
        digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect();
    bytes.try_into().ok().filter(|_| digits.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::{Role, Token};

    #[test]
    fn a_line_is_read_as_it_is_written() {
        let token =
            Token { name: "board-1".into(), roles: vec![Role::Read, Role::Enqueue], hash: [0xa7; 32] };
        assert_eq!(Token::parse(&token.line()), Ok(token.clone()));
        assert!(token.allows(Role::Read) && token.allows(Role::Enqueue) && !token.allows(Role::Operate));
        let all = Token { roles: vec![Role::Operate], ..token };
        assert!(Role::ALL.into_iter().all(|role| all.allows(role)));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        let hash = "a7".repeat(32);
        for (line, told) in [
            (format!("board {hash}"), "2 words"),
            (format!("board reed {hash}"), "unknown role \"reed\""),
            (format!("board read {}", &hash[1..]), "64 hexadecimal"),
            (format!("board read {}xx", &hash[2..]), "64 hexadecimal"),
            (format!("bo:ard read {hash}"), "name"),
        ] {
            let error = Token::parse(&line).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
