//! Field tables: how a parsed JSON object becomes a struct, member by member, and back.
//!
//! 01 §11 defines closed objects whose members are required or optional and never `null`, and open ones that carry
//! more. [`Members`](super::json::Members) are taken out of the object by name; a closed object must end up empty.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use super::json::{self, Json};
use super::{Did, Ulid};

/// The object does not satisfy its field table (`schema-invalid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object does not satisfy its field table")]
pub struct SchemaError;

/// A value with a place in a field table.
pub trait Field: Sized {
    /// Reads the value; refuses what the table does not allow.
    fn read(json: Json<'_>) -> Result<Self, SchemaError>;

    /// What an absent member means: nothing for an optional one, an error otherwise.
    fn absent() -> Result<Self, SchemaError> {
        Err(SchemaError)
    }

    /// Whether the member is left out when written (MSG-2: absent, never `null`).
    fn is_absent(&self) -> bool {
        false
    }
}

/// The members of an object that nobody has taken yet.
pub(super) struct Fields<'a>(Vec<Option<(Cow<'a, str>, Json<'a>)>>);

impl<'a> Fields<'a> {
    pub(super) fn of(json: Json<'a>) -> Result<Self, SchemaError> {
        match json {
            Json::Object(members) => Ok(Self(members.into_iter().map(Some).collect())),
            _ => Err(SchemaError),
        }
    }

    /// Takes the member called `name`.
    pub(super) fn take<T: Field>(&mut self, name: &str) -> Result<T, SchemaError> {
        let slot = self.0.iter_mut().find(|slot| slot.as_ref().is_some_and(|(member, _)| member == name));
        match slot.and_then(Option::take) {
            Some((_, json)) => T::read(json),
            None => T::absent(),
        }
    }

    /// Ends a closed object: nothing may be left (PAY-6).
    pub(super) fn close(self) -> Result<(), SchemaError> {
        if self.0.iter().all(Option::is_none) { Ok(()) } else { Err(SchemaError) }
    }

    /// Ends an open object: whatever is left is kept.
    pub(super) fn rest(self) -> Map<String, Value> {
        json::into_map(self.0.into_iter().flatten().collect())
    }
}

/// Writes one member unless it is absent.
pub(super) fn write<T: Field + Serialize, M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    field: &T,
) -> Result<(), M::Error> {
    if field.is_absent() { Ok(()) } else { map.serialize_entry(name, field) }
}

