//! A request's own fields. Most requests have none, and take a pointer's room for them: requests go from core to core.

use std::fmt;
use std::ops::Deref;
use std::sync::LazyLock;

use http::HeaderMap;
use http::header::HeaderName;

use super::redirect;

/// Fields, in an allocation of their own once there are any.
#[derive(Clone, Default)]
pub(crate) struct Fields(Option<Box<HeaderMap>>);

impl Fields {
    /// Whether there are none, without a look into a map.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|map| map.is_empty())
    }

    /// The map, to change it.
    pub(crate) fn to_mut(&mut self) -> &mut HeaderMap {
        self.0.get_or_insert_default()
    }

    /// Adds `fields`, instead of those that have the same names.
    pub(crate) fn extend(&mut self, mut fields: HeaderMap) {
        fields.iter_mut().for_each(|(name, value)| redirect::hide(name, value));
        match &mut self.0 {
            Some(map) => map.extend(fields),
            None => *self = fields.into(),
        }
    }

    /// Takes out those of which this holds.
    pub(crate) fn remove_where(&mut self, holds: impl Fn(&HeaderName) -> bool) {
        if let Some(map) = &mut self.0 {
            let names: Vec<HeaderName> = map.keys().filter(|name| holds(name)).cloned().collect();
            names.iter().for_each(|name| drop(map.remove(name)));
        }
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Deref for Fields {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        Self((!map.is_empty()).then(|| Box::new(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_are_an_empty_map_and_take_no_room() {
        let mut fields = Fields::default();
        assert!(fields.is_empty() && !fields.contains_key("a"));
        assert_eq!(size_of::<Fields>(), size_of::<usize>());
        fields.to_mut().insert("a", http::HeaderValue::from_static("1"));
        assert!(!fields.is_empty());
        assert_eq!(Fields::from((*fields).clone()).len(), 1);
        fields.remove_where(|name| name == "b");
        assert_eq!(fields.len(), 1);
        fields.remove_where(|name| name == "a");
        assert!(fields.is_empty() && Fields::from(HeaderMap::new()).0.is_none());
    }
}
