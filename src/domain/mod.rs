//! The words everything else is written in: scopes, risk, names, who is asking. No I/O.

pub mod access;
pub mod id;
pub mod name;
pub mod plan;
pub mod risk;
pub mod scope;
pub mod text;
pub mod who;
