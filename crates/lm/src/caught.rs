//! Calls of code that may panic over what others wrote.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a call comes to, or what it said when it panicked. Nothing that the call was changing may be used afterwards.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        text.unwrap_or("it did not say why").to_owned()
    })
}
