//! How many files this process may have open: each connection is one, and its Pod's another.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Allows this process as many as the host lets it, and gives the number. What processes are given at first is meant for
/// programs that use `select`.
pub fn allow_most() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_host_lets() {
        let most = allow_most().unwrap();

        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (most, most));
    }
}
