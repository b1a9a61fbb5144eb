//! Strict JSON: one pass over the text, borrowing from it, that also notices what DSIP forbids and JSON allows.
//!
//! Two parsers that read one text differently are two opinions about what was signed, so this one refuses what is
//! ambiguous: duplicate member names (PAY-7), lone surrogates, trailing data, deep nesting. Fractions, exponents and
//! huge integers are well-formed JSON with a verdict of their own (PAY-3, PAY-7); the parser keeps them and raises a
//! flag in [`Parsed`], because a syntax error further on has precedence (PAY-5).

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// How deep arrays and objects may nest; no message needs more than ten, and every level costs the reader stack.
pub const MAX_DEPTH: usize = 32;

/// Objects with more members than this look for duplicates in a set instead of one by one.
const FEW_MEMBERS: usize = 16;

/// A JSON value that borrows from its text where no escape forced a copy.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction and exponent that fits 64 bits with a sign.
    Int(i64),
    /// Any other number, as written.
    Number(&'a str),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Members<'a>),
}

/// The members of an object, in the order of the text; no name occurs twice.
pub type Members<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

/// A whole text, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed<'a> {
    /// The value.
    pub root: Json<'a>,
    /// Some number is written with a fraction or an exponent (PAY-3).
    pub has_float: bool,
    /// Some integer does not fit 64 bits with a sign (PAY-7).
    pub has_huge_integer: bool,
}

/// The text is not acceptable JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON at all, or something follows the value.
    #[error("not JSON, at byte {0}")]
    Syntax(usize),
    /// A name occurs twice in one object.
    #[error("an object with two members of one name, at byte {0}")]
    Duplicate(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels, at byte {0}")]
    TooDeep(usize),
}

/// Parses `text` as exactly one JSON value.
pub fn parse(text: &str) -> Result<Parsed<'_>, JsonError> {
    let mut parser = Parser { text, at: 0, has_float: false, has_huge_integer: false };
    let root = parser.value(MAX_DEPTH)?;
    parser.skip_space();
    if parser.at != text.len() {
        return Err(JsonError::Syntax(parser.at));
    }
    Ok(Parsed { root, has_float: parser.has_float, has_huge_integer: parser.has_huge_integer })
}

impl<'a> Json<'a> {
    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Json::String(text) = self { Some(text) } else { None }
    }

    /// The value of an integer.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        if let Json::Int(value) = self { Some(*value) } else { None }
    }

    /// The elements of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Json<'a>]> {
        if let Json::Array(elements) = self { Some(elements) } else { None }
    }

    /// The members of an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(Cow<'a, str>, Json<'a>)]> {
        if let Json::Object(members) = self { Some(members) } else { None }
    }

    /// The member called `name`, if this is an object that has one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Json<'a>> {
        self.as_object()?.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// The same value, owned. Numbers that are neither `i64` nor `f64` become `null`.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(value),
            Json::Int(value) => Value::from(value),
            Json::Number(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            Json::String(text) => Value::String(text.into_owned()),
            Json::Array(elements) => Value::Array(elements.into_iter().map(Json::into_value).collect()),
            Json::Object(members) => Value::Object(into_map(members)),
        }
    }
}

/// The same members, owned.
#[must_use]
pub fn into_map(members: Members<'_>) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.into_owned(), value.into_value())).collect()
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    has_float: bool,
    has_huge_integer: bool,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(JsonError::Syntax(self.at)),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        let depth = depth.checked_sub(1).ok_or(JsonError::TooDeep(self.at))?;
        let start = self.at;
        self.at += 1;
        let mut members = Members::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return Err(JsonError::Syntax(at));
            }
            let name = self.string()?;
            if members.len() < FEW_MEMBERS && members.iter().any(|(earlier, _)| *earlier == name) {
                return Err(JsonError::Duplicate(at));
            }
            self.skip_space();
            self.expect(b':')?;
            let value = self.value(depth)?;
            members.push((name, value));
            self.skip_space();
            if self.take(b'}') {
                break;
            }
            self.expect(b',')?;
        }
        if members.len() > FEW_MEMBERS {
            let mut names = BTreeSet::new();
            if !members.iter().all(|(name, _)| names.insert(name.as_ref())) {
                return Err(JsonError::Duplicate(start));
            }
        }
        Ok(Json::Object(members))
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, JsonError> {
        let depth = depth.checked_sub(1).ok_or(JsonError::TooDeep(self.at))?;
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Json::Array(elements));
            }
            self.expect(b',')?;
        }
    }

    fn number(&mut self) -> Result<Json<'a>, JsonError> {
        let start = self.at;
        self.take(b'-');
        // RFC 8259, 6: no leading zeros.
        if !self.take(b'0') {
            self.digits()?;
        }
        let mut integral = true;
        if self.take(b'.') {
            integral = false;
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            integral = false;
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        let text = self.slice(start, self.at)?;
        if !integral {
            self.has_float = true;
            return Ok(Json::Number(text));
        }
        Ok(text.parse().map(Json::Int).unwrap_or_else(|_| {
            self.has_huge_integer = true;
            Json::Number(text)
        }))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(JsonError::Syntax(start)) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        self.skip_plain();
        if self.peek() == Some(b'"') {
            let text = self.slice(start, self.at)?;
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::with_capacity((self.at - start) * 2);
        text.push_str(self.slice(start, self.at)?);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                // An unescaped control character, or the end of the text.
                _ => return Err(JsonError::Syntax(self.at)),
            }
            let run = self.at;
            self.skip_plain();
            text.push_str(self.slice(run, self.at)?);
        }
    }

    /// Moves to the next quote, backslash or control character. Every byte of a multi-byte character is plain.
    fn skip_plain(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let mut words = rest.chunks_exact(8);
        for word in words.by_ref() {
            let special = special_bytes(word.try_into().unwrap_or_default());
            if special != 0 {
                self.at += special.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
        let end = words.remainder();
        self.at += end.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(end.len());
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        let escaped = self.peek().ok_or(JsonError::Syntax(at))?;
        self.at += 1;
        Ok(match escaped {
            b'"' | b'\\' | b'/' => char::from(escaped),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(JsonError::Syntax(at)),
        })
    }

    /// RFC 8259, 7: a character beyond the basic plane is a pair of surrogates; a lone one is no character.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        let high = self.hex4()?;
        let code = if (0xd800..0xdc00).contains(&high) {
            self.expect(b'\\')?;
            self.expect(b'u')?;
            let low = self.hex4()?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(JsonError::Syntax(at));
            }
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or(JsonError::Syntax(at))
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let at = self.at;
        let end = at + 4;
        let digits = self.text.get(at..end).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(JsonError::Syntax(at))?;
        self.at = end;
        Ok(code)
    }

    fn word(&mut self, word: &str, value: Json<'a>) -> Result<Json<'a>, JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(JsonError::Syntax(self.at));
        }
        self.at += word.len();
        Ok(value)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(JsonError::Syntax(self.at)) }
    }

    fn slice(&self, start: usize, end: usize) -> Result<&'a str, JsonError> {
        self.text.get(start..end).ok_or(JsonError::Syntax(start))
    }
}

