//! SQL text: quoting, splitting into statements, and what each statement does. Pure.

mod ident;

pub use ident::{Ident, Literal, QualifiedName};
