//! Stored times: numbers of milliseconds or seconds since 1970. A field names its unit: `#[serde(with = "millis")]`.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::env::Timestamp;

/// A time, or a list or map of times.
pub trait Times: Sized {
    /// The same with numbers.
    type Numbers: Serialize + for<'de> Deserialize<'de>;

    /// Converts each time.
    fn to_numbers(&self, unit: fn(Timestamp) -> i64) -> Self::Numbers;

    /// Converts each number.
    fn from_numbers(numbers: Self::Numbers, unit: fn(i64) -> Timestamp) -> Self;
}

impl Times for Timestamp {
    type Numbers = i64;

    fn to_numbers(&self, unit: fn(Timestamp) -> i64) -> i64 {
        unit(*self)
    }

    fn from_numbers(number: i64, unit: fn(i64) -> Timestamp) -> Self {
        unit(number)
    }
}

impl<T: Times> Times for Option<T> {
    type Numbers = Option<T::Numbers>;

    fn to_numbers(&self, unit: fn(Timestamp) -> i64) -> Self::Numbers {
        self.as_ref().map(|times| times.to_numbers(unit))
    }

    fn from_numbers(numbers: Self::Numbers, unit: fn(i64) -> Timestamp) -> Self {
        numbers.map(|numbers| T::from_numbers(numbers, unit))
    }
}

impl<T: Times> Times for Vec<T> {
    type Numbers = Vec<T::Numbers>;

    fn to_numbers(&self, unit: fn(Timestamp) -> i64) -> Self::Numbers {
        self.iter().map(|times| times.to_numbers(unit)).collect()
    }

    fn from_numbers(numbers: Self::Numbers, unit: fn(i64) -> Timestamp) -> Self {
        numbers.into_iter().map(|numbers| T::from_numbers(numbers, unit)).collect()
    }
}

impl<T: Times> Times for HashMap<String, T> {
    type Numbers = HashMap<String, T::Numbers>;

    fn to_numbers(&self, unit: fn(Timestamp) -> i64) -> Self::Numbers {
        self.iter().map(|(name, times)| (name.clone(), times.to_numbers(unit))).collect()
    }

    fn from_numbers(numbers: Self::Numbers, unit: fn(i64) -> Timestamp) -> Self {
        numbers.into_iter().map(|(name, numbers)| (name, T::from_numbers(numbers, unit))).collect()
    }
}

macro_rules! unit {
    ($(#[$meta:meta])* $name:ident $to:ident $from:ident) => {
        $(#[$meta])*
        pub mod $name {
            use super::*;

            pub fn serialize<T: Times, S: Serializer>(times: &T, serializer: S) -> Result<S::Ok, S::Error> {
                times.to_numbers(Timestamp::$to).serialize(serializer)
            }

            pub fn deserialize<'de, T: Times, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
                Ok(T::from_numbers(T::Numbers::deserialize(deserializer)?, Timestamp::$from))
            }
        }
    };
}
unit! { /** Milliseconds. */ millis millis from_millis }
unit! { /** Seconds: what is read is a whole second. */ secs secs from_secs }

/// Seconds; 0 for no time.
pub mod secs_or_zero {
    use super::*;

    #[allow(clippy::ref_option, reason = "serde passes a reference")]
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map_or(0, Timestamp::secs).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        let secs = i64::deserialize(deserializer)?;
        Ok((secs > 0).then(|| Timestamp::from_secs(secs)))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        domain::Session,
        store::{
            fixture::{NOW, session},
            item,
            write::{Value, num},
        },
    };

    #[test]
    fn each_time_is_stored_in_the_unit_of_its_attribute() {
        let at = NOW + std::time::Duration::from_millis(1999);
        let session = Session { created: at, ends: at, seen: at, step_up: Some(at), ..session() };
        let Value::M(stored) = item::value(&session).unwrap() else { panic!("no map") };
        assert_eq!(stored["c"], num(at.millis()));
        assert_eq!(["x", "l", "u"].map(|name| stored[name].clone()), [(); 3].map(|()| num(at.secs())));
        let read: Session = item::read(stored).unwrap();
        assert_eq!((read.created, read.ends, read.step_up), (at, at.whole_second(), Some(at.whole_second())));
    }

    #[test]
    fn session_without_a_step_up_stores_zero() {
        let session = Session { step_up: None, ..session() };
        let Value::M(stored) = item::value(&session).unwrap() else { panic!("no map") };
        assert_eq!(stored["u"], num(0));
        assert!(item::read::<Session>(stored).unwrap() == session);
    }
}