/// Defines an object of a field table: the struct, how it is read and how it is written.
///
/// `closed` refuses unknown members, `open` keeps them in `rest`. The clause after `where` is what the table says beyond
/// the types of single members.
macro_rules! object {
    ($(#[$doc:meta])* closed $name:ident { $($(#[$field_doc:meta])* $field:ident $(as $wire:literal)?: $type:ty,)* } $(where |$this:ident| $check:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::wire::field::Field for $name {
            fn read(json: $crate::wire::json::Json<'_>) -> Result<Self, $crate::wire::SchemaError> {
                let mut fields = $crate::wire::field::Fields::of(json)?;
                $(let $field = fields.take($crate::wire::field::name!($field $($wire)?))?;)*
                fields.close()?;
                let read = Self { $($field,)* };
                $(let $this = &read; if !$check { return Err($crate::wire::SchemaError) })?
                Ok(read)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $($crate::wire::field::write(&mut map, $crate::wire::field::name!($field $($wire)?), &self.$field)?;)*
                map.end()
            }
        }
    };
    ($(#[$doc:meta])* open $name:ident { $($(#[$field_doc:meta])* $field:ident $(as $wire:literal)?: $type:ty,)* } $(where |$this:ident| $check:expr)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
            /// The members that the table leaves open.
            pub rest: serde_json::Map<String, serde_json::Value>,
        }

        impl $crate::wire::field::Field for $name {
            fn read(json: $crate::wire::json::Json<'_>) -> Result<Self, $crate::wire::SchemaError> {
                let mut fields = $crate::wire::field::Fields::of(json)?;
                $(let $field = fields.take($crate::wire::field::name!($field $($wire)?))?;)*
                let read = Self { $($field,)* rest: fields.rest() };
                $(let $this = &read; if !$check { return Err($crate::wire::SchemaError) })?
                Ok(read)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(None)?;
                $($crate::wire::field::write(&mut map, $crate::wire::field::name!($field $($wire)?), &self.$field)?;)*
                for (name, value) in &self.rest {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    };
}
pub(super) use object;

/// A member's name on the wire: the field's own unless another is given.
macro_rules! name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}
pub(super) use name;

/// Defines a string type by its grammar, with its registered values as constants.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $grammar:expr $(, { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* })?) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::borrow::Cow<'static, str>);

        impl $name {
            $($($(#[$value_doc])* pub const $value: Self = Self(std::borrow::Cow::Borrowed($text));)*

            /// Every registered value.
            pub const REGISTERED: &'static [Self] = &[$(Self::$value),*];

            /// Whether the value is in the registry; others are carried and not acted on (REG-6).
            #[must_use]
            pub fn is_registered(&self) -> bool {
                Self::REGISTERED.contains(self)
            })?

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::wire::SchemaError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let grammar: fn(&str) -> bool = $grammar;
                if grammar(text) { Ok(Self(text.to_owned().into())) } else { Err($crate::wire::SchemaError) }
            }
        }

        impl $crate::wire::field::Field for $name {
            fn read(json: $crate::wire::json::Json<'_>) -> Result<Self, $crate::wire::SchemaError> {
                let grammar: fn(&str) -> bool = $grammar;
                match json {
                    $crate::wire::json::Json::String(text) if grammar(&text) => Ok(Self(text.into_owned().into())),
                    _ => Err($crate::wire::SchemaError),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use text;

/// Defines an enum whose values are fixed by the schema: any other text is `schema-invalid`.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$value_doc])* $value,)* }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// The text on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::wire::SchemaError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($text => Ok(Self::$value),)* _ => Err($crate::wire::SchemaError) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::wire::field::Field for $name {
            fn read(json: $crate::wire::json::Json<'_>) -> Result<Self, $crate::wire::SchemaError> {
                json.as_str().ok_or($crate::wire::SchemaError)?.parse()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(super) use choice;

impl<T: Field> Field for Option<T> {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        T::read(json).map(Some)
    }

    fn absent() -> Result<Self, SchemaError> {
        Ok(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        match json {
            Json::Array(elements) => elements.into_iter().map(T::read).collect(),
            _ => Err(SchemaError),
        }
    }
}

impl Field for String {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        if let Json::String(text) = json { Ok(text.into_owned()) } else { Err(SchemaError) }
    }
}

impl Field for bool {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        if let Json::Bool(value) = json { Ok(value) } else { Err(SchemaError) }
    }
}

impl Field for u64 {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        json.as_int().and_then(|value| Self::try_from(value).ok()).ok_or(SchemaError)
    }
}

impl Field for u32 {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        json.as_int().and_then(|value| Self::try_from(value).ok()).ok_or(SchemaError)
    }
}

impl Field for Did {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        json.as_str().and_then(|text| text.parse().ok()).ok_or(SchemaError)
    }
}

impl Field for Ulid {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        json.as_str().and_then(|text| text.parse().ok()).ok_or(SchemaError)
    }
}

impl Field for Map<String, Value> {
    fn read(json: Json<'_>) -> Result<Self, SchemaError> {
        if let Json::Object(members) = json { Ok(json::into_map(members)) } else { Err(SchemaError) }
    }
}

/// A string of at most `MAX` and at least `MIN` characters (CNV-6: Unicode code points).
pub(super) fn within(text: &str, min: usize, max: usize) -> bool {
    // A character has one to four bytes, so most strings are decided without being walked.
    (text.len() <= max || text.chars().count() <= max) && (text.len() >= min * 4 || text.chars().count() >= min)
}

/// As [`within`], for a member that may be absent.
pub(super) fn at_most(text: Option<&String>, max: usize) -> bool {
    text.is_none_or(|text| within(text, 0, max))
}
