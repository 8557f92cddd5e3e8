//! The next program: one of our own tools from the host's file system, anything else from inside the root.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use wb_doc::{Context, Error, escape};
use wb_sys::{Errno, process, program};

/// A program that has been found, if it could be found before the root is entered.
#[derive(Debug)]
pub struct Next {
    argv: Vec<OsString>,
    /// One of our tools, opened on the host.
    tool: Option<OwnedFd>,
}

impl Next {
    /// Looks at the words after `--`; opens a tool of ours while the host is in sight.
    pub fn find(argv: &[OsString]) -> Result<Self, Error> {
        let word = argv.first().ok_or_else(|| Error::usage("no program to run after --"))?;
        let name = || escape(&word.to_string_lossy());
        let tool = if program::is_tool(word) {
            let path = program::find(word).map_err(|errno| Error::errno(name(), errno).code(125))?;
            Some(program::open_detached(&path).context(|| path.display().to_string())?)
        } else {
            None
        };
        Ok(Self { argv: argv.to_vec(), tool })
    }

    /// Whether it is one of our tools, which takes over the document and the status pipe.
    pub fn is_tool(&self) -> bool {
        self.tool.is_some()
    }

    /// Becomes the program; returns only on failure.
    pub fn exec(&self) -> Error {
        let why = "the next program of the chain";
        let errno = match &self.tool {
            Some(tool) => program::exec_fd(tool, &self.argv, why),
            None => process::exec(&self.argv, why),
        };
        let code = if errno == Errno::ENOENT { 127 } else { 126 };
        Error::errno(escape(&self.argv[0].to_string_lossy()), errno).code(code)
    }
}
