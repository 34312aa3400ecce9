//! What the cores made of their results, one part each. Held until the last core is done.

use std::sync::{Arc, Mutex};

use super::Done;
use super::drive::MakeConsume;
use crate::sync::lock;

/// What the cores made of their results.
pub(super) struct Parts<A>(Arc<Mutex<Vec<A>>>);

impl<A> Default for Parts<A> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// One core's part, which joins the others when the core is done.
struct Part<A> {
    value: Option<A>,
    parts: Arc<Mutex<Vec<A>>>,
}

impl<A> Drop for Part<A> {
    fn drop(&mut self) {
        let mut parts = lock(&self.parts);
        parts.extend(self.value.take());
    }
}

impl<A: Send + 'static> Parts<A> {
    pub(super) fn fold<T: 'static>(
        &self,
        init: impl FnOnce() -> A + Send + 'static,
        f: impl Fn(&mut A, Done<T>) + Send + 'static,
    ) -> MakeConsume<T> {
        let parts = Arc::clone(&self.0);
        Box::new(move || {
            let mut part = Part { value: Some(init()), parts };
            Box::new(move |_, done| {
                if let Some(value) = &mut part.value {
                    f(value, done);
                }
            })
        })
    }

    pub(super) fn take(&self) -> Vec<A> {
        std::mem::take(&mut *lock(&self.0))
    }
}
