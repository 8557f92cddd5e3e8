//! The exit status of a tool.

/// What a tool ends with. As [`std::process::ExitCode`], which a `main` of our own (`wb_sys::start!`) could not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// It did what it was asked: 0.
    pub const SUCCESS: Self = Self(0);
    /// It did not: 1.
    pub const FAILURE: Self = Self(1);
}

impl From<u8> for ExitCode {
    fn from(code: u8) -> Self {
        Self(code)
    }
}

impl From<ExitCode> for i32 {
    fn from(code: ExitCode) -> Self {
        code.0.into()
    }
}