/// Marks the bytes among eight that end a run of plain ones, with their top bit. Bytes above the first marked one may be
/// marked in error: its borrow runs into them.
fn special_bytes(word: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let word = u64::from_le_bytes(word);
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word & TOPS;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    equal(b'"') | equal(b'\\') | below(word, 0x20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Json<'_> {
        parse(text).expect("well-formed JSON").root
    }

    #[test]
    fn escapes_and_surrogate_pairs() {
        assert_eq!(root(r#""a\u00e9\n\ud83d\ude00\/""#).as_str(), Some("aé\n😀/"));
        for lone in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx""#, r#""\ud83d\u0041""#, r#""\u+041""#, r#""\x""#] {
            assert!(parse(lone).is_err(), "{lone}");
        }
        assert!(parse("\"a\nb\"").is_err(), "raw control characters are not allowed");
    }

    #[test]
    fn pay_7_duplicate_members_are_refused_in_small_and_large_objects() {
        assert_eq!(parse(r#"{"a":1,"b":{"c":1,"c":2}}"#), Err(JsonError::Duplicate(18)));
        assert!(matches!(parse(r#"{"a":1,"\u0061":2}"#), Err(JsonError::Duplicate(_))), "compared unescaped");
        let mut many: Vec<String> = (0..100).map(|n| format!("\"m{n}\":{n}")).collect();
        assert!(parse(&format!("{{{}}}", many.join(","))).is_ok());
        many.push("\"m99\":0".into());
        assert!(matches!(parse(&format!("{{{}}}", many.join(","))), Err(JsonError::Duplicate(_))));
    }

    #[test]
    fn pay_3_fractions_and_exponents_raise_a_flag_and_pay_5_syntax_wins() {
        for float in ["1.0", "[1e3]", "{\"a\":[0,-0.5E-7]}"] {
            assert!(parse(float).expect("well-formed").has_float, "{float}");
        }
        assert!(!parse("[-0, 12]").expect("well-formed").has_float);
        assert!(parse("[1.0").is_err());
        for bad in ["01", "1.", ".5", "-", "1e", "+1", "0x1", "NaN"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pay_7_integers_beyond_64_bits_raise_a_flag() {
        assert_eq!(root("9223372036854775807").as_int(), Some(i64::MAX));
        let parsed = parse("9223372036854775808").expect("well-formed");
        assert!(parsed.has_huge_integer && parsed.root.as_int().is_none());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(parse(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep(_))));
        assert!(matches!(parse(&"[".repeat(60_000)), Err(JsonError::TooDeep(_))));
    }

    #[test]
    fn runs_end_at_the_first_special_byte() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                for after in [b'a', 0, b'"', 0xff] {
                    let mut word = [b'z'; 8];
                    word[place..].fill(after);
                    word[place] = byte;
                    let first = word.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
                    let found = special_bytes(word);
                    assert_eq!((found != 0).then(|| found.trailing_zeros() as usize / 8), first, "{word:?}");
                }
            }
        }
    }

    #[test]
    fn trailing_data_is_refused() {
        assert!(parse(" {} ").is_ok());
        for bad in ["{} {}", "{},", "", " ", "{\"a\":1,}", "[1,]", "{a:1}", "[1 2]", "tru"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
