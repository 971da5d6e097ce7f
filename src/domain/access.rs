//! Whether something only looks or also changes, as types.
//!
//! A permit, a warrant, a session and a remote method each carry one of these markers. The compiler, not a
//! run-time check, keeps a [`Write`] method away from a session that was opened for a [`Read`].

mod sealed {
    pub trait Sealed {}
}

/// [`Read`] or [`Write`]; nothing else can be.
pub trait Access: sealed::Sealed + Send + Sync + 'static {
    /// Whether the NAS may be different afterwards.
    const CHANGES: bool;
}

/// Looks and leaves everything as it is.
#[derive(Debug)]
pub enum Read {}

/// May leave the NAS different from how it was.
#[derive(Debug)]
pub enum Write {}

impl sealed::Sealed for Read {}
impl sealed::Sealed for Write {}

impl Access for Read {
    const CHANGES: bool = false;
}

impl Access for Write {
    const CHANGES: bool = true;
}

/// Holds where something opened for `Self` may be used for `Needed`: a change may look first, a look may
/// never change.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` session cannot send a `{Needed}` method",
    label = "this method changes the NAS, and the session was opened for reading",
    note = "declare the tool with `type Access = Write`; its risk and its intent record follow from that"
)]
pub trait Covers<Needed: Access>: Access {}

impl Covers<Read> for Read {}
impl Covers<Read> for Write {}
impl Covers<Write> for Write {}
