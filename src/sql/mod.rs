//! SQL text: quoting, splitting into statements, and what each statement does. Pure.

pub(crate) mod contents;
mod demand;
mod ident;
mod lock;
pub(crate) mod parser;
pub(crate) mod program;
pub(crate) mod routine;
mod shape;
pub(crate) mod sound;
mod split;
pub(crate) mod star;
pub(crate) mod statement;
mod touch;
pub(crate) mod words;

pub use demand::{Demand, Rule};
pub use ident::{Ident, Literal, QualifiedName};
pub use lock::LockMode;
pub use shape::shape;
pub use split::{Comment, SyntaxFault, comments, split};
pub use star::{Reads, Star, stars};
pub use statement::{Block, Effect, Statement, written};
pub use touch::Touch;
